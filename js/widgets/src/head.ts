// The top of the page: what was asked, the one sentence, and the two systems' answers.

import type { App } from "./app";
import type { CellKey } from "./data";
import { h } from "./dom";
import { count, percent, probability } from "./format";

export function head(app: App): HTMLElement {
  const { title, sentence, facts } = app.payload;
  return h(
    "header",
    {},
    h("div", { class: "title" }, h("h1", {}, title), themeButton()),
    sentence ? h("p", { class: "sentence" }, sentence) : null,
    facts.length > 0
      ? h(
          "dl",
          { class: "facts" },
          ...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))),
        )
      : null,
  );
}

export function outcomes(app: App): HTMLElement {
  const counts = app.payload.outcomes;
  const heading = h("h2", { id: "outcomes" }, "Where the two systems are right");
  if (counts === null) {
    const text = "This recording carries no answers of both systems, so there is no table of them.";
    return h("section", { class: "panel outcomes" }, heading, h("p", { class: "quiet" }, text));
  }
  const n = counts.both + counts.only_a + counts.only_b + counts.neither;
  const cell = (key: CellKey, name: string): HTMLElement =>
    h(
      "td",
      { class: `cell ${key}`, "data-cell": key },
      h("strong", {}, count(counts[key])),
      h("span", {}, name),
    );
  const table = h(
    "table",
    { "aria-labelledby": "outcomes" },
    h("thead", {}, h("tr", {}, h("td", {}), column("B right"), column("B wrong"))),
    h(
      "tbody",
      {},
      h("tr", {}, rowHead("A right"), cell("both", "both"), cell("only_a", "only A knows")),
      h("tr", {}, rowHead("A wrong"), cell("only_b", "only B knows"), cell("neither", "neither")),
    ),
  );
  const share = (right: number): string => percent(n > 0 ? right / n : null);
  const summary =
    `A, the model, is right on ${share(counts.both + counts.only_a)} and ` +
    `B, the baseline, on ${share(counts.both + counts.only_b)} of ${count(n)} samples ` +
    `(exact McNemar p ${probability(counts.mcnemar_p)}).`;
  return h("section", { class: "panel outcomes" }, heading, table, h("p", { class: "quiet" }, summary));
}

function column(text: string): HTMLElement {
  return h("th", { scope: "col" }, text);
}

function rowHead(text: string): HTMLElement {
  return h("th", { scope: "row" }, text);
}

/** Follows the system until it is pressed. */
function themeButton(): HTMLElement {
  const root = document.documentElement;
  const dark = (): boolean =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
  const button = h("button", { type: "button", class: "theme" });
  const label = (): void => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
    window.dispatchEvent(new Event("themechange"));
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
  return button;
}
