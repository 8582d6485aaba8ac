// Hover a position in one layer: where it came from in earlier layers and goes in later ones.

import { h } from "../dom";
import { significant } from "../format";
import { Maps, Strip, type Packed } from "./blocks/arrays";
import { framed, head } from "./blocks/frame";
import { largestOf } from "./blocks/heat";
import { ImageMap, place, type Cell } from "./blocks/image_map";
import { assign, follow, type View } from "./blocks/model";

interface Content {
  model: string;
  picture: Packed;
  layers: { name: string; rows: number; columns: number }[];
  /** By "earlier,later": the map of the earlier layer for each position of the later one. */
  pairs: Record<string, { steps: Packed; largest: Packed }>;
}

interface Place {
  layer: number;
  cell: Cell;
}

function render({ model, el }: View): () => void {
  const content = model.get("content") as Content;
  const pairs = new Map(
    Object.entries(content.pairs).map(([name, maps]) => [name, new Maps(maps)] as const),
  );
  const picture = new Strip(content.picture);
  let hovered: Place | null = null;

  const maps = content.layers.map(
    ({ name, rows, columns }, layer) =>
      new ImageMap({
        picture,
        rows,
        columns,
        label: `positions of ${name}`,
        hover(cell) {
          hovered = cell && { layer, cell };
          draw();
        },
        choose(cell) {
          model.set("layer", name);
          assign(model, "position", [...cell]);
        },
      }),
  );
  const lines = content.layers.map(() => h("div", { class: "says" }));

  function chosen(): Place {
    const layer = content.layers.findIndex(({ name }) => name === model.get("layer"));
    return { layer, cell: model.get("position") as [number, number] };
  }

  /** What a position of one layer has to do with every position of another. */
  function between(from: Place, to: number): Float32Array {
    const own = content.layers[from.layer] as { rows: number; columns: number };
    const index = from.cell[0] * own.columns + from.cell[1];
    if (to < from.layer) return (pairs.get(`${to},${from.layer}`) as Maps).get(index);
    const later = content.layers[to] as { rows: number; columns: number };
    const maps = pairs.get(`${from.layer},${to}`) as Maps;
    return Float32Array.from({ length: later.rows * later.columns }, (_, i) => maps.at(i, index));
  }

  function draw(): void {
    const from = hovered ?? chosen();
    maps.forEach((map, layer) => {
      const own = layer === from.layer;
      const values = own ? null : between(from, layer);
      map.select(own ? from.cell : null);
      map.lay(values);
      (lines[layer] as HTMLElement).textContent = values
        ? told(values, layer, layer < from.layer)
        : `this position: ${place(from.cell)}`;
    });
    const text = lines.map((line, i) => `${content.layers[i]?.name}: ${line.textContent}`);
    maps[from.layer]?.tell(text.join("; "));
  }

  function told(values: Float32Array, layer: number, earlier: boolean): string {
    const largest = largestOf(values);
    if (!(largest > 0)) return earlier ? "nothing comes from here" : "nothing goes here";
    const columns = content.layers[layer]?.columns ?? 1;
    const at = values.findIndex((value) => Math.abs(value) === largest);
    const cell: Cell = [Math.floor(at / columns), at % columns];
    return `${earlier ? "comes" : "goes"} most ${earlier ? "from" : "to"} ${place(cell)}: ${significant(values[at] ?? 0)}`;
  }

  const panels = maps.map((map, i) =>
    h(
      "div",
      { class: "panel" },
      h("h4", { title: content.layers[i]?.name ?? "" }, content.layers[i]?.name ?? ""),
      map.element,
      lines[i] as HTMLElement,
    ),
  );
  framed(
    el,
    "Spatial attribution",
    head("Spatial attribution", content.model),
    h("div", { class: "panels" }, ...panels),
  );
  draw();
  return follow(model, ["layer", "position"], draw);
}

export default { render };
