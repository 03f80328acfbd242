/** What `npm ci` needs of the lockfile, so that any npm from 7 on installs under an old Node too. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly engines?: unknown;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const root = new URL("../", import.meta.url);
const lock = JSON.parse(readFileSync(new URL("package-lock.json", root), "utf8")) as {
  readonly lockfileVersion: number;
  readonly packages: Readonly<Record<string, Locked>>;
};

/** Whether a package that stands at `from` finds `name` in the lockfile, as Node would. */
function isLocked(from: string, name: string): boolean {
  const parts = from === "" ? [] : from.split("/node_modules/");
  for (let depth = parts.length; depth >= 0; depth--) {
    const folder = [...parts.slice(0, depth), ""].join("/node_modules/");
    const path = depth === 0 ? `node_modules/${name}` : `${folder}${name}`;
    if (lock.packages[path] !== undefined) return true;
  }
  return false;
}

test("lockfile: version 2, names no registry -> any npm and any mirror reads it", () => {
  assert.equal(lock.lockfileVersion, 2);
  const hosts = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined);
  assert.deepEqual(hosts, []);
});

test("lockfile: holds every optional package of every system -> npm 11 accepts it", () => {
  const missing = Object.entries(lock.packages).flatMap(([from, { optionalDependencies }]) =>
    Object.keys(optionalDependencies ?? {}).filter((name) => !isLocked(from, name)),
  );
  assert.deepEqual(missing, []);
});

test("lockfile: names no engines -> npm under an old Node does not leave out llama.cpp", () => {
  // npm 8 to 10 silently drop an optional package whose `engines` the machine's Node does not meet,
  // though Weir never runs in that Node. `.ci/lock` takes them out.
  const named = Object.entries(lock.packages).filter(([, { engines }]) => engines !== undefined);
  assert.deepEqual(
    named.map(([path]) => path),
    [],
  );
});

test("with-node: a command -> runs with the Node that the lockfile brings", () => {
  const script = new URL("with-node", root).pathname;
  const said = execFileSync("sh", [script, "node", "-p", "process.versions.node"], {
    env: { PATH: "/usr/bin:/bin" },
  });
  assert.equal(said.toString().trim(), process.versions.node);
});
