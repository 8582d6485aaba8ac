// Hover a position of the image: its neurons with the largest values, as pictures.

import { h } from "../dom";
import { significant } from "../format";
import { Maps, Strip, unpacked, type Packed } from "./blocks/arrays";
import { framed, head, Notes } from "./blocks/frame";
import { largestOf } from "./blocks/heat";
import { Cards, Icons, type Shown } from "./blocks/icons";
import { ImageMap, place, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";

interface Content {
  layer: string;
  model: string;
  measure: string;
  target: string;
  picture: Packed;
  /** (rows, columns, k): neurons by their place among the icons, and values. */
  neurons: Packed;
  values: Packed;
  maps: { steps: Packed; largest: Packed };
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const neurons = unpacked(content.neurons);
  const values = unpacked(content.values);
  const [rows, columns, k] = neurons.shape as [number, number, number];
  const largest = largestOf(values.values);
  const maps = new Maps(content.maps);
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
    choose: (cell) => assign(model, "position", [...cell]),
  });
  const where = h("div", { class: "where" });
  const cards = new Cards();
  const notes = new Notes(model);

  function at([row, column]: Cell): Shown[] {
    const first = (row * columns + column) * k;
    return Array.from({ length: k }, (_, i) => ({
      neuron: neurons.values[first + i] as number,
      value: values.values[first + i] as number,
    }));
  }

  function draw(): void {
    const chosen = model.get("position") as [number, number];
    const cell = hovered ?? chosen;
    const shown = at(cell);
    map.select(chosen);
    where.textContent = `${place(cell)} of ${rows} × ${columns}`;
    cards.show(icons, shown, {
      largest,
      measure: content.measure,
      selected: model.get("neuron"),
      hover(neuron) {
        pointed = neuron;
        lay();
      },
      choose: (label) => assign(model, "neuron", model.get("neuron") === label ? "" : label),
    });
    notes.show(icons, shown.map((one) => one.neuron));
    lay();
    map.tell(
      `${place(cell)}: ` +
        shown.map((one) => `${icons.label(one.neuron)} ${significant(one.value)}`).join(", "),
    );
  }

  /** Where the neuron under the pointer, or the chosen one, answers in the image. */
  function lay(): void {
    const neuron = pointed ?? icons.labels.indexOf(model.get("neuron"));
    map.lay(neuron < 0 ? null : maps.get(neuron));
  }

  framed(
    el,
    "Semantic dictionary",
    head(
      "Semantic dictionary",
      `layer ${content.layer}`,
      content.target && `attribution to ${content.target}`,
      content.model,
    ),
    h("div", { class: "body" }, map.element, h("div", { class: "side" }, where, cards.element)),
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
