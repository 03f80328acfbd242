/**
 * Two verifiers of evidence bundles that share no code: src/log/audit.ts, and tools/verify_evidence.py. They must agree on
 * sound and unsound, and on the code of the first thing that is wrong.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { encodeEnvelope, sealEnvelope } from "../src/format/dsse.ts";
import { evidencePaths, manifestPath, recordType } from "../src/format/evidence.ts";
import { auditBundle } from "../src/log/audit.ts";
import {
  bundleOf,
  honestScene,
  inspector,
  keyFile,
  keys,
  numbers,
  resealed,
  type BundleFiles,
} from "./evidence-scene.ts";
import { tamperings } from "./evidence-tampering.ts";

const tool = fileURLToPath(new URL("../tools/verify_evidence.py", import.meta.url));
const python =
  spawnSync("python3", ["-c", "import sys; assert sys.version_info >= (3, 8)"]).status === 0;
const skip = python ? false : "NO python3 ON THIS MACHINE: the second verifier was not compared";

interface Case {
  readonly name: string;
  readonly files: BundleFiles;
  readonly epsilonMin: number;
}

/** One process for many bundles: reads `FOLDER EPSILON` lines, prints a code or `sound` for each. */
const driver = `
import sys, functools, importlib.util
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("verify_evidence", sys.argv[1])
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
# Most signatures are alike in all bundles.
tool.verify = functools.lru_cache(maxsize=None)(tool.verify)
parties = {party: tool.read_keys(path) for party, path in zip("ab", sys.argv[2:4])}
for line in sys.stdin:
    folder, epsilon = line.split()
    try:
        tool.audit(tool.read_bundle(folder), parties, None, float(epsilon))
        print("sound")
    except tool.Unsound as found:
        print(found.code)
`;

function writeBundle(folder: string, files: BundleFiles): void {
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
}

/** What the second verifier says about each. */
function secondVerdicts(cases: readonly Case[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "weir-verifiers-"));
  try {
    for (const party of ["a", "b"] as const)
      writeFileSync(join(folder, `${party}.keys`), keyFile(party));
    cases.forEach(({ files }, i) => {
      mkdirSync(join(folder, String(i)));
      writeBundle(join(folder, String(i)), files);
    });
    const input = cases
      .map(({ epsilonMin }, i) => `${join(folder, String(i))} ${epsilonMin}\n`)
      .join("");
    const args = ["-c", driver, tool, join(folder, "a.keys"), join(folder, "b.keys")];
    const { status, stdout, stderr } = spawnSync("python3", args, { input, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    return stdout.trimEnd().split("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function firstVerdict({ files, epsilonMin }: Case): string {
  return auditBundle(files, inspector, { epsilonMin }).failure?.code ?? "sound";
}

function compare(cases: readonly Case[]): string[] {
  const first = cases.map(firstVerdict);
  const second = secondVerdicts(cases);
  assert.equal(second.length, cases.length);
  const differences = cases
    .map(({ name }, i) => `${name}: ${first[i] ?? ""}, by the other ${second[i] ?? ""}`)
    .filter((_, i) => first[i] !== second[i]);
  assert.deepEqual(differences, []);
  return first;
}

test("verifiers: honest bundles and every tampering -> both find the same", { skip }, () => {
  const whole: Case = { name: "honest", files: bundleOf(honestScene()), epsilonMin: 0.25 };
  const cases = tamperings.map(({ name, files, epsilonMin = 0 }) => ({
    name,
    files: files(),
    epsilonMin,
  }));
  const codes = compare([whole, ...cases]);
  assert.equal(codes[0], "sound");
  assert.deepEqual(
    codes.slice(1),
    tamperings.map(({ code }) => code),
  );
});

const change = (bytes: Buffer, below: (n: number) => number): Buffer => {
  const copy = Buffer.from(bytes);
  if (copy.length === 0) return Buffer.of(below(256));
  switch (below(4)) {
    case 0:
      copy[below(copy.length)] = below(256);
      return copy;
    case 1:
      return copy.subarray(0, below(copy.length));
    case 2:
      return Buffer.concat([copy, Buffer.of(below(256))]);
    default: {
      const at = below(copy.length);
      copy[at] = (copy[at] ?? 0) ^ (1 << below(8));
      return copy;
    }
  }
};

test(
  "verifiers: bytes of any file changed at random, named rightly in the manifest -> both find the same",
  { skip },
  () => {
    const below = numbers("verifiers: files");
    const honest = bundleOf(honestScene());
    const paths = [...honest.keys()].filter((path) => path !== manifestPath);
    const cases = Array.from({ length: 240 }, (_, i) => {
      const path = paths[i % paths.length] ?? "";
      const files = new Map(honest).set(path, change(honest.get(path) ?? Buffer.alloc(0), below));
      return { name: `${i} ${path}`, files: resealed(files), epsilonMin: 0 };
    });
    const codes = compare(cases);
    // What is left of a file without its last newline, or a hint that nobody reads, may still be sound.
    assert.ok(codes.filter((code) => code === "sound").length < 24, "nearly all changes are found");
  },
);

test(
  "verifiers: the manifest, a file taken away, a file added, two files exchanged -> both find the same",
  { skip },
  () => {
    const below = numbers("verifiers: folders");
    const honest = bundleOf(honestScene());
    const paths = [...honest.keys()];
    const cases: Case[] = Array.from({ length: 60 }, (_, i) => {
      const files = new Map(honest);
      files.set(manifestPath, change(files.get(manifestPath) ?? Buffer.alloc(0), below));
      return { name: `manifest ${i}`, files, epsilonMin: 0 };
    });
    for (const path of paths) {
      const less = new Map(honest);
      less.delete(path);
      cases.push({ name: `without ${path}`, files: less, epsilonMin: 0 });
      if (path === manifestPath) continue;
      cases.push({ name: `without ${path}, resealed`, files: resealed(less), epsilonMin: 0 });
      const one = paths[1 + below(paths.length - 1)] ?? path;
      const swapped = new Map(honest);
      swapped
        .set(path, honest.get(one) ?? Buffer.alloc(0))
        .set(one, honest.get(path) ?? Buffer.alloc(0));
      cases.push({ name: `${path} and ${one} exchanged`, files: resealed(swapped), epsilonMin: 0 });
    }
    compare(cases);
  },
);

test("verifiers: signed documents that say odd things -> both find the same", { skip }, () => {
  const cases: Case[] = [];
  const payload = JSON.stringify(honestScene().record);
  const odd = [
    ...[
      "",
      "null",
      "[]",
      "{}",
      `${payload} `,
      `${payload}x`,
      payload.replace('"atMs":', '"atMs":1e400,"x":'),
    ],
    ...[
      payload.replace(/"atMs":(\d+)/, '"atMs":$1.0'),
      payload.replace(/"atMs":(\d+)/, '"atMs":$1.5'),
    ],
    ...[
      payload.replace('"index":', '"index":-'),
      payload.replace('"index":', '"index":1e0,"index":'),
    ],
    ...[
      payload.replace('"token.margin"', '"\\ud800"'),
      payload.replace('"token.margin"', '"\\ud83d\\ude00"'),
    ],
    ...[
      payload.replace('"token.margin"', `${"[".repeat(40)}${"]".repeat(40)}`),
      payload.replace('"pass"', '"unable"'),
    ],
    ...[
      payload.replace('"atMs":', '"atMs":9007199254740993,"y":'),
      payload.replace('"gateway":"g1"', '"gateway":true'),
    ],
    ...[
      payload.replace('"token.margin"', '"a\tb"'),
      payload.replace('"token.margin"', '"a\\tb"'),
      `\ufeff${payload}`,
    ],
  ];
  for (const text of odd) {
    const files = bundleOf(honestScene());
    files.set(
      evidencePaths.record,
      Buffer.from(encodeEnvelope(sealEnvelope(recordType, Buffer.from(text), [keys.recomputer]))),
    );
    cases.push({ name: text.slice(0, 60), files: resealed(files), epsilonMin: 0 });
  }
  const codes = compare(cases);
  assert.ok(codes.includes("sound") && codes.includes("record.format"));
});
