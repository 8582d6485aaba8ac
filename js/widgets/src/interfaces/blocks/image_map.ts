// A picture with a grid of positions: hover shows one, a click or the arrow keys choose it.

import { h } from "../../dom";
import type { Strip } from "./arrays";
import { heatPixels, largestOf, type Colour } from "./heat";

/** Row and column, from 0. */
export type Cell = readonly [number, number];

export interface ImageMapOptions {
  picture: Strip;
  rows: number;
  columns: number;
  label: string;
  /** The cell under the pointer; null when it has left. */
  hover(cell: Cell | null): void;
  choose(cell: Cell): void;
}

export class ImageMap {
  readonly element: HTMLElement;
  private readonly heat = h("canvas", { class: "heat" });
  private readonly under = h("div", { class: "cell under", hidden: true });
  private readonly chosen = h("div", { class: "cell chosen", hidden: true });
  private readonly live = h("output", { class: "aside", "aria-live": "polite" });
  private hovered: Cell | null = null;
  private selected: Cell = [0, 0];
  private telling = 0;

  constructor(private readonly options: ImageMapOptions) {
    const picture = h("canvas", { class: "picture", "aria-hidden": "true" });
    options.picture.paint(picture, 0);
    this.element = h(
      "div",
      {
        class: "map",
        role: "application",
        tabindex: 0,
        "aria-roledescription": "image map",
        "aria-label": `${options.label}; arrow keys choose a position`,
        "data-lm-suppress-shortcuts": "true",
        style: `aspect-ratio: ${options.picture.width} / ${options.picture.height}`,
      },
      picture,
      this.heat,
      this.under,
      this.chosen,
      this.live,
    );
    this.element.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    this.element.addEventListener("pointerleave", () => this.point(null));
    this.element.addEventListener("click", (event) => options.choose(this.cellAt(event)));
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  /** Frame the chosen cell. */
  select(cell: Cell | null): void {
    if (cell) this.selected = cell;
    this.frame(this.chosen, cell);
  }

  /** Frame a cell as if the pointer were there: the one that another map's cell belongs to. */
  frameUnder(cell: Cell | null): void {
    this.frame(this.under, cell);
  }

  /** Lay numbers over the picture; null takes them away. */
  lay(values: ArrayLike<number> | null, largest?: number, colour?: Colour): void {
    const pixels = values && heatPixels(values, largest ?? largestOf(values), colour);
    this.layPixels(pixels);
  }

  /** Lay colours, RGBA of each cell, over the picture; null takes them away. */
  layPixels(pixels: Uint8ClampedArray<ArrayBuffer> | null): void {
    const { rows, columns } = this.options;
    this.element.classList.toggle("laid", pixels !== null);
    this.heat.hidden = pixels === null;
    if (!pixels) return;
    this.heat.width = columns;
    this.heat.height = rows;
    this.heat.getContext("2d")?.putImageData(new ImageData(pixels, columns, rows), 0, 0);
  }

  /** Tell those who listen; only what stands for a moment is told. */
  tell(text: string): void {
    window.clearTimeout(this.telling);
    this.telling = window.setTimeout(() => (this.live.textContent = text), 150);
  }

  private cellAt(event: MouseEvent): Cell {
    const { rows, columns } = this.options;
    const box = this.element.getBoundingClientRect();
    return [
      within(((event.clientY - box.top) / box.height) * rows, rows),
      within(((event.clientX - box.left) / box.width) * columns, columns),
    ];
  }

  private point(cell: Cell | null): void {
    if (same(cell, this.hovered)) return;
    this.hovered = cell;
    this.frame(this.under, cell);
    this.options.hover(cell);
  }

  private press(event: KeyboardEvent): void {
    const next = moved(this.selected, event.key, this.options.rows, this.options.columns);
    if (!next) return;
    event.preventDefault();
    this.point(null); // a pointer that rests here does not hide what the keys choose
    this.options.choose(next);
  }

  private frame(box: HTMLElement, cell: Cell | null): void {
    box.hidden = cell === null;
    if (!cell) return;
    const { rows, columns } = this.options;
    Object.assign(box.style, {
      top: `${(100 * cell[0]) / rows}%`,
      left: `${(100 * cell[1]) / columns}%`,
      height: `${100 / rows}%`,
      width: `${100 / columns}%`,
    });
  }
}

/** Where a key leads from a cell; null for keys that lead nowhere. */
export function moved([row, column]: Cell, key: string, rows: number, columns: number): Cell | null {
  const to: Record<string, Cell> = {
    ArrowUp: [row - 1, column],
    ArrowDown: [row + 1, column],
    ArrowLeft: [row, column - 1],
    ArrowRight: [row, column + 1],
    Home: [row, 0],
    End: [row, columns - 1],
    PageUp: [0, column],
    PageDown: [rows - 1, column],
  };
  const next = to[key];
  return next ? [within(next[0], rows), within(next[1], columns)] : null;
}

export function same(a: Cell | null, b: Cell | null): boolean {
  return a === b || (a !== null && b !== null && a[0] === b[0] && a[1] === b[1]);
}

export function place([row, column]: Cell): string {
  return `row ${row + 1}, column ${column + 1}`;
}

function within(value: number, count: number): number {
  return Math.max(0, Math.min(count - 1, Math.floor(value)));
}
