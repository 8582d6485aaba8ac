// Numbers laid over a picture: vermilion where positive, blue where negative (told apart under
// every common colour blindness), see-through near zero.

export type Colour = readonly [number, number, number];

export const POSITIVE: Colour = [213, 94, 0];
export const NEGATIVE: Colour = [0, 114, 178];
const MOST = 0.84;

/** How much of the colour lies over the picture. */
export function opacity(value: number, largest: number): number {
  if (!(largest > 0) || !Number.isFinite(value)) return 0;
  return MOST * Math.min(1, Math.abs(value) / largest);
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

/** RGBA of each place: the colours of several maps mixed by their shares, each 0 to 1. */
export function mixedPixels(
  maps: readonly ArrayLike<number>[],
  colours: readonly Colour[],
): Uint8ClampedArray<ArrayBuffer> {
  const count = maps[0]?.length ?? 0;
  const pixels = new Uint8ClampedArray(count * 4);
  for (let i = 0; i < count; i++) {
    const shares = maps.map((map) => Math.max(0, Math.min(1, map[i] as number)));
    const sum = shares.reduce((a, b) => a + b, 0);
    if (!(sum > 0)) continue;
    for (let c = 0; c < 3; c++) {
      const mixed = shares.reduce((m, w, g) => m + w * (colours[g]?.[c] ?? 0), 0);
      pixels[4 * i + c] = Math.round(mixed / sum);
    }
    pixels[4 * i + 3] = Math.round(255 * MOST * Math.max(...shares));
  }
  return pixels;
}
