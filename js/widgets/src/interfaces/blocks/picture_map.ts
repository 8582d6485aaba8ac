// Pictures in rows and columns: hover shows one, a click or the arrow keys choose it.

import { h } from "../../dom";
import { heatPixels, largestOf } from "./heat";
import { moved, same, type Cell } from "./image_map";
import type { Sheet } from "./sheet";

export interface PictureMapOptions {
  sheet: Sheet;
  rows: number;
  columns: number;
  /** The picture of each cell, row by row; -1 where there is none. */
  pictures: ArrayLike<number>;
  label: string;
  hover(cell: Cell | null): void;
  choose(cell: Cell): void;
}

export class PictureMap {
  readonly element: HTMLElement;
  private readonly tiles = new Map<number, HTMLElement>();
  private readonly heat = h("canvas", { class: "heat", hidden: true, "aria-hidden": "true" });
  private readonly live = h("output", { class: "aside", "aria-live": "polite" });
  private hovered: Cell | null = null;
  private selected: Cell = [0, 0];
  private telling = 0;

  constructor(private readonly options: PictureMapOptions) {
    const { rows, columns, pictures, sheet } = options;
    const cells = Array.from({ length: rows * columns }, (_, i) => {
      const index = pictures[i] as number;
      const slot = h("div", { class: "slot" });
      if (index < 0) return slot;
      const tile = sheet.tile(index);
      this.tiles.set(i, tile);
      slot.append(tile);
      return slot;
    });
    this.element = h(
      "div",
      {
        class: "pictures",
        role: "application",
        tabindex: 0,
        "aria-roledescription": "map of pictures",
        "aria-label": `${options.label}; arrow keys choose a cell`,
        "data-lm-suppress-shortcuts": "true",
        style: `grid-template-columns: repeat(${columns}, 1fr); aspect-ratio: ${columns} / ${rows}`,
      },
      ...cells,
      this.heat,
      this.live,
    );
    this.element.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    this.element.addEventListener("pointerleave", () => this.point(null));
    this.element.addEventListener("click", (event) => options.choose(this.cellAt(event)));
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  /** Share of the cell's side that each picture fills; null: all of it. */
  size(shares: ArrayLike<number> | null): void {
    for (const [i, tile] of this.tiles) {
      const share = shares ? (shares[i] as number) : 1;
      tile.style.transform = share < 1 ? `scale(${share.toFixed(3)})` : "";
    }
  }

  select(cell: Cell): void {
    this.mark("chosen", this.selected, false);
    this.selected = cell;
    this.mark("chosen", cell, true);
  }

  /** Frame a cell as if the pointer were there. */
  frameUnder(cell: Cell | null): void {
    if (this.hovered) this.mark("under", this.hovered, false);
    this.hovered = cell;
    if (cell) this.mark("under", cell, true);
  }

  /** Lay numbers over the pictures; null takes them away. */
  lay(values: ArrayLike<number> | null): void {
    this.heat.hidden = values === null;
    this.element.classList.toggle("laid", values !== null);
    if (!values) return;
    const { rows, columns } = this.options;
    Object.assign(this.heat, { width: columns, height: rows });
    const pixels = new ImageData(heatPixels(values, largestOf(values)), columns, rows);
    this.heat.getContext("2d")?.putImageData(pixels, 0, 0);
  }

  /** Tell those who listen; only what stands for a moment is told. */
  tell(text: string): void {
    window.clearTimeout(this.telling);
    this.telling = window.setTimeout(() => (this.live.textContent = text), 150);
  }

  private mark(name: string, [row, column]: Cell, on: boolean): void {
    const slot = this.element.children[row * this.options.columns + column];
    slot?.classList.toggle(name, on);
  }

  private cellAt(event: MouseEvent): Cell {
    const { rows, columns } = this.options;
    const box = this.element.getBoundingClientRect();
    const within = (share: number, count: number): number =>
      Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    return [
      within((event.clientY - box.top) / box.height, rows),
      within((event.clientX - box.left) / box.width, columns),
    ];
  }

  private point(cell: Cell | null): void {
    if (same(cell, this.hovered)) return;
    this.frameUnder(cell);
    this.options.hover(cell);
  }

  private press(event: KeyboardEvent): void {
    const next = moved(this.selected, event.key, this.options.rows, this.options.columns);
    if (!next) return;
    event.preventDefault();
    // What is shown follows the keys, wherever the pointer rests.
    this.point(null);
    this.options.choose(next);
  }
}

/** Shares of a cell's side so that the areas go with the numbers, none too small to be seen. */
export function shares(values: ArrayLike<number>, least = 0.3): Float32Array {
  const largest = largestOf(values);
  return Float32Array.from(values, (value) =>
    largest > 0 ? Math.max(least, Math.sqrt(Math.max(0, value) / largest)) : 1,
  );
}
