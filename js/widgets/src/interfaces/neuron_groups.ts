// A layer's neurons in a few groups: where each is active, what it sees, and what it contributes.

import { h, replace } from "../dom";
import { significant } from "../format";
import { Strip, unpacked, type Packed } from "./blocks/arrays";
import { bar, signedBar } from "./blocks/bars";
import { Curve } from "./blocks/curve";
import { framed, head, Notes } from "./blocks/frame";
import { largestOf, mixedPixels, type Colour } from "./blocks/heat";
import { Icons, name } from "./blocks/icons";
import { ImageMap, place, same, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";

interface Content {
  layer: string;
  model: string;
  target: string;
  picture: Packed;
  colours: Colour[];
  /** (groups, rows, columns), 1 at the 99th percentile. */
  maps: Packed;
  explained: number[];
  /** Empty without a target. */
  attribution: number[];
  /** Each group's neurons of most weight, by their place among the icons. */
  members: number[][];
  error: number;
  curve: { k: number[]; error: number[] };
}

function render({ model, el }: View): () => void {
  const first = model.get("content") as Content;
  const [, rows, columns] = first.maps.shape as [number, number, number];
  const size = rows * columns;
  let hovered: Cell | null = null;
  let pointed: number | null = null;

  const map = new ImageMap({
    picture: new Strip(first.picture),
    rows,
    columns,
    label: `positions of ${first.layer}`,
    hover(cell) {
      hovered = cell;
      draw();
    },
    choose(cell) {
      at = same(cell, at) ? null : cell;
      assign(model, "group", at ? strongest(at) : -1);
      draw();
    },
  });
  let at: Cell | null = null;
  const where = h("div", { class: "where" });
  const list = h("ol", { class: "groups", "aria-label": "groups" });
  const curve = new Curve({
    label: "Error that is left, by number of groups",
    xLabel: "groups",
    choose: (k) => assign(model, "k", k),
  });
  const notes = new Notes(model);
  const make = h("button", { class: "make", type: "button" }, "Make pictures of the groups");
  make.addEventListener("click", () => model.send({ groups: true }));

  let content = first;
  let maps: Float32Array[] = [];
  let icons = new Icons(model.get("icons"));
  let pictures: Strip | null = null;

  function read(): void {
    content = model.get("content") as Content;
    icons = new Icons(model.get("icons"));
    const values = unpacked(content.maps).values as Float32Array;
    maps = content.colours.map((_, g) => values.subarray(g * size, (g + 1) * size));
    const sent = model.get("group_pictures") as Packed;
    const strip = sent.shape ? new Strip(sent) : null;
    pictures = strip && strip.count === maps.length ? strip : null;
    pointed = null;
    build();
    draw();
  }

  function here(group: number, cell: Cell): number {
    return maps[group]?.[cell[0] * columns + cell[1]] ?? 0;
  }

  function strongest(cell: Cell): number {
    const values = maps.map((_, group) => here(group, cell));
    return values.indexOf(Math.max(...values));
  }

  function build(): void {
    const focused = document.activeElement?.getAttribute("data-focus");
    replace(list, ...maps.map((_, group) => row(group)));
    if (focused) list.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  function row(group: number): HTMLElement {
    const colour = content.colours[group] as Colour;
    const swatch = h(
      "button",
      {
        class: "swatch",
        type: "button",
        "data-focus": `group ${group}`,
        "aria-label": `group ${group + 1}, explains ${percent(content.explained[group])}`,
        style: `background: rgb(${colour}); color: ${dark(colour) ? "#fff" : "#000"}`,
      },
      String(group + 1),
    );
    swatch.addEventListener("click", () =>
      assign(model, "group", model.get("group") === group ? -1 : group),
    );
    const canvas = h("canvas", { "aria-hidden": "true" });
    pictures?.paint(canvas, group);
    const picture = pictures
      ? h("span", { class: "icon" }, canvas)
      : h("span", { class: "icon none" }, "–");
    const members = content.members[group] ?? [];
    const item = h(
      "li",
      { class: "group" },
      swatch,
      picture,
      h("span", { class: "numbers" }),
      h("span", { class: "members" }, ...members.map((neuron) => member(neuron))),
    );
    for (const event of ["pointerenter", "focusin"]) item.addEventListener(event, () => point(group));
    for (const event of ["pointerleave", "focusout"]) item.addEventListener(event, () => point(null));
    return item;
  }

  function member(neuron: number): HTMLElement {
    const label = icons.label(neuron);
    const button = h(
      "button",
      { class: "member", type: "button", "data-label": label, "data-focus": label, title: label },
      icons.missing([neuron]).length ? null : icons.picture(neuron),
      icons.firstExemplar(neuron),
      name(label),
    );
    button.addEventListener("click", () =>
      assign(model, "neuron", model.get("neuron") === label ? "" : label),
    );
    return button;
  }

  function point(group: number | null): void {
    pointed = group;
    lay();
  }

  function draw(): void {
    const cell = hovered ?? at;
    map.select(at);
    where.textContent = cell
      ? `strength at ${place(cell)} of ${rows} × ${columns}`
      : content.attribution.length
        ? `what each contributes to ${content.target}`
        : "share of the activation that is lost without the group";
    const group = model.get("group") as number;
    [...list.children].forEach((item, g) => {
      item.classList.toggle("pressed", g === group);
      item.querySelector(".swatch")?.setAttribute("aria-pressed", String(g === group));
      replace(item.querySelector(".numbers") as Element, ...numbers(g, cell));
      for (const button of item.querySelectorAll<HTMLElement>(".member")) {
        button.setAttribute("aria-pressed", String(button.dataset["label"] === model.get("neuron")));
      }
    });
    make.hidden = pictures !== null || !icons.content.can_render;
    make.disabled = Boolean(model.get("busy"));
    curve.show(content.curve.k, content.curve.error, maps.length);
    notes.show(icons, [...new Set(content.members.flat())]);
    lay();
    if (cell) map.tell(`${place(cell)}: ${maps.map((_, g) => `group ${g + 1} ${percent(here(g, cell))}`).join(", ")}`);
  }

  function numbers(group: number, cell: Cell | null): HTMLElement[] {
    if (cell) {
      const value = here(group, cell);
      return [bar(value, 1), h("span", { class: "value" }, percent(value))];
    }
    const value = content.attribution[group];
    if (value === undefined) {
      const explained = content.explained[group] ?? 0;
      return [bar(explained, 1), h("span", { class: "value" }, percent(explained))];
    }
    const largest = largestOf(content.attribution);
    return [signedBar(value, largest), h("span", { class: "value" }, significant(value))];
  }

  /** All groups in their colours, or the one under the pointer, or the chosen one. */
  function lay(): void {
    const group = pointed ?? (model.get("group") as number);
    const some = group >= 0 && group < maps.length ? [group] : maps.map((_, g) => g);
    map.layPixels(
      mixedPixels(
        some.map((g) => maps[g] as Float32Array),
        some.map((g) => content.colours[g] as Colour),
      ),
    );
  }

  framed(
    el,
    "Neuron groups",
    head("Neuron groups", `layer ${first.layer}`, first.target && `target ${first.target}`, first.model),
    h(
      "div",
      { class: "body" },
      h("div", {}, map.element, curve.element),
      h("div", { class: "side wide" }, where, list, make),
    ),
    notes.element,
  );
  read();
  const stops = [
    follow(model, ["content", "icons", "group_pictures"], read),
    follow(model, ["group", "neuron", "says", "busy"], draw),
  ];
  return () => stops.forEach((stop) => stop());
}

function percent(value: number | undefined): string {
  return `${Math.round(100 * (value ?? 0))} %`;
}

function dark([r, g, b]: Colour): boolean {
  return 0.3 * r + 0.59 * g + 0.11 * b < 128;
}

export default { render };
