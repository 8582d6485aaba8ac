// One neuron: its numbers with the control beside each, what it sees, and where it is active.

import type { App } from "./app";
import type { Card, Exemplar, Neuron } from "./data";
import { h, replace } from "./dom";
import { digitsFor, fixed, interval, percent, probability, signed, significant } from "./format";
import { mark } from "./marks";
import { strips } from "./strip";

export function card(app: App): HTMLElement {
  const content = h("div", { class: "content" });
  const section = h("section", { class: "panel card", "aria-label": "Neuron", "aria-live": "polite" }, content);
  let [drawn, masked]: [number | null | undefined, boolean] = [undefined, true];
  app.listen(() => {
    const { chosen, masks } = app.choices;
    if (chosen === drawn && masks === masked) return;
    if (chosen !== drawn) section.scrollTop = 0;
    [drawn, masked] = [chosen, masks];
    replace(content, ...(app.chosen ? parts(app, app.chosen) : [prompt()]));
  });
  return section;
}

function prompt(): HTMLElement {
  return h("p", { class: "quiet" }, "Choose a neuron on the map or in the table to see its card.");
}

function parts(app: App, neuron: Neuron): HTMLElement[] {
  const seen = app.payload.cards[neuron.row];
  return [
    h("h2", { class: "label" }, mark(neuron.level), h("bdi", {}, neuron.label)),
    rungs(app, neuron),
    pictures(app, seen),
    h("h3", {}, "Activation"),
    strips(app.payload.groups, app.payload.strips[neuron.row]),
  ];
}

/** Every number with the control it belongs to, and whether that was passed. */
function rungs(app: App, neuron: Neuron): HTMLElement {
  const digits = digitsFor(neuron.auc_low, neuron.auc_high);
  const numbers: Record<string, string> = {
    associated: `ρ ${fixed(neuron.rho, 2)} of ${fixed(neuron.rho_max, 2)} possible`,
    stratified: `AUC ${interval(neuron.auc, neuron.auc_low, neuron.auc_high)}, q ${probability(neuron.q)}`,
    replicated: `AUC ${fixed(neuron.auc_selection, digits)}, held out ${fixed(neuron.auc_heldout, digits)}`,
    beyond_untrained: `${signed(neuron.excess, digits)} beyond untrained ${fixed(neuron.auc_untrained, digits)}`,
    beyond_input: `${signed(neuron.excess_input, digits)} beyond the best input feature ${fixed(neuron.auc_input, digits)}`,
    beyond_covariates: `ρ ${signed(neuron.rho_partial, 2)} with them held fixed, q ${probability(neuron.q_partial)}`,
  };
  const items = app.payload.steps.map((step) => {
    const state = step.missing !== null ? null : (step.state[neuron.row] ?? null);
    const kind = state === null ? "unknown" : state === 1 ? "passed" : "failed";
    const word = { passed: "passed", failed: "not passed", unknown: "not known" }[kind];
    const text = step.missing !== null && step.key !== "stratified" ? step.missing : numbers[step.key];
    return h(
      "li",
      { class: kind, title: step.asks, "data-step": step.key },
      h("span", { class: "sign", role: "img", "aria-label": word }, { passed: "✓", failed: "✕", unknown: "?" }[kind]),
      h("span", { class: "name" }, step.label),
      h("span", { class: "number" }, text ?? ""),
    );
  });
  const rest = [`${percent(neuron.zeros)} of its activations are exactly 0`];
  if (neuron.dead === 1) rest.unshift("dead or constant, so nothing can be said of it");
  return h("div", {}, h("ul", { class: "rungs" }, ...items), h("p", { class: "quiet" }, `${rest.join("; ")}.`));
}

function pictures(app: App, seen: Card | undefined): HTMLElement {
  return h("div", { class: "pictures" }, visualization(app, seen), exemplars(app, seen));
}

function visualization(app: App, seen: Card | undefined): HTMLElement {
  const shown = seen?.visualization;
  const heading = h("h3", {}, "Visualisation");
  if (!shown) return h("div", {}, heading, h("p", { class: "quiet" }, "Not rendered for this neuron."));
  const reached = [
    ["reaches", shown.reached],
    ["under fresh transforms", shown.reached_fresh],
    ["best exemplar", shown.best_exemplar],
  ] as const;
  const caption = reached
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${significant(value)}`)
    .join(", ");
  return h(
    "figure",
    { class: "visualization" },
    heading,
    image(app, shown.image, "image that maximises the neuron"),
    caption ? h("figcaption", {}, caption) : null,
  );
}

function exemplars(app: App, seen: Card | undefined): HTMLElement {
  const shown = seen?.exemplars ?? [];
  const heading = h("h3", {}, "Exemplars");
  if (shown.length === 0) {
    return h("div", { class: "exemplars" }, heading, h("p", { class: "quiet" }, "None were collected for this neuron."));
  }
  const toggle = h("input", { type: "checkbox" });
  toggle.checked = app.choices.masks;
  toggle.addEventListener("change", () => app.choose({ masks: toggle.checked }));
  const masked = shown.some((one) => one.mask !== null);
  return h(
    "div",
    { class: "exemplars" },
    h("div", { class: "line" }, heading, masked ? h("label", { class: "toggle" }, toggle, "where it is active") : null),
    h("div", { class: "sheet" }, ...shown.map((one) => exemplar(app, one))),
  );
}

function exemplar(app: App, one: Exemplar): HTMLElement {
  const name = one.sample === null ? "exemplar" : `sample ${one.sample}`;
  const overlay = one.mask !== null && app.choices.masks ? image(app, one.mask, "") : null;
  overlay?.classList.add("mask");
  return h(
    "figure",
    { class: "exemplar", title: `${name}, activation ${significant(one.activation)}` },
    h("div", { class: "stack" }, image(app, one.image, name), overlay),
    h("figcaption", {}, significant(one.activation)),
  );
}

function image(app: App, index: number, alt: string): HTMLImageElement {
  const element = h("img", { alt, src: app.payload.images[index] ?? "" });
  // Enlarged by whole pixels where it is tiny, smoothly where it is not.
  const pixels = (): unknown => element.classList.toggle("tiny", element.naturalWidth < 64);
  if (element.complete) pixels();
  element.addEventListener("load", pixels);
  return element;
}
