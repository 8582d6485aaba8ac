import assert from "node:assert/strict";
import { test } from "node:test";
import { App } from "../src/app";
import { reached } from "../src/data";
import { histogram, logQ, measures, passes } from "../src/filter";
import { neuron, payload, step } from "./some";

const strong = neuron({ row: 0, layer: 1, reached: [true, true, true, true], auc: 0.2, rho: -0.4, rho_max: 0.5, q: 1e-8 });
const weak = neuron({ row: 1, layer: 0, auc: 0.52, rho: 0.02, rho_max: 0.48, q: 0.8 });
const dead = neuron({ row: 2, layer: 0 });
const [rho, auc, q] = measures([strong, weak, dead]) as [never, never, never];
const filter = (change: object): never =>
  ({ layers: new Set(), level: 0, measure: rho, threshold: 0, ...change }) as never;

test("without a threshold the dead are shown too, with one they are not", () => {
  assert.ok(passes(dead, filter({})));
  for (const measure of [rho, auc, q]) assert.ok(!passes(dead, filter({ measure, threshold: 0.001 })));
});

test("thresholds look at size, not sign, and include their own value", () => {
  assert.ok(passes(strong, filter({ threshold: 0.4 })));
  assert.ok(!passes(strong, filter({ threshold: 0.41 })));
  assert.ok(passes(strong, filter({ measure: auc, threshold: 0.3 })));
  assert.ok(passes(strong, filter({ measure: q, threshold: 8 })));
  assert.ok(!passes(weak, filter({ measure: q, threshold: 0.2 })));
});

test("layers and controls filter", () => {
  assert.ok(!passes(strong, filter({ layers: new Set([0]) })));
  assert.ok(passes(strong, filter({ layers: new Set([0, 1]), level: 3 })));
  assert.ok(!passes(strong, filter({ level: 4 })));
});

test("the largest correlation possible is marked; scales end where values do", () => {
  const [first, , last] = measures([strong, weak, dead]);
  assert.equal(first?.possible, 0.5);
  assert.equal(last?.end, 8);
  assert.equal(last?.says(2), "q ≤ 0.010");
  assert.equal(measures([dead])[0]?.possible, null);
});

test("a q of zero stays finite", () => {
  assert.equal(logQ(neuron({ q: 0 })), 300);
  assert.equal(logQ(neuron({})), null);
});

test("a histogram counts every known value once", () => {
  assert.deepEqual(histogram([0, 0.1, 0.5, 1, 2, null], 1, 2), [2, 3]);
});

test("the ladder stops at the first control not passed and steps over unknown ones", () => {
  const steps = [step([1, 1, 0]), step([null, null, null], { missing: "no labels" }), step([1, 0, 1])];
  assert.deepEqual(reached(steps, 0), [true, true, false, true]);
  assert.deepEqual(reached(steps, 1), [true, true, false, false]);
  assert.deepEqual(reached(steps, 2), [true, false, false, false]);
});

test("a control that is no gate may be missed on the way up", () => {
  const steps = [step([0], { gate: false }), step([1]), step([1])];
  assert.deepEqual(reached(steps, 0), [true, false, true, true]);
});

test("a control not known for one neuron is not passed by it", () => {
  assert.deepEqual(reached([step([1]), step([null]), step([1])], 0), [true, true, false, false]);
});

test("choices flow to every listener and the shown neurons follow", () => {
  const app = new App(
    payload({ neurons: { layer: [0, 0, 1], unit: [0, 1, 0], rho: [0.1, null, -0.5], auc: [0.55, null, 0.2] } }),
  );
  const seen: number[] = [];
  app.listen(() => seen.push(app.shown.length));
  app.setThreshold(0.3);
  app.choose({ layers: new Set([0]) });
  assert.deepEqual(seen, [3, 1, 0]);
  assert.equal(app.chosen?.label, "b:0");
});
