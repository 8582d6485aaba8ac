// An image and what a layer makes of it, one laid over the other and wiped from side to side.

import { h, replace } from "../dom";
import { fixed, significant } from "../format";
import { Strip, unpacked, type Packed } from "./blocks/arrays";
import { framed, head, Notes } from "./blocks/frame";
import { Cards, Icons, type Shown } from "./blocks/icons";
import { assign, follow, type View } from "./blocks/model";
import { Sheet, type PackedSheet } from "./blocks/sheet";

interface Content {
  layers: string[];
  model: string;
  input: Packed;
  sheet: PackedSheet;
  likeness: Packed;
  relative: Packed;
  /** Of each layer, by their place among the icons; -1 where there are fewer. */
  neurons: number[][];
  /** (layers, k): their part in what is exaggerated. */
  share: Packed;
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const likeness = unpacked(content.likeness).values;
  const relative = unpacked(content.relative).values;
  const share = unpacked(content.share);
  const k = share.shape[1] as number;
  const input = new Strip(content.input);
  const sheet = new Sheet(content.sheet);
  let icons = new Icons(model.get("icons"));

  const original = h("canvas", { class: "original", "aria-hidden": "true" });
  input.paint(original, 0);
  const over = h("span", { class: "over" });
  const wipe = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 50,
    class: "wipe",
    "aria-label": "from the image to its caricature",
    "data-lm-suppress-shortcuts": "true",
  });
  const edge = h("span", { class: "edge" });
  const stage = h(
    "div",
    { class: "stage", style: `aspect-ratio: ${input.width} / ${input.height}` },
    original,
    over,
    edge,
  );
  const layers = h("div", { class: "layers", role: "group", "aria-label": "layers" });
  const where = h("output", { class: "where", "aria-live": "polite" });
  const cards = new Cards();
  const notes = new Notes(model);

  const buttons = content.layers.map((layer, i) => {
    const button = h(
      "button",
      { class: "layer-choice", type: "button", title: layer },
      sheet.tile(i),
      h("span", { class: "layer-name" }, layer),
      h(
        "span",
        { class: "value" },
        `likeness ${fixed(likeness[i] as number, 2)}`,
      ),
    );
    button.addEventListener("click", () => assign(model, "layer", layer));
    return button;
  });
  replace(layers, ...buttons);

  function uncover(): void {
    over.style.clipPath = `inset(0 0 0 ${100 - Number(wipe.value)}%)`;
    edge.style.left = `${100 - Number(wipe.value)}%`;
  }
  wipe.addEventListener("input", uncover);
  stage.addEventListener("pointermove", (event) => {
    if (event.buttons !== 1) return;
    const box = stage.getBoundingClientRect();
    wipe.value = String(100 - (100 * (event.clientX - box.left)) / box.width);
    uncover();
  });

  function draw(): void {
    const chosen = Math.max(0, content.layers.indexOf(model.get("layer")));
    sheet.put(over, chosen);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
    where.textContent =
      `${content.layers[chosen] ?? ""}: its activation is ${significant(relative[chosen] as number)} × ` +
      `that of the image in the image's own direction (cosine ${fixed(likeness[chosen] as number, 2)}). ` +
      "The largest part in that have:";
    const shown: Shown[] = (content.neurons[chosen] ?? [])
      .map((neuron, i) => ({ neuron, value: share.values[chosen * k + i] as number }))
      .filter((one) => one.neuron >= 0);
    cards.show(icons, shown, {
      largest: 1,
      measure: "share",
      selected: model.get("neuron"),
      choose: (label) => assign(model, "neuron", model.get("neuron") === label ? "" : label),
    });
    notes.show(icons, shown.map((one) => one.neuron));
  }

  framed(
    el,
    "Caricature",
    head("Caricature", content.model, `${content.layers.length} layers`),
    h(
      "div",
      { class: "body" },
      h(
        "div",
        { class: "main narrow" },
        stage,
        h("div", { class: "ends" }, h("span", {}, "image"), wipe, h("span", {}, "caricature")),
      ),
      h("div", { class: "side" }, layers, where, cards.element),
    ),
    notes.element,
  );
  uncover();
  draw();
  const stops = [
    follow(model, ["layer", "neuron", "says", "busy"], draw),
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
