import assert from "node:assert/strict";
import { test } from "node:test";
import { rootScale, rootTicks, scale, tickDigits, ticks } from "../src/scale";

test("a scale is straight and survives an empty domain", () => {
  const at = scale([0, 10], [100, 0]);
  assert.deepEqual([0, 5, 10].map(at), [100, 50, 0]);
  assert.ok(Number.isFinite(scale([1, 1], [0, 9])(1)));
});

test("ticks are round, inside, and free of floating dust", () => {
  assert.deepEqual(ticks([0, 1], 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks([0.32, 0.68], 4), [0.4, 0.5, 0.6]);
  assert.deepEqual(ticks([-3, 12], 3), [0, 5, 10]);
  assert.deepEqual(ticks([2, 2], 3), [2]);
  assert.equal(tickDigits([0, 0.2, 0.25]), 2);
});

test("a root scale makes room at the foot and marks what fits", () => {
  const at = rootScale([0, 100], [400, 0]);
  assert.deepEqual([0, 25, 100].map(at), [400, 200, 0]);
  assert.deepEqual(rootTicks(at, 50), [0, 2, 10, 20, 50, 100]);
});
