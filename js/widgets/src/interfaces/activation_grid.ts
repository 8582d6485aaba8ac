// Every position as a picture of what the layer makes of it, beside the image.

import { h } from "../dom";
import { significant } from "../format";
import { Maps, Strip, unpacked, type Packed } from "./blocks/arrays";
import { framed, head, Notes } from "./blocks/frame";
import { largestOf } from "./blocks/heat";
import { Cards, Icons, type Shown } from "./blocks/icons";
import { ImageMap, place, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";
import { PictureMap, shares } from "./blocks/picture_map";
import { Sheet, type PackedSheet } from "./blocks/sheet";
import { captioned, toggle } from "./blocks/shown";

interface Content {
  layer: string;
  model: string;
  groups: number;
  input: Packed;
  sheet: PackedSheet;
  /** (rows, columns): the picture of each position, -1 where the layer is silent. */
  pictures: Packed;
  strength: Packed;
  relative: Packed;
  /** (rows, columns, k): neurons by their place among the icons, and values. */
  neurons: Packed;
  values: Packed;
  maps: { steps: Packed; largest: Packed };
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const pictures = unpacked(content.pictures);
  const [rows, columns] = pictures.shape as [number, number];
  const strength = unpacked(content.strength).values;
  const relative = unpacked(content.relative).values;
  const neurons = unpacked(content.neurons);
  const values = unpacked(content.values);
  const k = neurons.shape[2] as number;
  const largest = largestOf(values.values);
  const maps = new Maps(content.maps);
  const sheet = new Sheet(content.sheet);
  let icons = new Icons(model.get("icons"));
  let hovered: Cell | null = null;
  let pointed: number | null = null;
  let bySize = true;

  function hover(cell: Cell | null): void {
    hovered = cell;
    draw();
  }
  const choose = (cell: Cell): void => assign(model, "position", [...cell]);
  const map = new PictureMap({
    sheet,
    rows,
    columns,
    pictures: pictures.values,
    label: `what ${content.layer} makes of the image`,
    hover,
    choose,
  });
  const image = new ImageMap({
    picture: new Strip(content.input),
    rows,
    columns,
    label: `the image, positions of ${content.layer}`,
    hover,
    choose,
  });
  const large = captioned("what the layer makes of it");
  const where = h("div", { class: "where" });
  const cards = new Cards();
  const notes = new Notes(model);
  const sizes = toggle("size by strength", bySize, (on) => {
    bySize = on;
    draw();
  });

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
    const flat = cell[0] * columns + cell[1];
    const index = pictures.values[flat] as number;
    const shown = at(cell);
    for (const each of [map, image]) {
      each.select(chosen);
      each.frameUnder(hovered);
    }
    map.size(bySize ? shares(strength) : null);
    large.show(index < 0 ? null : sheet.tile(index, "picture-of"));
    where.textContent =
      `${place(cell)}: strength ${significant(strength[flat] as number)}` +
      (index < 0
        ? ", silent"
        : `; the picture reaches ${significant(relative[index] as number)} × the image`);
    cards.show(icons, shown, {
      largest,
      measure: "activation",
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
      `${where.textContent}; ` +
        shown.map((one) => `${icons.label(one.neuron)} ${significant(one.value)}`).join(", "),
    );
  }

  /** Where the neuron under the pointer, or the chosen one, answers in the image. */
  function lay(): void {
    const neuron = pointed ?? icons.labels.indexOf(model.get("neuron"));
    image.lay(neuron < 0 ? null : maps.get(neuron));
  }

  framed(
    el,
    "Activation grid",
    head(
      "Activation grid",
      content.layer,
      content.model,
      content.groups ? `${content.groups} groups` : "",
    ),
    h(
      "div",
      { class: "body" },
      h("div", { class: "main" }, map.element, sizes),
      h(
        "div",
        { class: "side" },
        h("div", { class: "pair" }, captioned("the image", image.element).element, large.element),
        where,
        cards.element,
      ),
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
  return () => {
    stops.forEach((stop) => stop());
    sheet.close();
  };
}

export default { render };
