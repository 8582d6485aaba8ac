// The pictures of a whole layer, appearing as they are made.

import { h, replace } from "../dom";
import { significant } from "../format";
import { unpacked, type Numbers, type Packed } from "./blocks/arrays";
import { framed, head } from "./blocks/frame";
import { name } from "./blocks/icons";
import { moved } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";
import { Sheet, type PackedSheet } from "./blocks/sheet";
import { captioned } from "./blocks/shown";

interface Content {
  title: string;
  labels: string[];
  values: Record<string, Packed>;
  exemplars: PackedSheet;
  exemplar_ends: number[];
  note: string;
}

interface Made {
  sheet: PackedSheet;
  /** Of each neuron; -1 where there is none yet. */
  places: Packed;
  reach: string[];
}

interface Progress {
  done: number;
  total: number;
  running: boolean;
}

/** Neurons by their numbers, the largest first; those below `least` and without one left out. */
export function arranged(count: number, values: Numbers | null, least: number | null): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  if (!values) return all;
  const of = (i: number): number => values[i] as number;
  const known = all.filter((i) => !Number.isNaN(of(i))).sort((a, b) => of(b) - of(a));
  if (least !== null) return known.filter((i) => of(i) >= least);
  return [...known, ...all.filter((i) => Number.isNaN(of(i)))];
}

function render({ model, el }: View): () => void {
  let content = model.get("content") as Content;
  const count = content.labels.length;
  const values: Record<string, Numbers> = {};
  for (const [key, packed] of Object.entries(content.values)) values[key] = unpacked(packed).values;
  let exemplars = new Sheet(content.exemplars);
  let sheet: Sheet | null = null;
  let places: Numbers | null = null;
  let order: number[] = [];
  let reachable = 0;

  const tiles = content.labels.map((label, i) => {
    const tile = h("button", { class: "sprite none", type: "button", tabindex: -1, title: label });
    tile.addEventListener("click", () => choose(i));
    tile.addEventListener("focus", () => (reachable = i));
    return tile;
  });
  const grid = h("div", {
    class: "sprites",
    role: "group",
    "aria-label": `pictures of ${content.title}; arrow keys move`,
    "data-lm-suppress-shortcuts": "true",
  });
  grid.addEventListener("keydown", move);
  const gauge = h("progress", { "aria-label": "pictures made" });
  const said = h("output", { class: "value", "aria-live": "off" });
  const work = h("button", { class: "make", type: "button" });
  work.addEventListener("click", () => {
    const { running } = model.get("progress") as Progress;
    model.send({ do: running ? "stop" : "start" });
  });
  const status = h("output", { class: "status", "aria-live": "polite" });
  const note = h("p", {});
  const detail = h("div", { class: "detail" });

  const sort = h("select", { "aria-label": "sort by" }, h("option", { value: "" }, "as given"));
  for (const key of Object.keys(values)) sort.append(h("option", { value: key }, key));
  sort.addEventListener("change", () => {
    model.set("least", null);
    assign(model, "sort", sort.value);
  });
  const least = h("input", { type: "number", step: "any", "aria-label": "at least" });
  least.addEventListener("input", () =>
    assign(model, "least", least.value === "" ? null : Number(least.value)),
  );
  const bounds = h("label", {}, "at least ", least);
  const controls = h("div", { class: "controls", "data-lm-suppress-shortcuts": "true" }, h("label", {}, "sort by ", sort), bounds);
  controls.hidden = Object.keys(values).length === 0;

  function choose(i: number): void {
    const label = content.labels[i] ?? "";
    assign(model, "neuron", model.get("neuron") === label ? "" : label);
  }

  function arrange(): void {
    const key = model.get("sort") as string;
    const limit = model.get("least") as number | null;
    sort.value = key;
    bounds.hidden = key === "";
    // Not while it is being typed.
    if (document.activeElement !== least) least.value = limit === null ? "" : String(limit);
    order = arranged(count, values[key] ?? null, limit);
    replace(grid, ...order.map((i) => tiles[i] as HTMLElement));
    if (!order.includes(reachable)) reachable = order[0] ?? 0;
    tiles.forEach((tile, i) => {
      tile.tabIndex = i === reachable ? 0 : -1;
      const value = values[key]?.[i];
      const text = value === undefined ? "" : `${key} ${significant(value)}`;
      tile.title = [content.labels[i], text].filter(Boolean).join("\n");
      tile.setAttribute("aria-label", [content.labels[i], text].filter(Boolean).join(", "));
    });
    tell();
  }

  function paint(): void {
    const made = model.get("made") as Partial<Made>;
    if (made.sheet && made.places) {
      sheet?.close();
      const fresh = (sheet = new Sheet(made.sheet));
      const own = (places = unpacked(made.places).values);
      tiles.forEach((tile, i) => {
        const place = own[i] as number;
        tile.classList.toggle("none", place < 0);
        if (place >= 0) fresh.put(tile, place);
      });
    }
    mark();
  }

  /** The chosen neuron, larger and with real images beside it. */
  function mark(): void {
    const chosen = content.labels.indexOf(model.get("neuron"));
    tiles.forEach((tile, i) => tile.setAttribute("aria-pressed", String(i === chosen)));
    detail.hidden = chosen < 0;
    if (chosen < 0) return;
    const place = (places?.[chosen] ?? -1) as number;
    const picture = captioned("optimised");
    picture.show(sheet && place >= 0 ? sheet.tile(place, "picture-of") : null);
    const first = content.exemplar_ends[chosen] ?? 0;
    const last = content.exemplar_ends[chosen + 1] ?? 0;
    const real = h("div", { class: "patches" });
    for (let i = first; i < last; i++) real.append(exemplars.tile(i, "patch"));
    const reach = place < 0 ? "" : ((model.get("made") as Partial<Made>).reach?.[place] ?? "");
    const numbers = Object.entries(values).map(([key, column]) =>
      h("div", {}, `${key} ${significant(column[chosen] as number)}`),
    );
    replace(
      detail,
      picture.element,
      last > first ? captioned("real, most active", real).element : null,
      h("div", { class: "facts" }, name(content.labels[chosen] ?? ""), h("div", {}, reach), ...numbers),
    );
  }

  function tell(): void {
    const { done = 0, total = count, running = false } = model.get("progress") as Partial<Progress>;
    gauge.max = total;
    gauge.value = done;
    const hidden = order.length < count ? `, ${order.length} shown` : "";
    const state = done === total ? "" : running ? ", being made" : ", stopped";
    said.textContent = `${done} of ${total} pictures${state}${hidden}`;
    gauge.hidden = done === total;
    work.hidden = done === total;
    work.textContent = running ? "Stop" : "Go on";
    status.textContent = model.get("says");
    note.textContent = content.note;
  }

  function move(event: KeyboardEvent): void {
    const at = order.indexOf(reachable);
    const columns = columnsOf(grid);
    const rows = Math.ceil(order.length / columns);
    const next = moved([Math.floor(at / columns), at % columns], event.key, rows, columns);
    if (!next || at < 0) return;
    event.preventDefault();
    const i = order[Math.min(order.length - 1, next[0] * columns + next[1])] as number;
    for (const each of [reachable, i]) (tiles[each] as HTMLElement).tabIndex = each === i ? 0 : -1;
    (tiles[i] as HTMLElement).focus();
  }

  framed(
    el,
    "Sprite sheet",
    head("Sprite sheet", content.title),
    h("div", { class: "working" }, gauge, said, work),
    controls,
    h("div", { class: "sheet-body" }, grid, detail),
    h("footer", {}, note, status),
  );
  arrange();
  paint();
  const stops = [
    follow(model, ["sort", "least"], arrange),
    follow(model, ["progress", "says"], tell),
    follow(model, ["made"], paint),
    follow(model, ["neuron"], mark),
    follow(model, ["content"], () => {
      content = model.get("content") as Content;
      exemplars.close();
      exemplars = new Sheet(content.exemplars);
      mark();
      tell();
    }),
  ];
  return () => {
    stops.forEach((stop) => stop());
    sheet?.close();
    exemplars.close();
  };
}

/** How many lie beside each other. */
function columnsOf(grid: HTMLElement): number {
  return Math.max(1, getComputedStyle(grid).gridTemplateColumns.split(" ").length);
}

export default { render };
