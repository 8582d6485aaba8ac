// A neuron and a payload to change in tests.

import type { Neuron, Payload, Step } from "../src/data";

export function neuron(change: Partial<Neuron>): Neuron {
  return {
    row: 0,
    layer: 0,
    unit: 0,
    label: "a:0",
    level: 0,
    auc: null,
    auc_low: null,
    auc_high: null,
    rho: null,
    rho_max: null,
    q: null,
    auc_heldout: null,
    auc_untrained: null,
    excess: null,
    zeros: null,
    dead: null,
    ...change,
  };
}

export function step(key: string, state: (number | null)[], missing: string | null = null): Step {
  return { key, label: key, asks: "", missing, state };
}

export function payload(change: Partial<Payload>): Payload {
  return {
    title: "",
    sentence: "",
    facts: [],
    signal: "relative_performance",
    missing: [],
    outcomes: null,
    layers: ["a", "b"],
    neurons: { layer: [0, 0, 1], unit: [0, 1, 0] },
    steps: [],
    groups: [],
    strips: {},
    cards: {},
    images: [],
    ...change,
  };
}
