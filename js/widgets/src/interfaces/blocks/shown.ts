// Small pieces around pictures: a caption, a switch, a row of tiles.

import { h, replace } from "../../dom";

export interface Captioned {
  element: HTMLElement;
  show(content: HTMLElement | null): void;
}

/** A picture with a line under it; an empty frame where there is none. */
export function captioned(text: string, content?: HTMLElement): Captioned {
  const slot = h("div", { class: "holder" });
  const show = (shown: HTMLElement | null): void =>
    replace(slot, shown ?? h("span", { class: "icon none" }, "no picture"));
  if (content) show(content);
  return { element: h("figure", { class: "shown" }, slot, h("figcaption", {}, text)), show };
}

/** A check box with its label. */
export function toggle(text: string, on: boolean, change: (on: boolean) => void): HTMLElement {
  const box = h("input", { type: "checkbox", checked: on });
  box.addEventListener("change", () => change(box.checked));
  return h("label", { class: "switch" }, box, text);
}
