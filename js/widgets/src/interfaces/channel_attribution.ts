// Which neurons speak for an answer and which against it, in the whole image or at one position.

import { h } from "../dom";
import { significant } from "../format";
import { Strip, unpacked, type Packed } from "./blocks/arrays";
import { framed, head, Notes } from "./blocks/frame";
import { largestOf } from "./blocks/heat";
import { Cards, Icons, type Shown } from "./blocks/icons";
import { ImageMap, place, same, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";

interface Content {
  layer: string;
  model: string;
  target: string;
  /** Titles over the neurons for and against. */
  sides: [string, string];
  /** How many of the icons are on the first side. */
  positive: number;
  picture: Packed;
  /** Of each neuron: its sum over positions, and (neurons, rows, columns). */
  values: Packed;
  maps: Packed;
  total: Packed;
  summary: string;
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const values = unpacked(content.values).values as Float32Array;
  const maps = unpacked(content.maps).values as Float32Array;
  const [, rows, columns] = content.maps.shape as [number, number, number];
  const total = unpacked(content.total).values as Float32Array;
  const size = rows * columns;
  let icons = new Icons(model.get("icons"));
  let hovered: Cell | null = null;
  let pointed: number | null = null;

  const map = new ImageMap({
    picture: new Strip(content.picture),
    rows,
    columns,
    label: `positions of ${content.layer}`,
    hover(cell) {
      hovered = cell;
      draw();
    },
    choose: (cell) => assign(model, "position", same(cell, position()) ? [] : [...cell]),
  });
  map.element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") assign(model, "position", []);
  });
  const where = h("div", { class: "where" });
  const sides = [new Cards(), new Cards()];
  const notes = new Notes(model);

  function position(): Cell | null {
    const chosen = model.get("position") as number[];
    return chosen.length === 2 ? [chosen[0] as number, chosen[1] as number] : null;
  }

  function valueOf(neuron: number, cell: Cell | null): number {
    if (!cell) return values[neuron] as number;
    return maps[neuron * size + cell[0] * columns + cell[1]] as number;
  }

  function draw(): void {
    const cell = hovered ?? position();
    const shown: Shown[] = Array.from(values, (_, neuron) => ({
      neuron,
      value: valueOf(neuron, cell),
    }));
    const largest = cell ? largestOf(maps) : largestOf(values);
    map.select(position());
    where.textContent = cell ? `at ${place(cell)} of ${rows} × ${columns}` : "in the whole image";
    const options = {
      largest,
      measure: "attribution",
      selected: model.get("neuron") as string,
      hover(neuron: number | null) {
        pointed = neuron;
        lay();
      },
      choose: (label: string) =>
        assign(model, "neuron", model.get("neuron") === label ? "" : label),
    };
    sides[0]?.show(icons, shown.slice(0, content.positive), options);
    sides[1]?.show(icons, shown.slice(content.positive), options);
    notes.show(icons, shown.map((one) => one.neuron));
    lay();
    const told = shown.map((one) => `${icons.label(one.neuron)} ${significant(one.value)}`);
    map.tell(`${cell ? place(cell) : "whole image"}: ${told.join(", ")}`);
  }

  /** Where the neuron under the pointer, or the chosen one, or the whole layer contributes. */
  function lay(): void {
    const neuron = pointed ?? icons.labels.indexOf(model.get("neuron"));
    map.lay(neuron < 0 ? total : maps.subarray(neuron * size, (neuron + 1) * size));
  }

  const columnsOfCards = sides.map((cards, i) =>
    h("div", {}, h("h4", {}, content.sides[i] ?? ""), cards.element),
  );
  framed(
    el,
    "Channel attribution",
    head("Channel attribution", `layer ${content.layer}`, content.target, content.model),
    h(
      "div",
      { class: "body" },
      map.element,
      h("div", { class: "side wide" }, h("div", { class: "where" }, content.summary), where, h("div", { class: "sides" }, ...columnsOfCards)),
    ),
    notes.element,
  );
  draw();
  const stops = [
    follow(model, ["position", "neuron", "says", "busy"], draw),
    follow(model, ["icons"], () => {
      icons = new Icons(model.get("icons"));
      draw();
    }),
  ];
  return () => stops.forEach((stop) => stop());
}

export default { render };
