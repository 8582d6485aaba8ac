// The payload as nbcorr/notebook/report.py writes it, and each neuron as one row of it.

export type Maybe = number | null;
export type CellKey = "both" | "only_a" | "only_b" | "neither";

export interface Exemplar {
  image: number;
  mask: number | null;
  sample: string | null;
  activation: Maybe;
}

export interface Card {
  visualization?: { image: number; reached: Maybe; reached_fresh: Maybe; best_exemplar: Maybe };
  exemplars?: Exemplar[];
}

export interface Step {
  key: string;
  label: string;
  asks: string;
  /** Whether a neuron must pass it to come to the next. */
  gate: boolean;
  missing: string | null;
  state: Maybe[];
}

export interface Group {
  key: string;
  label: string;
  n: number;
}

export interface Payload {
  title: string;
  sentence: string;
  facts: [string, string][];
  signal: string;
  missing: string[];
  outcomes: Record<CellKey | "mcnemar_p", number> | null;
  layers: string[];
  neurons: Record<string, Maybe[]>;
  steps: Step[];
  groups: Group[];
  strips: Record<string, (Maybe[] | null)[]>;
  cards: Record<string, Card>;
  images: string[];
}

export interface Neuron {
  row: number;
  layer: number;
  unit: number;
  label: string;
  /** For no control and each: whether it and every known one on the way to it are passed. */
  reached: boolean[];
  /** The highest of these. */
  level: number;
  auc: Maybe;
  auc_low: Maybe;
  auc_high: Maybe;
  rho: Maybe;
  rho_max: Maybe;
  q: Maybe;
  auc_selection: Maybe;
  auc_heldout: Maybe;
  auc_untrained: Maybe;
  excess: Maybe;
  auc_input: Maybe;
  excess_input: Maybe;
  rho_partial: Maybe;
  q_partial: Maybe;
  zeros: Maybe;
  dead: Maybe;
}

export function neurons(payload: Payload): Neuron[] {
  const column = (name: string, row: number): Maybe => payload.neurons[name]?.[row] ?? null;
  return (payload.neurons.unit ?? []).map((_, row) => {
    const layer = column("layer", row) ?? 0;
    const unit = column("unit", row) ?? 0;
    return {
      row,
      layer,
      unit,
      label: `${payload.layers[layer] ?? ""}:${unit}`,
      reached: reached(payload.steps, row),
      level: reached(payload.steps, row).lastIndexOf(true),
      auc: column("auc", row),
      auc_low: column("auc_low", row),
      auc_high: column("auc_high", row),
      rho: column("rho", row),
      rho_max: column("rho_max", row),
      q: column("q", row),
      auc_selection: column("auc_selection", row),
      auc_heldout: column("auc_heldout", row),
      auc_untrained: column("auc_untrained", row),
      excess: column("excess", row),
      auc_input: column("auc_input", row),
      excess_input: column("excess_input", row),
      rho_partial: column("rho_partial", row),
      q_partial: column("q_partial", row),
      zeros: column("zeros", row),
      dead: column("dead", row),
    };
  });
}

export function reached(steps: Step[], row: number): boolean[] {
  let open = true;
  const passed = steps.map(({ gate, missing, state }) => {
    const here = open && missing === null && state[row] === 1;
    if (gate && missing === null) open = here;
    return here;
  });
  return [true, ...passed];
}
