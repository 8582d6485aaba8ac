// A map of what a layer can say; a cell's picture, real patches, classes and neurons beside it.

import { h, replace } from "../dom";
import { count as thousands, percent, significant } from "../format";
import { unpacked, type Packed } from "./blocks/arrays";
import { bar } from "./blocks/bars";
import { framed, head, Notes } from "./blocks/frame";
import { largestOf } from "./blocks/heat";
import { Cards, Icons, type Shown } from "./blocks/icons";
import { place, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";
import { PictureMap, shares } from "./blocks/picture_map";
import { Sheet, type PackedSheet } from "./blocks/sheet";
import { captioned, toggle } from "./blocks/shown";

const CLASSES = 5;

interface Content {
  layer: string;
  model: string;
  projection: string;
  positions: number;
  least: number;
  sheet: PackedSheet;
  /** (rows, columns): the picture of each cell, -1 where there is none. */
  pictures: Packed;
  count: Packed;
  relative: Packed;
  classes: string[];
  class_measure: string;
  class_values: Packed;
  patches: PackedSheet;
  patch_places: number[][];
  /** (pictures, k): neurons by their place among the icons, and values. */
  neurons: Packed;
  values: Packed;
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const pictures = unpacked(content.pictures);
  const [rows, columns] = pictures.shape as [number, number];
  const counts = unpacked(content.count).values;
  const relative = unpacked(content.relative).values;
  const classValues = unpacked(content.class_values).values;
  const neurons = unpacked(content.neurons);
  const values = unpacked(content.values).values;
  const k = neurons.shape[1] as number;
  const largest = largestOf(values);
  const largestClass = largestOf(classValues);
  const sheet = new Sheet(content.sheet);
  const patches = new Sheet(content.patches);
  const classCount = content.classes.length;
  let icons = new Icons(model.get("icons"));
  let hovered: Cell | null = null;
  let bySize = false;

  const map = new PictureMap({
    sheet,
    rows,
    columns,
    pictures: pictures.values,
    label: `what ${content.layer} can say`,
    hover(cell) {
      hovered = cell;
      draw();
    },
    choose: (cell) => assign(model, "cell", [...cell]),
  });
  const large = captioned("mean activation, optimised");
  const real = h("div", { class: "patches" });
  const where = h("div", { class: "where" });
  const classes = h("div", { class: "classes", role: "group", "aria-label": "classes" });
  const legend = h("div", { class: "small" });
  const cards = new Cards();
  const notes = new Notes(model);
  const sizes = toggle("size by number of positions", bySize, (on) => {
    bySize = on;
    draw();
  });

  function draw(): void {
    const chosen = model.get("cell") as [number, number];
    const cell = hovered ?? chosen;
    const flat = cell[0] * columns + cell[1];
    const index = pictures.values[flat] as number;
    map.select(chosen);
    map.size(bySize ? shares(counts) : null);
    large.show(index < 0 ? null : sheet.tile(index, "picture-of"));
    where.textContent = `${place(cell)}: ${said(counts[flat] as number, index)}`;
    const there = content.patch_places[index] ?? [];
    replace(real, ...there.map((i) => patches.tile(i, "patch")));
    drawClasses(index);
    const shown = neuronsOf(index);
    cards.show(icons, shown, {
      largest,
      measure: "mean activation",
      selected: model.get("neuron"),
      choose: (label) => assign(model, "neuron", model.get("neuron") === label ? "" : label),
    });
    notes.show(icons, shown.map((one) => one.neuron));
    map.lay(ofClass(content.classes.indexOf(model.get("shown_class"))));
    legend.textContent = legendOf(model.get("shown_class"));
    const top = index < 0 ? [] : topClasses(index).slice(0, 2);
    map.tell([where.textContent, ...top.map((i) => content.classes[i] ?? "")].join("; "));
  }

  function said(positions: number, index: number): string {
    const number = `${thousands(positions)} position${positions === 1 ? "" : "s"}`;
    if (positions === 0) return "empty";
    if (index < 0) return `${number}, fewer than ${content.least}: not rendered`;
    return `${number}; the picture reaches ${significant(relative[index] as number)} × the best real one`;
  }

  function neuronsOf(index: number): Shown[] {
    if (index < 0) return [];
    return Array.from({ length: k }, (_, i) => ({
      neuron: neurons.values[index * k + i] as number,
      value: values[index * k + i] as number,
    }));
  }

  function topClasses(index: number): number[] {
    const own = (i: number): number => classValues[index * classCount + i] as number;
    return content.classes
      .map((_, i) => i)
      .sort((a, b) => own(b) - own(a))
      .slice(0, CLASSES);
  }

  function drawClasses(index: number): void {
    if (index < 0 || classCount === 0) return replace(classes);
    const focused = (document.activeElement as HTMLElement | null)?.dataset["name"];
    const lines = topClasses(index).map((i) => {
      const value = classValues[index * classCount + i] as number;
      const name = content.classes[i] ?? "";
      const text = content.class_measure === "attribution" ? significant(value) : percent(value);
      const line = h(
        "button",
        {
          class: "class",
          type: "button",
          "data-name": name,
          "aria-pressed": String(model.get("shown_class") === name),
          title: `Show where ${name} lies on the map`,
        },
        h("span", { class: "class-name" }, name),
        bar(value, largestClass),
        h("span", { class: "value" }, text),
      );
      line.addEventListener("click", () =>
        assign(model, "shown_class", model.get("shown_class") === name ? "" : name),
      );
      return line;
    });
    replace(classes, h("div", { class: "small" }, `classes by ${content.class_measure}`), ...lines);
    lines.find((line) => line.dataset["name"] === focused)?.focus();
  }

  function legendOf(name: string): string {
    if (!name) return "";
    if (content.class_measure !== "attribution") return `orange: share of images labelled ${name}`;
    return `orange: speaks for ${name}; blue: against it`;
  }

  /** The class's value in every cell; null where no class is shown. */
  function ofClass(chosen: number): Float32Array | null {
    if (chosen < 0) return null;
    return Float32Array.from(pictures.values, (index) =>
      index < 0 ? 0 : (classValues[index * classCount + chosen] as number),
    );
  }

  framed(
    el,
    "Activation atlas",
    head(
      "Activation atlas",
      content.layer,
      content.model,
      `${thousands(content.positions)} positions, ${content.projection}`,
    ),
    h(
      "div",
      { class: "body" },
      h("div", { class: "main" }, map.element, legend, sizes),
      h(
        "div",
        { class: "side" },
        where,
        h("div", { class: "pair" }, large.element, captioned("most like it, real", real).element),
        classes,
        cards.element,
      ),
    ),
    notes.element,
  );
  draw();
  const stops = [
    follow(model, ["cell", "shown_class", "neuron", "says", "busy"], draw),
    follow(model, ["icons"], () => {
      icons = new Icons(model.get("icons"));
      draw();
    }),
  ];
  return () => {
    stops.forEach((stop) => stop());
    sheet.close();
    patches.close();
  };
}

export default { render };
