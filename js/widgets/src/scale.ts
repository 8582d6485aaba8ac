// A straight scale from numbers to pixels, and round numbers to mark on it.

export interface Scale {
  (value: number): number;
  domain: [number, number];
  range: [number, number];
}

export function scale(domain: [number, number], range: [number, number]): Scale {
  const width = domain[1] - domain[0] || 1;
  const at = (value: number): number =>
    range[0] + ((value - domain[0]) / width) * (range[1] - range[0]);
  return Object.assign(at, { domain, range });
}

/** Round numbers inside the domain, about `wanted` of them, steps of 1, 2 or 5 times a power of ten. */
export function ticks([low, high]: [number, number], wanted: number): number[] {
  const rough = (high - low) / Math.max(1, wanted);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(digits)));
}

/** A scale by square root from 0 up: room at the foot without losing the far end. */
export function rootScale(domain: [number, number], range: [number, number]): Scale {
  const straight = scale([Math.sqrt(domain[0]), Math.sqrt(domain[1])], range);
  return Object.assign((value: number): number => straight(Math.sqrt(value)), { domain, range });
}

/** 0, 1, 2, 5, 10, 20 … as far as they stand `apart` pixels from the one before. */
export function rootTicks(at: Scale, apart: number): number[] {
  const marks = [0];
  for (let power = 1; power <= at.domain[1]; power *= 10) {
    for (const value of [power, 2 * power, 5 * power]) {
      const last = marks[marks.length - 1] as number;
      if (value <= at.domain[1] && Math.abs(at(value) - at(last)) >= apart) marks.push(value);
    }
  }
  return marks;
}

export function tickDigits(marks: number[]): number {
  const decimals = (value: number): number => (String(value).split(".")[1] ?? "").length;
  return Math.max(0, ...marks.map(decimals));
}
