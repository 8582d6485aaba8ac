// Numbers as people read them: a true minus, a dash for what is not known, and no more digits
// than the standard error supports.

import type { Maybe } from "./data";

export const NONE = "–";

export function fixed(value: Maybe, digits: number): string {
  if (value === null || !Number.isFinite(value)) return NONE;
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** With its sign always, kept where rounding leaves only zeros: it tells passed from not passed. */
export function signed(value: Maybe, digits: number): string {
  if (value === null || !Number.isFinite(value)) return NONE;
  return (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

/** Decimals that a 95 % interval supports: its standard error shows in the last one. */
export function digitsFor(low: Maybe, high: Maybe): number {
  if (low === null || high === null || !(high > low)) return 2;
  const error = (high - low) / 3.92;
  return Math.min(4, Math.max(2, Math.ceil(-Math.log10(error))));
}

export function interval(value: Maybe, low: Maybe, high: Maybe): string {
  const digits = digitsFor(low, high);
  if (value === null || low === null || high === null) return fixed(value, digits);
  return `${fixed(value, digits)} [${fixed(low, digits)}, ${fixed(high, digits)}]`;
}

/** A p or q: two significant digits, powers of ten below a ten-thousandth. */
export function probability(value: Maybe): string {
  if (value === null || !Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  if (value < 1e-4) return value.toExponential(0).replace("-", "−");
  if (value >= 0.0995) return value.toFixed(2);
  return value.toFixed(1 - Math.floor(Math.log10(value)));
}

/** An activation: three significant digits, whatever its size. */
export function significant(value: Maybe): string {
  if (value === null || !Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const plain = size >= 100 ? String(Math.round(size)) : size.toPrecision(3);
  const text = size >= 1e5 || size < 1e-4 ? size.toExponential(1) : plain;
  return (value < 0 ? "−" : "") + text.replace("e-", "e−").replace("e+", "e");
}

export function percent(share: Maybe): string {
  if (share === null || !Number.isFinite(share)) return NONE;
  if (share > 0 && share < 0.01) return "<1 %";
  if (share < 1 && share > 0.99) return ">99 %";
  return `${Math.round(share * 100)} %`;
}

export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}
