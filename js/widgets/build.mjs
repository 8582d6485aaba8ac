// Bundles src/ into the package's static folder (or the folder named on the command line) and
// writes build.json: the sha256 of every source, so that a stale build is seen without Node too.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../../nbcorr/static"));
mkdirSync(out, { recursive: true });

// Every file of this folder is a widget of its own: an ES module with all it needs inside, since
// each instance carries it over the wire and into the saved notebook.
const interfaces = readdirSync(join(here, "src/interfaces"))
  .filter((name) => name.endsWith(".ts"))
  .map((name) => name.slice(0, -".ts".length));
const LARGEST = 50_000;

const common = {
  absWorkingDir: here,
  outdir: out,
  bundle: true,
  minify: true,
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
};
await build({ ...common, entryPoints: { report: "src/report.ts" }, format: "iife" });
await build({
  ...common,
  entryPoints: Object.fromEntries(interfaces.map((name) => [name, `src/interfaces/${name}.ts`])),
  format: "esm",
});
await build({
  ...common,
  entryPoints: { report: "src/style/report.css", interfaces: "src/interfaces/interfaces.css" },
});

const built = ["report", ...interfaces].map((name) => `${name}.js`);
built.push("report.css", "interfaces.css");
for (const name of built) {
  const content = readFileSync(join(out, name), "utf8");
  if (/<\/(script|style)|<!--/i.test(content)) {
    throw new Error(`${name} would end the element it is put into`);
  }
  if (content.length > LARGEST) {
    throw new Error(`${name} has ${content.length} characters; at most ${LARGEST} may travel`);
  }
}

const sources = ["build.mjs", "package.json", "package-lock.json", "tsconfig.json", ...walk("src")];
const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const manifest = {
  sources: Object.fromEntries(sources.sort().map((name) => [name, sha256(join(here, name))])),
  built: Object.fromEntries(built.sort().map((name) => [name, sha256(join(out, name))])),
};
writeFileSync(join(out, "build.json"), JSON.stringify(manifest, null, 1) + "\n");

function walk(folder) {
  return readdirSync(join(here, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    return statSync(join(here, path)).isDirectory() ? walk(path) : [path];
  });
}
