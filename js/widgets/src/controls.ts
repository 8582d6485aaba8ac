// Filters by layer and by a threshold, the live count, and the distribution under the slider.

import type { App } from "./app";
import { h, replace, s } from "./dom";
import { histogram } from "./filter";
import { count, fixed, probability } from "./format";
import { ticks } from "./scale";

const BINS = 60;

export function controls(app: App): HTMLElement {
  const live = h("output", { class: "count", "aria-live": "polite" });
  app.listen(() => {
    const text = `${count(app.shown.length)} of ${count(app.neurons.length)} neurons`;
    if (live.textContent !== text) live.textContent = text;
  });
  return h(
    "section",
    { class: "panel controls", "aria-label": "Filters" },
    layers(app),
    threshold(app),
    h("div", { class: "field total" }, h("h2", {}, "Shown"), live),
  );
}

function layers(app: App): HTMLElement {
  const chip = (text: string, press: () => void): { button: HTMLButtonElement; n: HTMLElement } => {
    const n = h("span", { class: "n" });
    const button = h("button", { type: "button", class: "chip" }, h("bdi", {}, text), n);
    button.addEventListener("click", press);
    return { button, n };
  };
  const all = chip("all", () => app.choose({ layers: new Set() }));
  const chips = app.payload.layers.map((name, layer) =>
    chip(name, () => {
      const chosen = new Set(app.choices.layers);
      if (!chosen.delete(layer)) chosen.add(layer);
      app.choose({ layers: chosen.size === app.payload.layers.length ? new Set() : chosen });
    }),
  );
  app.listen(() => {
    const chosen = app.choices.layers;
    all.button.setAttribute("aria-pressed", String(chosen.size === 0));
    const there = new Array<number>(chips.length).fill(0);
    for (const { layer } of app.passing({ layers: new Set() })) there[layer] = (there[layer] ?? 0) + 1;
    for (const [layer, { button, n }] of chips.entries()) {
      button.setAttribute("aria-pressed", String(chosen.has(layer)));
      n.textContent = count(there[layer] ?? 0);
      button.setAttribute("aria-label", `${app.payload.layers[layer]}, ${n.textContent} neurons`);
    }
  });
  return h(
    "div",
    { class: "field layers", role: "group", "aria-labelledby": "layers" },
    h("h2", { id: "layers" }, "Layers"),
    h("div", { class: "chips" }, all.button, ...chips.map(({ button }) => button)),
  );
}

function threshold(app: App): HTMLElement {
  const says = h("output", { class: "says" });
  const bars = s("svg", { class: "bars", "aria-hidden": "true", preserveAspectRatio: "none" });
  const marks = h("div", { class: "marks", "aria-hidden": "true" });
  const slider = h("input", { type: "range", min: 0, "aria-label": "Threshold" });
  slider.addEventListener("input", () => app.setThreshold(Number(slider.value)));
  const kinds = app.measures.map((measure, index) => {
    const input = h("input", { type: "radio", name: "measure", value: measure.key });
    input.addEventListener("change", () => app.choose({ measure: index }));
    return { input, element: h("label", { class: "kind" }, input, h("span", {}, measure.name)) };
  });
  let drawn = "";
  app.listen(() => {
    const { measure } = app;
    for (const [index, { input }] of kinds.entries()) input.checked = index === app.choices.measure;
    slider.max = String(measure.end);
    slider.step = String(measure.step);
    slider.value = String(app.threshold);
    says.textContent = app.threshold > 0 ? measure.says(app.threshold) : "no threshold";
    slider.setAttribute("aria-valuetext", says.textContent);
    drawBars(bars, app);
    if (drawn !== measure.key) drawMarks(marks, app);
    drawn = measure.key;
  });
  return h(
    "div",
    { class: "field threshold", role: "group", "aria-labelledby": "threshold" },
    h(
      "div",
      { class: "line" },
      h("h2", { id: "threshold" }, "Threshold"),
      h("div", { class: "kinds", role: "radiogroup", "aria-label": "Measure" }, ...kinds.map((k) => k.element)),
      says,
    ),
    h("div", { class: "track" }, bars, slider, marks),
  );
}

function drawBars(svg: SVGSVGElement, app: App): void {
  const { measure, threshold } = app;
  const values = app.passing({ threshold: 0 }).map((neuron) => measure.value(neuron));
  const counts = histogram(values, measure.end, BINS);
  const most = Math.max(1, ...counts);
  svg.setAttribute("viewBox", `0 0 ${BINS} 1`);
  replace(
    svg,
    ...counts.map((n, bin) => {
      const height = n === 0 ? 0 : Math.max(0.06, Math.sqrt(n / most));
      const inside = ((bin + 1) / BINS) * measure.end > threshold;
      return s("rect", {
        x: bin + 0.12,
        y: 1 - height,
        width: 0.76,
        height,
        class: inside ? "in" : "out",
      });
    }),
  );
}

function drawMarks(element: HTMLElement, app: App): void {
  const { measure } = app;
  const place = (value: number, text: string, kind: string): HTMLElement => {
    const tick = h("span", { class: kind }, text);
    tick.style.left = `${(100 * value) / measure.end}%`;
    return tick;
  };
  const text = (value: number): string =>
    measure.key === "q" ? probability(10 ** -value) : fixed(value, 1);
  const children = ticks([0, measure.end], 5).map((value) => place(value, text(value), "tick"));
  const { possible } = measure;
  if (possible !== null && possible < measure.end) {
    const beyond = h("span", { class: "beyond" });
    beyond.style.left = `${(100 * possible) / measure.end}%`;
    children.push(beyond, place(possible, `largest possible ${fixed(possible, 2)}`, "possible"));
  }
  replace(element, ...children);
}
