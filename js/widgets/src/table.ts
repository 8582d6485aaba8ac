// The sortable table of the neurons shown, a hundred rows at a time.

import type { App } from "./app";
import type { Neuron } from "./data";
import { h, replace, s } from "./dom";
import { count, digitsFor, fixed, percent, probability, signed } from "./format";
import { mark } from "./marks";
import { type SortKey, toggled } from "./order";
import { type Scale, scale } from "./scale";

const ROWS = 100;

const COLUMNS: { key: SortKey; name: string; hint: string; wide?: boolean }[] = [
  { key: "label", name: "Neuron", hint: "layer:unit" },
  { key: "level", name: "Controls", hint: "highest control passed, every known one below it passed too" },
  { key: "auc", name: "AUC", hint: "with its 95 % interval; the grey band is what untrained twins reach", wide: true },
  { key: "rho", name: "ρ of largest", hint: "Spearman's ρ, of the largest this prevalence and these ties allow" },
  { key: "q", name: "q", hint: "false discovery rate (Benjamini-Hochberg)" },
  { key: "auc_heldout", name: "Held out", hint: "AUC on samples it was not chosen on" },
  { key: "excess", name: "Beyond untrained", hint: "how far the AUC is beyond the untrained twins' envelope" },
  { key: "zeros", name: "Zeros", hint: "share of samples on which it is exactly 0" },
];

export function table(app: App): HTMLElement {
  const heads = COLUMNS.map(({ key, name, hint, wide }) => {
    const button = h("button", { type: "button", title: hint }, name);
    button.addEventListener("click", () => app.choose({ sort: toggled(app.choices.sort, key) }));
    const cell = h("th", { scope: "col", class: wide ? "wide" : null, "data-key": key }, button);
    return { key, cell };
  });
  const body = h("tbody", {});
  const more = h("button", { type: "button", class: "more" });
  const line = intervalScale(app.neurons);
  let [limit, rows]: [number, Map<number, HTMLElement>] = [ROWS, new Map()];
  let drawn: Neuron[] | null = null;
  let dropped = "";

  const fill = (): void => {
    const visible = app.shown.slice(0, limit);
    rows = new Map(visible.map((neuron) => [neuron.row, row(app, neuron, line)]));
    replace(body, ...(visible.length > 0 ? rows.values() : [empty()]));
    const left = app.shown.length - visible.length;
    more.hidden = left <= 0;
    more.textContent = `Show ${count(Math.min(ROWS, left))} more of ${count(left)}`;
  };
  more.addEventListener("click", () => {
    limit += ROWS;
    fill();
    choose();
  });
  const choose = (): void => {
    for (const [at, element] of rows) {
      element.setAttribute("aria-selected", String(at === app.choices.chosen));
    }
  };
  app.listen(() => {
    const { key, direction } = app.choices.sort;
    for (const head of heads) {
      head.cell.setAttribute("aria-sort", head.key === key ? direction : "none");
    }
    const now = `${key} ${direction} ${app.shown.map((neuron) => neuron.row).join()}`;
    if (drawn === null || now !== dropped) {
      limit = ROWS;
      fill();
    }
    [drawn, dropped] = [app.shown, now];
    choose();
  });
  return h(
    "section",
    { class: "panel neurons" },
    h("h2", { id: "neurons" }, "Neurons"),
    h(
      "div",
      { class: "scroll" },
      h(
        "table",
        { "aria-labelledby": "neurons" },
        h("thead", {}, h("tr", {}, ...heads.map(({ cell }) => cell))),
        body,
      ),
    ),
    more,
  );
}

function empty(): HTMLElement {
  return h("tr", {}, h("td", { colspan: COLUMNS.length, class: "none" }, "No neuron passes these filters."));
}

function row(app: App, neuron: Neuron, line: Scale): HTMLElement {
  const open = h("button", { type: "button", class: "open" }, h("bdi", {}, neuron.label));
  const step = app.payload.steps[neuron.level - 1];
  const digits = digitsFor(neuron.auc_low, neuron.auc_high);
  const dead = neuron.dead === 1 ? h("span", { class: "dead" }, "dead") : null;
  const element = h(
    "tr",
    { "data-neuron": neuron.label },
    h("td", {}, open, dead),
    h("td", { class: "level" }, mark(neuron.level), step?.label ?? "none"),
    h("td", {}, h("div", { class: "auc" }, aucText(neuron, digits), whisker(neuron, line))),
    h("td", {}, fixed(neuron.rho, 2), neuron.rho === null ? null : largest(neuron)),
    h("td", {}, probability(neuron.q)),
    h("td", {}, fixed(neuron.auc_heldout, digits)),
    h("td", {}, signed(neuron.excess, digits)),
    h("td", {}, percent(neuron.zeros)),
  );
  element.addEventListener("click", () => app.choose({ chosen: neuron.row }));
  return element;
}

function aucText(neuron: Neuron, digits: number): HTMLElement {
  const known = neuron.auc_low !== null && neuron.auc_high !== null;
  const range = `${fixed(neuron.auc_low, digits)}–${fixed(neuron.auc_high, digits)}`;
  return h("span", {}, fixed(neuron.auc, digits), known ? h("small", {}, ` ${range}`) : null);
}

function largest(neuron: Neuron): HTMLElement {
  return h("small", {}, ` of ${fixed(neuron.rho_max, 2)}`);
}

function intervalScale(neurons: Neuron[]): Scale {
  let reach = 0.1;
  for (const { auc, auc_low, auc_high } of neurons) {
    for (const value of [auc, auc_low, auc_high]) {
      if (value !== null) reach = Math.max(reach, Math.abs(value - 0.5));
    }
  }
  return scale([0.5 - reach, 0.5 + reach], [3, 117]);
}

/** The interval around .5, over the band that untrained twins reach. */
export function whisker(neuron: Neuron, x: Scale): SVGSVGElement {
  const { auc, auc_low: low, auc_high: high, auc_untrained: untrained } = neuron;
  const cut = (value: number): number => Math.min(117, Math.max(3, x(value)));
  const band =
    untrained === null
      ? null
      : s("rect", {
          class: "envelope",
          x: cut(1 - untrained),
          y: 3,
          width: Math.max(0, cut(untrained) - cut(1 - untrained)),
          height: 14,
        });
  return s(
    "svg",
    { class: `whisker mark-${Math.min(neuron.level, 4)}`, viewBox: "0 0 120 20", "aria-hidden": "true" },
    band,
    s("line", { class: "half", x1: x(0.5), x2: x(0.5), y1: 1, y2: 19 }),
    low !== null && high !== null ? s("line", { class: "range", x1: x(low), x2: x(high), y1: 10, y2: 10 }) : null,
    auc !== null ? s("circle", { class: "dot", cx: x(auc), cy: 10, r: 3.2 }) : null,
  );
}
