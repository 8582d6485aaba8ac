// Many pictures in one file, as sheets.py packs them; each element shows one of them.

import { h } from "../../dom";

export interface PackedSheet {
  bytes: DataView;
  mime: string;
  count: number;
  columns: number;
  width: number;
  height: number;
}

export class Sheet {
  readonly count: number;
  private readonly url: string;
  private readonly rows: number;

  constructor(private readonly packed: PackedSheet) {
    const { bytes, mime, count, columns } = packed;
    this.count = count;
    this.rows = Math.max(1, Math.ceil(count / columns));
    const copy = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
    this.url = URL.createObjectURL(new Blob([copy], { type: mime }));
  }

  /** An element as large as its surroundings make it, with the picture in it. */
  tile(index: number, kind = "tile"): HTMLElement {
    const element = h("span", { class: kind });
    this.put(element, index);
    return element;
  }

  put(element: HTMLElement, index: number): void {
    const { columns, width, height } = this.packed;
    Object.assign(element.style, {
      backgroundImage: `url("${this.url}")`,
      backgroundSize: `${columns * 100}% ${this.rows * 100}%`,
      backgroundPosition: `${along(index % columns, columns)} ${along(Math.floor(index / columns), this.rows)}`,
      aspectRatio: `${width} / ${height}`,
      imageRendering: Math.max(width, height) <= 48 ? "pixelated" : "auto",
    });
  }

  /** The browser keeps the file until it is told that nobody shows it any more. */
  close(): void {
    URL.revokeObjectURL(this.url);
  }
}

/** Where a background of `count` pictures has to lie for one of them to be seen. */
export function along(index: number, count: number): string {
  return count > 1 ? `${((100 * index) / (count - 1)).toFixed(4)}%` : "0%";
}
