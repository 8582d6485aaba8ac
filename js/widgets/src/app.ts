// What all views of the page share: the data, the reader's choices, and who wants to know of them.

import { type Neuron, type Payload, neurons } from "./data";
import { type Measure, measures, passes } from "./filter";
import { type Sort, sorted } from "./order";

export interface Choices {
  layers: ReadonlySet<number>;
  level: number;
  measure: number;
  thresholds: readonly number[];
  sort: Sort;
  chosen: number | null;
  masks: boolean;
}

export class App {
  readonly neurons: Neuron[];
  readonly measures: Measure[];
  choices: Choices;
  /** Neurons that pass the filters, in the table's order. */
  shown: Neuron[] = [];
  private listeners: (() => void)[] = [];

  constructor(readonly payload: Payload) {
    this.neurons = neurons(payload);
    this.measures = measures(this.neurons);
    this.choices = {
      layers: new Set(),
      level: 0,
      measure: 0,
      thresholds: this.measures.map(() => 0),
      sort: { key: "level", direction: "descending" },
      chosen: null,
      masks: true,
    };
    this.shown = this.filtered();
    this.choices.chosen = this.shown[0]?.row ?? null;
  }

  get measure(): Measure {
    return this.measures[this.choices.measure] as Measure;
  }

  get threshold(): number {
    return this.choices.thresholds[this.choices.measure] ?? 0;
  }

  get chosen(): Neuron | null {
    return this.choices.chosen === null ? null : (this.neurons[this.choices.chosen] ?? null);
  }

  listen(listener: () => void): void {
    this.listeners.push(listener);
    listener();
  }

  choose(change: Partial<Choices>): void {
    this.choices = { ...this.choices, ...change };
    this.shown = this.filtered();
    for (const listener of this.listeners) listener();
  }

  setThreshold(value: number): void {
    const thresholds = [...this.choices.thresholds];
    thresholds[this.choices.measure] = value;
    this.choose({ thresholds });
  }

  /** Neurons that pass, were one of the filters another. */
  passing(other: Partial<{ layers: ReadonlySet<number>; level: number; threshold: number }>): Neuron[] {
    const { layers, level } = this.choices;
    const filter = { layers, level, measure: this.measure, threshold: this.threshold, ...other };
    return this.neurons.filter((neuron) => passes(neuron, filter));
  }

  private filtered(): Neuron[] {
    return sorted(this.passing({}), this.choices.sort);
  }
}
