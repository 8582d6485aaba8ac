// One mark per rung of the ladder of controls, told apart by shape and fill before colour.

import { s } from "./dom";

/** Outline of a rung's mark around 0,0 as an SVG path. */
export function markPath(level: number, size = 1): string {
  const at = (n: number): string => (n * size).toFixed(2);
  if (level >= 4) {
    const points = Array.from({ length: 10 }, (_, i) => {
      const radius = i % 2 === 0 ? 6.6 : 2.9;
      const angle = -Math.PI / 2 + (i * Math.PI) / 5;
      return `${at(radius * Math.cos(angle))} ${at(radius * Math.sin(angle))}`;
    });
    return `M${points.join("L")}Z`;
  }
  if (level === 3) return `M0 ${at(-5)}L${at(4.4)} 0L0 ${at(5)}L${at(-4.4)} 0Z`;
  const radius = at(level === 0 ? 2.7 : 3.5);
  const across = at(level === 0 ? -5.4 : -7);
  return `M${radius} 0a${radius} ${radius} 0 1 1 ${across} 0a${radius} ${radius} 0 1 1 ${at(level === 0 ? 5.4 : 7)} 0Z`;
}

export function isFilled(level: number): boolean {
  return level >= 2;
}

export function mark(level: number): SVGSVGElement {
  return s(
    "svg",
    { class: `mark mark-${Math.min(level, 4)}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" },
    s("path", { d: markPath(level) }),
  );
}
