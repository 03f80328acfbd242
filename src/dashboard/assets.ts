/** The page's files, read once at start. Its TypeScript is stripped of types, not compiled. */
import { readFileSync } from "node:fs";
import { createRequire, stripTypeScriptTypes } from "node:module";
import { dirname } from "node:path";
import type { Asset } from "./serve.ts";

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  ts: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
};

const files = [
  "index.html",
  "style.css",
  "icon.svg",
  "app.ts",
  "chart.ts",
  "dom.ts",
  "evidence-chart.ts",
  "evidence-words.ts",
  "evidence.ts",
  "plot.ts",
  "say.ts",
  "sections.ts",
  "servers.ts",
  "stream.ts",
  "tables.ts",
];

function asset(path: string): Asset {
  const extension = path.slice(path.lastIndexOf(".") + 1);
  const text = readFileSync(path, "utf8");
  const body = extension === "ts" ? stripTypeScriptTypes(text) : text;
  return { type: types[extension] ?? "application/octet-stream", body: Buffer.from(body) };
}

/** Every file that the page server gives out, by URL path. */
export function pageAssets(): Map<string, Asset> {
  const assets = new Map<string, Asset>();
  for (const file of files) assets.set(`/${file}`, asset(`${import.meta.dirname}/web/${file}`));
  const index = assets.get("/index.html");
  if (index !== undefined) assets.set("/", index);
  const chart = dirname(createRequire(import.meta.url).resolve("uplot"));
  assets.set("/uplot.js", asset(`${chart}/uPlot.esm.js`));
  assets.set("/uplot.css", asset(`${chart}/uPlot.min.css`));
  return assets;
}
