// A neuron and a payload to change in tests.

import type { Neuron, Payload, Step } from "../src/data";

export function neuron(change: Partial<Neuron>): Neuron {
  return {
    row: 0,
    layer: 0,
    unit: 0,
    label: "a:0",
    reached: [true],
    level: 0,
    auc: null,
    auc_low: null,
    auc_high: null,
    rho: null,
    rho_max: null,
    q: null,
    auc_selection: null,
    auc_heldout: null,
    auc_untrained: null,
    excess: null,
    auc_input: null,
    excess_input: null,
    rho_partial: null,
    q_partial: null,
    zeros: null,
    dead: null,
    ...change,
  };
}

export function step(state: (number | null)[], change: Partial<Step> = {}): Step {
  return { key: "", label: "", asks: "", gate: true, missing: null, state, ...change };
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
