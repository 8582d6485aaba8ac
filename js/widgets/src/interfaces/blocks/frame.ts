// What every interface has around it: a head, notes on what is missing, and what is being done.

import { h, replace } from "../../dom";
import type { Icons } from "./icons";
import type { Model } from "./model";

/** "Semantic dictionary · features.3 · EfficientNet". */
export function head(title: string, ...facts: string[]): HTMLElement {
  const rest = facts.filter(Boolean).map((fact) => h("span", { class: "fact" }, fact));
  return h("header", {}, h("span", { class: "title" }, title), ...rest);
}

/** Lines on missing pictures, a button that makes them, and what Python says. */
export class Notes {
  readonly element = h("footer", {});
  private readonly status = h("output", { class: "status", "aria-live": "polite" });
  private readonly button = h("button", { class: "make", type: "button" });
  private asked: string[] = [];

  constructor(private readonly model: Model) {
    this.button.addEventListener("click", () => model.send({ render: this.asked }));
  }

  show(icons: Icons, shown: number[]): void {
    this.asked = icons.missing(shown);
    const count = this.asked.length;
    const busy = Boolean(this.model.get("busy"));
    // As long as any picture is missing the button stays, so that hovering moves nothing.
    const makes = icons.content.can_render && icons.content.picture.some((index) => index < 0);
    this.button.textContent =
      count === 0 ? "Pictures made" : count === 1 ? "Make this picture" : `Make these ${count} pictures`;
    this.button.disabled = busy || count === 0;
    this.status.textContent = this.model.get("says");
    const notes = icons.content.notes.map((note) => h("p", {}, note));
    replace(this.element, ...notes, makes ? this.button : null, this.status);
  }
}

/** Put an interface into the cell. */
export function framed(el: HTMLElement, name: string, ...children: HTMLElement[]): void {
  el.classList.add("nbcorr-interface");
  replace(el, h("section", { class: "frame", "aria-label": name }, ...children));
}
