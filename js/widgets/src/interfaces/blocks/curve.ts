// A falling curve whose points can be chosen: the error that each number of groups leaves.

import { h, replace, s } from "../../dom";
import { scale } from "../../scale";

export interface CurveOptions {
  label: string;
  xLabel: string;
  choose(x: number): void;
}

const WIDTH = 272;
const HEIGHT = 96;

/** A radio group of points: a click or the arrow keys choose one. */
export class Curve {
  readonly element = h("div", { class: "curve" });
  private xs: number[] = [];
  private chosen = NaN;

  constructor(private readonly options: CurveOptions) {
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  show(xs: number[], ys: number[], chosen: number): void {
    const focused = this.element.contains(document.activeElement);
    [this.xs, this.chosen] = [xs, chosen];
    const x = scale([Math.min(...xs), Math.max(...xs)], [44, WIDTH - 10]);
    const y = scale([0, Math.max(...ys, 1e-9)], [HEIGHT - 30, 14]);
    const points = xs.map((value, i) => `${x(value)},${y(ys[i] as number)}`).join(" ");
    const dots = xs.map((value, i) => this.dot(value, ys[i] as number, x(value), y(ys[i] as number)));
    replace(
      this.element,
      h("h4", {}, this.options.label),
      s(
        "svg",
        {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
          role: "radiogroup",
          "aria-label": `${this.options.xLabel}; ${this.options.label}`,
          "data-lm-suppress-shortcuts": "true",
        },
        s("text", { x: 0, y: y(y.domain[1]) + 4 }, percent(y.domain[1])),
        s("text", { x: 0, y: y(0) + 4 }, "0"),
        s("polyline", { points }),
        ...dots,
        s("text", { x: WIDTH - 10, y: HEIGHT - 1, "text-anchor": "end" }, this.options.xLabel),
      ),
    );
    if (focused) this.element.querySelector<SVGElement>("[aria-checked=true]")?.focus();
  }

  private dot(value: number, error: number, x: number, y: number): SVGElement {
    const own = value === this.chosen;
    const dot = s(
      "g",
      {
        class: "dot",
        role: "radio",
        tabindex: own ? 0 : -1,
        "aria-checked": String(own),
        "aria-label": `${value}: error ${percent(error)}`,
      },
      s("rect", { x: x - 11, y: 0, width: 22, height: HEIGHT - 12 }),
      s("circle", { cx: x, cy: y, r: own ? 5 : 4 }),
      s("text", { x, y: HEIGHT - 15, "text-anchor": "middle" }, String(value)),
      s("title", {}, `${value}: error ${percent(error)}`),
    );
    dot.addEventListener("click", () => this.options.choose(value));
    return dot;
  }

  private press(event: KeyboardEvent): void {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    const next = step && this.xs[this.xs.indexOf(this.chosen) + step];
    if (!next) return;
    event.preventDefault();
    this.options.choose(next);
  }
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
