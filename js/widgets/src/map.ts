// The neuron map: AUC against −log10 q (root scale: the crowd is at the foot, the finds far above),
// one mark a neuron, on a canvas.

import type { App } from "./app";
import type { Neuron } from "./data";
import { h } from "./dom";
import { logQ } from "./filter";
import { count, fixed, interval, probability } from "./format";
import { isFilled, markPath } from "./marks";
import { type Scale, rootScale, rootTicks, scale, tickDigits, ticks } from "./scale";

const MARGIN = { left: 46, right: 14, top: 14, bottom: 50 };
const REACH = 14;

interface Placed {
  neuron: Neuron;
  x: number;
  y: number;
}

export function map(app: App): HTMLElement {
  const canvas = h("canvas", {
    tabindex: 0,
    role: "application",
    "aria-label": "Neuron map. Arrow keys walk over the neurons shown, Enter opens one.",
    "data-lm-suppress-shortcuts": "true",
  });
  const tip = h("output", { class: "tip", "aria-live": "polite" });
  const drawable = app.neurons.filter((neuron) => neuron.auc !== null && logQ(neuron) !== null);
  const undrawn = app.neurons.length - drawable.length;
  let placed: Placed[] = [];
  let under: Placed | null = null;

  const draw = (): void => {
    const box = canvas.parentElement?.getBoundingClientRect();
    if (!box || box.width === 0) return;
    const [width, height] = [box.width, box.height];
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    if (!context) return;
    context.scale(ratio, ratio);
    const { x, y } = scales(drawable, width, height);
    axes(context, x, y, app.payload.signal);
    const shown = new Set(app.shown.map((neuron) => neuron.row));
    const order = [...drawable].sort((a, b) => a.level - b.level);
    const colours = palette(canvas);
    for (const neuron of order) {
      if (!shown.has(neuron.row)) stamp(context, x, y, neuron, colours, 0.13);
    }
    placed = [];
    for (const neuron of order) {
      if (!shown.has(neuron.row)) continue;
      placed.push(stamp(context, x, y, neuron, colours, 1));
    }
    const chosen = drawable.find((neuron) => neuron.row === app.choices.chosen);
    if (chosen) ring(context, x(chosen.auc as number), y(logQ(chosen) as number), colours.text);
    if (under) ring(context, under.x, under.y, colours.muted);
  };

  const point = (found: Placed | null): void => {
    if (found?.neuron.row === under?.neuron.row) return;
    under = found;
    tip.hidden = found === null;
    canvas.style.cursor = found ? "pointer" : "default";
    if (found) {
      const { neuron } = found;
      tip.replaceChildren(
        h("strong", {}, neuron.label),
        h("span", {}, `AUC ${interval(neuron.auc, neuron.auc_low, neuron.auc_high)}`),
        h("span", {}, `ρ ${fixed(neuron.rho, 2)}, q ${probability(neuron.q)}`),
      );
      const right = found.x > canvas.clientWidth / 2;
      tip.style.left = right ? "auto" : `${found.x + 12}px`;
      tip.style.right = right ? `${canvas.clientWidth - found.x + 12}px` : "auto";
      tip.style.top = `${Math.max(4, Math.min(found.y - 20, canvas.clientHeight - 70))}px`;
    }
    draw();
  };
  const nearest = (event: MouseEvent): Placed | null => {
    const box = canvas.getBoundingClientRect();
    return closest(placed, event.clientX - box.left, event.clientY - box.top);
  };

  tip.hidden = true;
  canvas.addEventListener("mousemove", (event) => point(nearest(event)));
  canvas.addEventListener("mouseleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found) app.choose({ chosen: found.neuron.row });
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step !== undefined) point(next(placed, app, under, step));
    else if (event.key === "Enter" && under) app.choose({ chosen: under.neuron.row });
    else return;
    event.preventDefault();
  });
  app.listen(() => {
    if (under && !app.shown.includes(under.neuron)) under = null;
    tip.hidden = under === null;
    draw();
  });
  new ResizeObserver(draw).observe(canvas);
  for (const name of ["themechange", "beforeprint", "afterprint"]) window.addEventListener(name, draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  const absent = undrawn === 1 ? "1 neuron has" : `${count(undrawn)} neurons have`;
  const note = undrawn > 0 ? `${absent} no place here: dead, constant or not tested. ` : "";
  return h(
    "section",
    { class: "panel map" },
    h("h2", {}, "Neuron map"),
    h("div", { class: "canvas" }, canvas, tip),
    h("p", { class: "quiet" }, `${note}Right of .5 a neuron is more active where only A is right.`),
  );
}

function scales(neurons: Neuron[], width: number, height: number): { x: Scale; y: Scale } {
  let [reach, top] = [0.05, 2];
  for (const neuron of neurons) {
    reach = Math.max(reach, Math.abs((neuron.auc as number) - 0.5));
    top = Math.max(top, logQ(neuron) as number);
  }
  reach = Math.min(0.5, reach * 1.08);
  return {
    x: scale([0.5 - reach, 0.5 + reach], [MARGIN.left + 8, width - MARGIN.right - 8]),
    y: rootScale([0, top * 1.04], [height - MARGIN.bottom - 6, MARGIN.top + 6]),
  };
}

type Colours = Record<"text" | "muted" | "line" | "accent" | "strong" | "panel", string>;

function palette(element: Element): Colours {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: colour("text"),
    muted: colour("muted"),
    line: colour("line"),
    accent: colour("accent"),
    strong: colour("strong"),
    panel: colour("panel"),
  };
}

function axes(context: CanvasRenderingContext2D, x: Scale, y: Scale, signal: string): void {
  const colours = palette(context.canvas);
  const [left, right] = [MARGIN.left, x.range[1] + 8];
  const bottom = y.range[0] + 6;
  const line = (...points: [number, number, number, number]): void => {
    context.beginPath();
    context.moveTo(points[0], points[1]);
    context.lineTo(points[2], points[3]);
    context.stroke();
  };
  context.font = `12px ${getComputedStyle(context.canvas).fontFamily}`;
  context.lineWidth = 1;
  context.strokeStyle = colours.line;
  context.fillStyle = colours.muted;
  context.textAlign = "center";
  context.textBaseline = "top";
  const across = ticks(x.domain, Math.max(3, (right - left) / 90));
  for (const value of across) {
    const at = Math.round(x(value)) + 0.5;
    line(at, MARGIN.top, at, bottom);
    context.fillText(value.toFixed(tickDigits(across)), at, bottom + 6);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  const up = rootTicks(y, 24);
  for (const value of up) {
    const at = Math.round(y(value)) + 0.5;
    line(left, at, right, at);
    context.fillText(String(value), left - 7, at);
  }
  context.strokeStyle = colours.muted;
  const middle = Math.round(x(0.5)) + 0.5;
  line(middle, MARGIN.top, middle, bottom);
  context.setLineDash([4, 3]);
  const limit = Math.round(y(-Math.log10(0.05))) + 0.5;
  line(left, limit, right, limit);
  context.setLineDash([]);
  context.textAlign = "right";
  context.textBaseline = "bottom";
  context.fillText("q = .05", right - 2, limit - 2);
  context.textBaseline = "alphabetic";
  context.textAlign = "center";
  const base = bottom + 38;
  context.fillText("AUC", middle, base);
  const only = signal === "relative_performance";
  context.textAlign = "left";
  context.fillText(only ? "← quieter where only A is right" : "← lower", left, base);
  context.textAlign = "right";
  context.fillText(only ? "more active there →" : "higher →", right, base);
  context.save();
  context.translate(13, (MARGIN.top + bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText("−log10 q", 0, 0);
  context.restore();
}

function stamp(
  context: CanvasRenderingContext2D,
  x: Scale,
  y: Scale,
  neuron: Neuron,
  colours: Colours,
  alpha: number,
): Placed {
  const at = { neuron, x: x(neuron.auc as number), y: y(logQ(neuron) as number) };
  const path = new Path2D(markPath(neuron.level));
  context.save();
  context.translate(at.x, at.y);
  context.globalAlpha = alpha;
  const colour =
    neuron.level >= 4 ? colours.strong : neuron.level >= 1 ? colours.accent : colours.muted;
  if (isFilled(neuron.level)) {
    context.fillStyle = colour;
    context.fill(path);
    context.strokeStyle = colours.panel;
    context.lineWidth = 0.9;
  } else {
    context.strokeStyle = colour;
    context.lineWidth = 1.3;
  }
  context.stroke(path);
  context.restore();
  return at;
}

function ring(context: CanvasRenderingContext2D, x: number, y: number, colour: string): void {
  context.beginPath();
  context.arc(x, y, 9.5, 0, 2 * Math.PI);
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.stroke();
}

function closest(placed: Placed[], x: number, y: number): Placed | null {
  let [found, best]: [Placed | null, number] = [null, REACH * REACH];
  for (const one of placed) {
    const away = (one.x - x) ** 2 + (one.y - y) ** 2;
    if (away <= best) [found, best] = [one, away];
  }
  return found;
}

/** The neighbour from left to right; from nowhere, the chosen neuron or the first. */
function next(placed: Placed[], app: App, from: Placed | null, step: number): Placed | null {
  const order = [...placed].sort((a, b) => a.x - b.x || a.y - b.y);
  const at = order.findIndex((one) => one.neuron.row === from?.neuron.row);
  if (at >= 0) return order[Math.min(order.length - 1, Math.max(0, at + step))] ?? null;
  return order.find((one) => one.neuron.row === app.choices.chosen) ?? order[0] ?? null;
}
