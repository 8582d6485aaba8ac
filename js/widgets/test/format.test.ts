import assert from "node:assert/strict";
import { test } from "node:test";
import { count, digitsFor, fixed, interval, percent, probability, signed, significant } from "../src/format";

test("what is not known is a dash", () => {
  for (const format of [probability, significant, percent]) assert.equal(format(null), "–");
  assert.equal(fixed(null, 2), "–");
  assert.equal(fixed(Number.NaN, 2), "–");
  assert.equal(signed(null, 2), "–");
  assert.equal(interval(null, null, null), "–");
});

test("minus is a minus, and there is no minus zero", () => {
  assert.equal(fixed(-0.25, 2), "−0.25");
  assert.equal(fixed(-0.001, 2), "0.00");
  assert.equal(significant(-0.00001), "−1.0e−5");
});

test("a difference keeps its sign even where it rounds to zero", () => {
  assert.equal(signed(0.001, 2), "+0.00");
  assert.equal(signed(-0.001, 2), "−0.00");
  assert.equal(signed(0, 2), "0.00");
});

test("digits follow the standard error", () => {
  assert.equal(digitsFor(0.6, 0.8), 2);
  assert.equal(digitsFor(0.7, 0.71), 3);
  assert.equal(digitsFor(0.7, 0.7001), 4);
  assert.equal(digitsFor(null, 0.7), 2);
  assert.equal(interval(0.7051, 0.7, 0.71), "0.705 [0.700, 0.710]");
});

test("probabilities keep two digits and never round up a place", () => {
  assert.equal(probability(0.034), "0.034");
  assert.equal(probability(0.0998), "0.10");
  assert.equal(probability(0.62), "0.62");
  assert.equal(probability(0.00042), "0.00042");
  assert.equal(probability(2.3e-8), "2e−8");
  assert.equal(probability(0), "0");
});

test("activations keep three digits at any size", () => {
  assert.deepEqual([0, 1.6, 3.344, 12.34, 1234.5, 2e6].map(significant), ["0", "1.60", "3.34", "12.3", "1235", "2.0e6"]);
});

test("shares do not pretend to be all or nothing", () => {
  assert.deepEqual([0, 0.004, 0.5, 0.996, 1].map(percent), ["0 %", "<1 %", "50 %", ">99 %", "100 %"]);
});

test("counts have thousands", () => {
  assert.deepEqual([12, 1234, 1234567].map(count), ["12", "1,234", "1,234,567"]);
});
