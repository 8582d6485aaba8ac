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

await build({
  absWorkingDir: here,
  entryPoints: { report: "src/report.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
});
await build({
  absWorkingDir: here,
  entryPoints: { report: "src/style/report.css" },
  outdir: out,
  bundle: true,
  minify: true,
  target: "es2022",
});

for (const name of ["report.js", "report.css"]) {
  if (/<\/(script|style)|<!--/i.test(readFileSync(join(out, name), "utf8"))) {
    throw new Error(`${name} would end the element it is put into`);
  }
}

const sources = ["build.mjs", "package.json", "package-lock.json", "tsconfig.json", ...walk("src")];
const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");
const manifest = {
  sources: Object.fromEntries(sources.sort().map((name) => [name, sha256(join(here, name))])),
  built: Object.fromEntries(
    ["report.css", "report.js"].map((name) => [name, sha256(join(out, name))]),
  ),
};
writeFileSync(join(out, "build.json"), JSON.stringify(manifest, null, 1) + "\n");

function walk(folder) {
  return readdirSync(join(here, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    return statSync(join(here, path)).isDirectory() ? walk(path) : [path];
  });
}
