// Arrays and strips of pictures as content.py packs them.

export interface Packed {
  shape: number[];
  kind: "float32" | "int32" | "uint8";
  bytes: DataView;
}

export type Numbers = Float32Array | Int32Array | Uint8Array;

export interface Numeric {
  shape: number[];
  values: Numbers;
}

const KINDS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

/** A copy of the bytes, since a view into a message need not be aligned. */
export function unpacked({ shape, kind, bytes }: Packed): Numeric {
  const copy = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
  return { shape, values: new KINDS[kind](copy.buffer) };
}

/** Equally large pictures, RGBA. */
export class Strip {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  private readonly bytes: Uint8Array;

  constructor(packed: Packed) {
    const { shape, values } = unpacked(packed);
    [this.count, this.height, this.width] = shape as [number, number, number];
    this.bytes = values as Uint8Array;
  }

  /** One picture onto a canvas, pixel by pixel; the page enlarges it. */
  paint(canvas: HTMLCanvasElement, index: number): void {
    canvas.width = this.width;
    canvas.height = this.height;
    const size = this.width * this.height * 4;
    const pixels = new Uint8ClampedArray(this.bytes.slice(index * size, (index + 1) * size));
    canvas.getContext("2d")?.putImageData(new ImageData(pixels, this.width, this.height), 0, 0);
    canvas.classList.toggle("crisp", Math.max(this.width, this.height) <= 48);
  }
}

/** Maps that `quantized` packed: steps of 1/127 of each one's largest size. */
export class Maps {
  readonly rows: number;
  readonly columns: number;
  private readonly steps: Uint8Array;
  private readonly largest: Numbers;

  constructor(packed: { steps: Packed; largest: Packed }) {
    const { shape, values } = unpacked(packed.steps);
    [, this.rows, this.columns] = shape as [number, number, number];
    this.steps = values as Uint8Array;
    this.largest = unpacked(packed.largest).values;
  }

  /** One number of one map. */
  at(index: number, place: number): number {
    const step = (this.largest[index] ?? 0) / 127;
    return ((this.steps[index * this.rows * this.columns + place] ?? 128) - 128) * step;
  }

  get(index: number): Float32Array {
    const size = this.rows * this.columns;
    const step = (this.largest[index] ?? 0) / 127;
    const own = this.steps.subarray(index * size, (index + 1) * size);
    return Float32Array.from(own, (value) => (value - 128) * step);
  }
}
