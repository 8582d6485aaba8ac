// A neuron's activation in each cell of the 2x2 table: box, whiskers (5 to 95 %) and range.

import type { Group, Maybe } from "./data";
import { h, s } from "./dom";
import { count, significant } from "./format";
import { scale, tickDigits, ticks } from "./scale";

const [WIDTH, HEIGHT, LEFT, RIGHT] = [560, 30, 118, 14];

export function strips(groups: Group[], quantiles: (Maybe[] | null)[] | undefined): HTMLElement {
  if (!quantiles) {
    const text = "The page holds activations of the strongest neurons only; this is not among them.";
    return h("p", { class: "quiet" }, text);
  }
  const known = quantiles.flatMap((q) => q ?? []).filter((value) => value !== null);
  if (known.length === 0) return h("p", { class: "quiet" }, "No activation is known.");
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = scale(high > low ? [low, high] : [low - 0.5, low + 0.5], [LEFT, WIDTH - RIGHT]);
  const bottom = groups.length * HEIGHT;
  const marks = ticks(x.domain, 4);
  const text = (value: number): string =>
    Math.abs(value) >= 1e4 || (high > low && high - low < 1e-3)
      ? significant(value)
      : value.toFixed(tickDigits(marks)).replace("-", "−");
  return h(
    "div",
    { class: "strips" },
    s(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${bottom + 22}`, role: "img", "aria-label": spoken(groups, quantiles) },
      ...marks.map((value) =>
        s("line", { class: "grid", x1: x(value), x2: x(value), y1: 2, y2: bottom }),
      ),
      ...groups.flatMap((group, index) => [
        s("text", { class: "name", x: 0, y: index * HEIGHT + 14 }, group.label),
        s("text", { class: "n", x: 0, y: index * HEIGHT + 26 }, `n ${count(group.n)}`),
        box(group, quantiles[index] ?? null, x, index * HEIGHT + HEIGHT / 2),
      ]),
      ...marks.map((value) =>
        s("text", { class: "tick", x: x(value), y: bottom + 15, "text-anchor": "middle" }, text(value)),
      ),
    ),
  );
}

function box(group: Group, q: Maybe[] | null, x: (value: number) => number, y: number): SVGGElement {
  if (q === null || q.some((value) => value === null)) {
    return s("g", {}, s("text", { class: "n", x: LEFT, y: y + 4 }, "no samples"));
  }
  const [least, p5, p25, p50, p75, p95, most] = q as [number, number, number, number, number, number, number];
  return s(
    "g",
    { class: `box ${group.key}` },
    s("line", { class: "extent", x1: x(least), x2: x(most), y1: y, y2: y }),
    s("line", { class: "whisk", x1: x(p5), x2: x(p95), y1: y, y2: y }),
    s("rect", { x: x(p25) - 0.5, y: y - 7, width: x(p75) - x(p25) + 1, height: 14, rx: 2 }),
    s("line", { class: "median", x1: x(p50), x2: x(p50), y1: y - 9, y2: y + 9 }),
  );
}

function spoken(groups: Group[], quantiles: (Maybe[] | null)[]): string {
  const medians = groups.map(
    ({ label, n }, index) => `${label}, ${n} samples: ${significant(quantiles[index]?.[3] ?? null)}`,
  );
  return `Median activation. ${medians.join(". ")}.`;
}
