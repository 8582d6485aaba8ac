// Sorting: what is not known comes last in either direction, ties keep their order.

import type { Maybe, Neuron } from "./data";

export type Direction = "ascending" | "descending";
export type SortKey = "label" | "auc" | "rho" | "q" | "auc_heldout" | "excess" | "zeros" | "level";

export interface Sort {
  key: SortKey;
  direction: Direction;
}

/** What each column sorts by; an AUC by its distance from .5, a correlation by its size. */
export function sortValue(neuron: Neuron, key: SortKey): Maybe {
  switch (key) {
    case "label":
      return neuron.row;
    case "auc":
      return distance(neuron.auc);
    case "auc_heldout":
      return distance(neuron.auc_heldout);
    case "rho":
      return neuron.rho === null ? null : Math.abs(neuron.rho);
    default:
      return neuron[key];
  }
}

export function sorted(neurons: Neuron[], { key, direction }: Sort): Neuron[] {
  const sign = direction === "ascending" ? 1 : -1;
  return [...neurons].sort((a, b) => {
    const [x, y] = [sortValue(a, key), sortValue(b, key)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return sign * (x - y) || tie(a, b);
  });
}

/** The direction a column starts with: the interesting end first. */
export function firstDirection(key: SortKey): Direction {
  return key === "label" || key === "q" || key === "zeros" ? "ascending" : "descending";
}

export function toggled(sort: Sort, key: SortKey): Sort {
  if (sort.key !== key) return { key, direction: firstDirection(key) };
  return { key, direction: sort.direction === "ascending" ? "descending" : "ascending" };
}

function distance(auc: Maybe): Maybe {
  return auc === null ? null : Math.abs(auc - 0.5);
}

function tie(a: Neuron, b: Neuron): number {
  return (distance(b.auc) ?? -1) - (distance(a.auc) ?? -1) || a.row - b.row;
}
