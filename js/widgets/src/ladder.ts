// The ladder of controls: how many neurons stand on each rung, and the filter to look at them.

import type { App } from "./app";
import { h } from "./dom";
import { count } from "./format";
import { mark } from "./marks";

export function ladder(app: App): HTMLElement {
  const { steps, missing } = app.payload;
  const rungs = [
    { label: "All neurons", asks: "every neuron that was recorded", missing: null as string | null },
    ...steps,
  ].map(({ label, asks, missing: why }, level) => {
    const number = h("strong", {});
    const input = h("input", { type: "radio", name: "level", value: level, disabled: why !== null });
    input.addEventListener("change", () => app.choose({ level }));
    const element = h(
      "label",
      { class: why === null ? "rung" : "rung absent", "data-level": level },
      input,
      mark(level),
      number,
      h("span", { class: "name" }, label),
      h("span", { class: "asks" }, why === null ? asks : `not known, ${why}`),
    );
    return { level, why, number, input, element };
  });
  app.listen(() => {
    for (const { level, why, number, input } of rungs) {
      const there = app.passing({ level, threshold: 0 }).length;
      number.textContent = why === null ? count(there) : "–";
      input.checked = app.choices.level === level;
    }
  });
  return h(
    "section",
    { class: "panel ladder" },
    h("h2", { id: "ladder" }, "What stays under the controls"),
    h("div", { role: "radiogroup", "aria-labelledby": "ladder" }, ...rungs.map((r) => r.element)),
    missing.length > 0
      ? h("p", { class: "quiet" }, `Controls that could not be computed: ${missing.join("; ")}.`)
      : null,
  );
}
