// The report's page: reads its data and puts the linked views together.

import { App } from "./app";
import { card } from "./card";
import { controls } from "./controls";
import type { Payload } from "./data";
import { h, replace } from "./dom";
import { head, outcomes } from "./head";
import { ladder } from "./ladder";
import { map } from "./map";
import { table } from "./table";

const data = document.getElementById("data")?.textContent ?? "";
const main = document.getElementById("report");
if (main) {
  const app = new App(JSON.parse(data) as Payload);
  replace(
    main,
    head(app),
    h("div", { class: "summary" }, outcomes(app), ladder(app)),
    controls(app),
    h("div", { class: "views" }, map(app), card(app)),
    table(app),
  );
}
