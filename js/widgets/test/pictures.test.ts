import assert from "node:assert/strict";
import { test } from "node:test";

import { shares } from "../src/interfaces/blocks/picture_map";
import { along } from "../src/interfaces/blocks/sheet";
import { arranged } from "../src/interfaces/sprite_sheet";

test("without numbers neurons stand as given, with them the largest first", () => {
  assert.deepEqual(arranged(3, null, null), [0, 1, 2]);
  assert.deepEqual(arranged(3, Float32Array.of(1, 3, 2), null), [1, 2, 0]);
  assert.deepEqual(arranged(3, Float32Array.of(1, 1, 2), null), [2, 0, 1]);
});

test("those without a number come last, and a filter leaves them out", () => {
  const values = Float32Array.of(NaN, -1, 4, NaN, 0);
  assert.deepEqual(arranged(5, values, null), [2, 4, 1, 0, 3]);
  assert.deepEqual(arranged(5, values, 0), [2, 4]);
  assert.deepEqual(arranged(5, values, 9), []);
});

test("a picture in a sheet is reached from the first edge to the last", () => {
  assert.deepEqual([0, 1, 2].map((i) => along(i, 3)), ["0.0000%", "50.0000%", "100.0000%"]);
  assert.equal(along(0, 1), "0%");
});

test("areas go with the numbers, and none is too small to be seen", () => {
  assert.deepEqual([...shares(Float32Array.of(4, 1, 0), 0.25)], [1, 0.5, 0.25]);
  assert.deepEqual([...shares(Float32Array.of(0, 0))], [1, 1]);
});
