import assert from "node:assert/strict";
import { test } from "node:test";
import { sorted, toggled } from "../src/order";
import { neuron } from "./some";

const four = [
  neuron({ row: 0, auc: 0.6, rho: -0.3, q: null }),
  neuron({ row: 1, auc: null, rho: null, q: null }),
  neuron({ row: 2, auc: 0.2, rho: 0.1, q: 0.5 }),
  neuron({ row: 3, auc: 0.55, rho: 0.2, q: 0.01 }),
];
const rows = (key: "auc" | "rho" | "q" | "label", direction: "ascending" | "descending"): number[] =>
  sorted(four, { key, direction }).map((one) => one.row);

test("an AUC sorts by its distance from .5, a correlation by its size", () => {
  assert.deepEqual(rows("auc", "descending"), [2, 0, 3, 1]);
  assert.deepEqual(rows("rho", "descending"), [0, 3, 2, 1]);
});

test("what is not known comes last both ways", () => {
  assert.deepEqual(rows("q", "ascending"), [3, 2, 0, 1]);
  assert.deepEqual(rows("q", "descending"), [2, 3, 0, 1]);
});

test("ties go to the stronger, then to the order of the network", () => {
  const tied = [0, 1, 2].map((row) => neuron({ row, zeros: 0.5, auc: row === 2 ? 0.9 : 0.6 }));
  const order = sorted(tied, { key: "zeros", direction: "ascending" }).map((one) => one.row);
  assert.deepEqual(order, [2, 0, 1]);
});

test("sorting leaves its input alone", () => {
  rows("label", "descending");
  assert.deepEqual(four.map((one) => one.row), [0, 1, 2, 3]);
});

test("a column starts with its interesting end and turns on a second press", () => {
  const first = toggled({ key: "auc", direction: "descending" }, "q");
  assert.deepEqual(first, { key: "q", direction: "ascending" });
  assert.deepEqual(toggled(first, "q"), { key: "q", direction: "descending" });
  assert.equal(toggled(first, "excess").direction, "descending");
});
