// A value as a bar: to the right of zero, or to the left.

import { h } from "../../dom";

/** Share of the largest size in percent, within 0 and 100. */
export function share(value: number, largest: number): number {
  if (!(largest > 0) || !Number.isFinite(value)) return 0;
  return Math.min(100, (100 * Math.abs(value)) / largest);
}

/** From the left edge. */
export function bar(value: number, largest: number): HTMLElement {
  const width = `width: ${share(value, largest).toFixed(1)}%`;
  const kind = value < 0 ? "fill negative" : "fill";
  return h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: kind, style: width }));
}

/** From the middle: right where positive, left where negative. */
export function signedBar(value: number, largest: number): HTMLElement {
  const width = `width: ${(share(value, largest) / 2).toFixed(1)}%`;
  const kind = value < 0 ? "fill negative" : "fill positive";
  return h(
    "span",
    { class: "bar signed", "aria-hidden": "true" },
    h("span", { class: kind, style: width }),
  );
}
