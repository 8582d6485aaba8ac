// Numbers laid over a picture: vermilion where positive, blue where negative (told apart under
// every common colour blindness), see-through near zero.

export type Colour = readonly [number, number, number];

export const POSITIVE: Colour = [213, 94, 0];
export const NEGATIVE: Colour = [0, 114, 178];
const MOST = 0.86;

/** How much of the colour lies over the picture: by square root, so that weak places are seen. */
export function opacity(value: number, largest: number): number {
  if (!(largest > 0) || !Number.isFinite(value)) return 0;
  return MOST * Math.sqrt(Math.min(1, Math.abs(value) / largest));
}

/** RGBA of each number. */
export function heatPixels(
  values: ArrayLike<number>,
  largest: number,
  positive: Colour = POSITIVE,
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(values.length * 4);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    pixels.set(value < 0 ? NEGATIVE : positive, 4 * i);
    pixels[4 * i + 3] = Math.round(255 * opacity(value, largest));
  }
  return pixels;
}

export function largestOf(values: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i] as number);
    if (size > largest) largest = size;
  }
  return largest;
}
