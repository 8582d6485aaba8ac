// Neurons as pictures: each with its label, a value as a bar, and real exemplars beside it.

import { h, replace } from "../../dom";
import { significant } from "../../format";
import { Strip, type Packed } from "./arrays";
import { bar } from "./bars";

/** What icons.py sends of the neurons that can be shown. */
export interface IconContent {
  labels: string[];
  /** Place of each neuron's picture in the strip; -1 where there is none. */
  picture: number[];
  pictures: Packed;
  /** What the picture reaches, in words. */
  reach: string[];
  exemplar: number[][];
  exemplars: Packed;
  /** What is not there, and how to get it. */
  notes: string[];
  can_render: boolean;
}

export class Icons {
  readonly labels: string[];
  private readonly pictures: Strip;
  private readonly exemplars: Strip;

  constructor(readonly content: IconContent) {
    this.labels = content.labels;
    this.pictures = new Strip(content.pictures);
    this.exemplars = new Strip(content.exemplars);
  }

  get withPictures(): boolean {
    return this.pictures.count > 0;
  }

  get withExemplars(): boolean {
    return this.exemplars.count > 0;
  }

  /** Those of these neurons that have no picture. */
  missing(neurons: number[]): string[] {
    return neurons
      .filter((i) => (this.content.picture[i] ?? -1) < 0)
      .map((i) => this.labels[i] ?? "");
  }

  /** The optimised picture of a neuron, or a frame without one. */
  picture(neuron: number): HTMLElement {
    const index = this.content.picture[neuron] ?? -1;
    if (index < 0) return h("span", { class: "icon none" }, "no picture");
    return painted(this.pictures, index, "icon");
  }

  exemplarsOf(neuron: number): HTMLElement {
    const indices = this.content.exemplar[neuron] ?? [];
    const images = indices.map((index) => painted(this.exemplars, index, "exemplar"));
    return h("span", { class: "exemplars" }, ...images);
  }

  firstExemplar(neuron: number): HTMLElement | null {
    const index = this.content.exemplar[neuron]?.[0];
    return index === undefined ? null : painted(this.exemplars, index, "icon");
  }

  label(neuron: number): string {
    return this.labels[neuron] ?? "";
  }
}

export interface Shown {
  neuron: number;
  value: number;
}

export interface CardOptions {
  /** Size that fills a bar. */
  largest: number;
  /** What the value is, for those who listen. */
  measure: string;
  selected: string;
  hover?(neuron: number | null): void;
  choose(label: string): void;
}

/** A row of neurons. Buttons are kept from one call to the next, so that focus stays. */
export class Cards {
  readonly element = h("div", { class: "cards", role: "group", "aria-label": "neurons" });
  private readonly cards: HTMLButtonElement[] = [];
  private shown: Shown[] = [];
  private options: CardOptions | null = null;

  show(icons: Icons, shown: Shown[], options: CardOptions): void {
    this.shown = shown;
    this.options = options;
    this.element.classList.toggle("bare", !icons.withPictures);
    while (this.cards.length < shown.length) this.add();
    while (this.cards.length > shown.length) this.cards.pop()?.remove();
    shown.forEach((one, i) => this.fill(this.cards[i] as HTMLButtonElement, icons, one, options));
  }

  private add(): void {
    const card = h("button", { class: "card", type: "button" });
    const i = this.cards.push(card) - 1;
    const own = (): number | null => this.shown[i]?.neuron ?? null;
    for (const event of ["pointerenter", "focus"]) {
      card.addEventListener(event, () => this.options?.hover?.(own()));
    }
    for (const event of ["pointerleave", "blur"]) {
      card.addEventListener(event, () => this.options?.hover?.(null));
    }
    card.addEventListener("click", () => this.options?.choose(card.dataset["label"] ?? ""));
    this.element.append(card);
  }

  private fill(card: HTMLElement, icons: Icons, one: Shown, options: CardOptions): void {
    const label = icons.label(one.neuron);
    card.dataset["label"] = label;
    card.classList.toggle("silent", one.value === 0);
    card.setAttribute("aria-pressed", String(label === options.selected));
    card.setAttribute("aria-label", `${label}, ${options.measure} ${significant(one.value)}`);
    card.title = [label, icons.content.reach[one.neuron]].filter(Boolean).join("\n");
    replace(
      card,
      icons.withPictures ? icons.picture(one.neuron) : null,
      icons.withExemplars ? icons.exemplarsOf(one.neuron) : null,
      name(label),
      bar(one.value, options.largest),
      h("span", { class: "value" }, significant(one.value)),
    );
  }
}

/** "layer:unit" with the layer given way first where room is short. */
export function name(label: string): HTMLElement {
  const cut = label.lastIndexOf(":");
  return h(
    "span",
    { class: "name" },
    h("span", { class: "layer" }, label.slice(0, cut)),
    h("span", { class: "unit" }, label.slice(cut)),
  );
}

function painted(strip: Strip, index: number, kind: string): HTMLElement {
  const canvas = h("canvas", { "aria-hidden": "true" });
  strip.paint(canvas, index);
  return h("span", { class: kind }, canvas);
}
