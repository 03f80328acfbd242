/** The house rules that a machine can check: who may import whom, and what may stand where. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

/** Folder of src/ -> folders it may import, beside itself. `*.port.ts` of any role is a door. */
const table: Readonly<Record<string, readonly string[]>> = {
  base: [],
  boot: [],
  format: ["base"],
  verification: ["base", "format"],
  gateway: ["base", "format"],
  server: ["base", "format"],
  depot: ["base", "format"],
  router: ["base", "format"],
  recomputer: ["base", "format", "verification"],
  log: ["base", "format"],
  alarm: ["base", "format"],
  admin: ["base", "format"],
  physical: ["base", "format"],
  planner: ["base", "format", "verification"],
  adversary: ["base", "format", "verification", "server"],
  dashboard: ["base", "format", "verification"],
  adapter: ["base", "format"],
  bin: ["*"],
};

/** Folders that may import npm packages and, with `ambient`, touch clock, process and console. */
const npmRooms = new Set(["adapter", "dashboard", "bin"]);
const ambientRooms = new Set(["adapter", "dashboard", "bin", "boot"]);
/** The first stage stands alone: Node's own modules, for it reads files and starts a process, and no package. */
const bootBuiltins = new Set([
  "node:crypto",
  "node:fs",
  "node:path",
  "node:url",
  "node:child_process",
]);
/** node: modules without I/O, allowed in every room. */
const pureBuiltins = new Set(["node:crypto", "node:buffer"]);

const ambient =
  /\b(?:Date\.now|new Date\(\)|performance\.now|setTimeout|setInterval|setImmediate|console\.|process\.|Math\.random)\b/;

interface Source {
  readonly path: string;
  readonly room: string;
  readonly text: string;
}

const sources: Source[] = globSync("src/**/*.ts")
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => !path.startsWith("src/dashboard/web/"))
  .map((path) => ({ path, room: path.split("/")[1] ?? "", text: readFileSync(path, "utf8") }));

const isTest = (path: string): boolean => path.endsWith(".test.ts") || path.includes("/fixture");

function importsOf(text: string): string[] {
  const found = text.matchAll(
    /^\s*(?:import|export)\b[^"';]*?from\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)|^import "([^"]+)"/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

function complaintAboutPackage(source: Source, target: string): string | null {
  if (npmRooms.has(source.room) || isTest(source.path) || pureBuiltins.has(target)) return null;
  if (source.room === "boot" && bootBuiltins.has(target)) return null;
  const what = target.startsWith("node:") ? target : `the package ${target}`;
  return `${source.path} may not import ${what}`;
}

function complaintAbout(source: Source, target: string): string | null {
  if (!target.startsWith(".")) return complaintAboutPackage(source, target);
  const path = normalize(join(dirname(source.path), target)).replaceAll("\\", "/");
  const room = path.split("/")[1] ?? "";
  const allowed = table[source.room] ?? [];
  if (!path.startsWith("src/")) {
    return isTest(source.path) || path === "package.json" ? null : `${source.path} imports ${path}`;
  }
  if (room === source.room || allowed.includes("*") || allowed.includes(room)) return null;
  if (source.room === "adapter" && path.endsWith(".port.ts")) return null;
  return isTest(source.path) ? null : `${source.path} may not import ${path}`;
}

test("tidy: every folder of src/ stands in the import table", () => {
  const rooms = new Set(sources.map((source) => source.room));
  assert.deepEqual(
    [...rooms].filter((room) => !(room in table)),
    [],
  );
});

test("tidy: imports follow the table", () => {
  const complaints = sources.flatMap((source) =>
    importsOf(source.text).map((target) => complaintAbout(source, target)),
  );
  assert.deepEqual(
    complaints.filter((complaint) => complaint !== null),
    [],
  );
});

test("tidy: the table catches a role that imports a role", () => {
  const forged: Source = { path: "src/gateway/x.ts", room: "gateway", text: "" };
  assert.match(complaintAbout(forged, "../recomputer/judge.ts") ?? "", /may not import/);
  assert.match(complaintAbout(forged, "undici") ?? "", /may not import the package/);
  assert.match(complaintAbout(forged, "node:fs") ?? "", /may not import/);
  assert.equal(complaintAbout(forged, "../format/link.ts"), null);
});

test("tidy: clock, timers, randomness, process and console stay in adapter/, dashboard/ and bin/", () => {
  const offenders = sources
    .filter((source) => !ambientRooms.has(source.room) && !isTest(source.path))
    .filter((source) => ambient.test(source.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")))
    .map((source) => source.path);
  assert.deepEqual(offenders, []);
});

test("tidy: code says gateway and recomputer, never SNG or SRC", () => {
  const offenders = sources.filter((source) => /\bSNG\b|\bSRC\b/.test(source.text));
  assert.deepEqual(
    offenders.map((source) => source.path),
    [],
  );
});

test("tidy: no file of src/ is longer than 500 lines", () => {
  const long = sources.filter((source) => source.text.split("\n").length > 500);
  assert.deepEqual(
    long.map((source) => source.path),
    [],
  );
});
