import assert from "node:assert/strict";
import { test } from "node:test";
import { Maps, unpacked } from "../src/interfaces/blocks/arrays";
import { share } from "../src/interfaces/blocks/bars";
import { heatPixels, largestOf, mixedPixels, NEGATIVE, opacity, POSITIVE } from "../src/interfaces/blocks/heat";
import { moved, place, same } from "../src/interfaces/blocks/image_map";

test("arrays are copied out of a message, wherever in it they begin", () => {
  const message = new Uint8Array(3 + 8);
  message.set(new Uint8Array(new Float32Array([1.5, -2]).buffer), 3);
  const { shape, values } = unpacked({
    shape: [1, 2],
    kind: "float32",
    bytes: new DataView(message.buffer, 3, 8),
  });
  assert.deepEqual(shape, [1, 2]);
  assert.deepEqual([...values], [1.5, -2]);
});

test("quantized maps come back in steps of their largest size", () => {
  const packed = (kind: "uint8" | "float32", shape: number[], values: Uint8Array | Float32Array) => ({
    kind,
    shape,
    bytes: new DataView(values.buffer),
  });
  const maps = new Maps({
    steps: packed("uint8", [2, 1, 2], Uint8Array.from([255, 128, 1, 128])),
    largest: packed("float32", [2], Float32Array.from([2, 127])),
  });
  assert.deepEqual([...maps.get(0)], [2, 0]);
  assert.deepEqual([...maps.get(1)], [-127, 0]);
  assert.equal(maps.at(1, 0), -127);
});

test("heat is see-through at zero and where nothing is known, and tells signs by colour", () => {
  assert.equal(opacity(0, 2), 0);
  assert.equal(opacity(NaN, 2), 0);
  assert.equal(opacity(1, 0), 0);
  assert.equal(opacity(-5, 2), opacity(2, 2));
  const pixels = heatPixels([2, -1, 0], 2);
  assert.deepEqual([...pixels.slice(0, 3)], [...POSITIVE]);
  assert.deepEqual([...pixels.slice(4, 7)], [...NEGATIVE]);
  assert.ok((pixels[3] as number) > (pixels[7] as number));
  assert.equal(pixels[11], 0);
  assert.equal(largestOf([1, -3, NaN]), 3);
});

test("colours of groups mix by their shares", () => {
  const mixed = mixedPixels([[1, 0, 0.5], [0, 0, 0.5]], [[200, 0, 0], [0, 100, 0]]);
  assert.deepEqual([...mixed.slice(0, 3)], [200, 0, 0]);
  assert.equal(mixed[7], 0);
  assert.deepEqual([...mixed.slice(8, 11)], [100, 50, 0]);
  assert.ok((mixed[11] as number) < (mixed[3] as number));
});

test("keys lead to neighbours and edges, never beyond them", () => {
  assert.deepEqual(moved([0, 1], "ArrowUp", 3, 4), [0, 1]);
  assert.deepEqual(moved([0, 1], "ArrowDown", 3, 4), [1, 1]);
  assert.deepEqual(moved([2, 3], "ArrowRight", 3, 4), [2, 3]);
  assert.deepEqual(moved([2, 3], "Home", 3, 4), [2, 0]);
  assert.deepEqual(moved([0, 1], "PageDown", 3, 4), [2, 1]);
  assert.equal(moved([0, 1], "x", 3, 4), null);
});

test("cells are compared by value and told from one", () => {
  assert.ok(same([1, 2], [1, 2]) && same(null, null));
  assert.ok(!same([1, 2], null) && !same([1, 2], [2, 1]));
  assert.equal(place([0, 3]), "row 1, column 4");
});

test("bars stay within their box", () => {
  assert.equal(share(-5, 2), 100);
  assert.equal(share(1, 2), 50);
  assert.equal(share(1, 0), 0);
  assert.equal(share(NaN, 2), 0);
});
