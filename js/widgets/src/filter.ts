// Which neurons are shown: by layer, by the controls passed, and by a threshold on one measure.

import type { Maybe, Neuron } from "./data";
import { fixed, probability } from "./format";

export type MeasureKey = "rho" | "auc" | "q";

export interface Measure {
  key: MeasureKey;
  name: string;
  /** The end of its slider. */
  end: number;
  step: number;
  /** The largest value that can be reached, where the scale does not end at it. */
  possible: number | null;
  value(neuron: Neuron): Maybe;
  says(threshold: number): string;
}

export interface Filter {
  /** Rows of the payload's layers; empty means all. */
  layers: ReadonlySet<number>;
  level: number;
  measure: Measure;
  threshold: number;
}

export function measures(neurons: Neuron[]): Measure[] {
  const possible = largest(neurons.map((neuron) => neuron.rho_max));
  const strongest = largest(neurons.map(logQ)) ?? 0;
  return [
    {
      key: "rho",
      name: "|ρ|",
      end: 1,
      step: 0.01,
      possible,
      value: (neuron) => (neuron.rho === null ? null : Math.abs(neuron.rho)),
      says: (threshold) => `|ρ| ≥ ${fixed(threshold, 2)}`,
    },
    {
      key: "auc",
      name: "AUC from .5",
      end: 0.5,
      step: 0.005,
      possible: null,
      value: (neuron) => (neuron.auc === null ? null : Math.abs(neuron.auc - 0.5)),
      says: (threshold) => `AUC ≥ ${fixed(0.5 + threshold, 3)} or ≤ ${fixed(0.5 - threshold, 3)}`,
    },
    {
      key: "q",
      name: "q",
      end: Math.max(2, Math.ceil(strongest)),
      step: 0.1,
      possible: null,
      value: logQ,
      says: (threshold) => `q ≤ ${probability(10 ** -threshold)}`,
    },
  ];
}

/** −log10 q; a q of 0, smaller than a float holds, stands at the end of what one holds. */
export function logQ(neuron: Neuron): Maybe {
  return neuron.q === null ? null : -Math.log10(Math.max(neuron.q, 1e-300));
}

export function passes(neuron: Neuron, filter: Filter): boolean {
  if (filter.layers.size > 0 && !filter.layers.has(neuron.layer)) return false;
  if (!neuron.reached[filter.level]) return false;
  if (filter.threshold <= 0) return true;
  const value = filter.measure.value(neuron);
  return value !== null && value >= filter.threshold - 1e-9;
}

/** How many values fall into each of `bins` equal parts of 0..end. */
export function histogram(values: Maybe[], end: number, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  for (const value of values) {
    if (value === null) continue;
    const bin = Math.min(bins - 1, Math.max(0, Math.floor((value / end) * bins)));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

function largest(values: Maybe[]): number | null {
  let found: number | null = null;
  for (const value of values) {
    if (value !== null && (found === null || value > found)) found = value;
  }
  return found;
}
