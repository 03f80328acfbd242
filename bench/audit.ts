/**
 * The audit of a long log on one core: synthetic pairs, but really hashed, drawn, judged and signed. Made first, then audited;
 * CPU time of the audit alone, and of the second verifier when python3 is there.
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { leafHash, MerkleFrontier } from "../src/base/merkle.ts";
import { checkpointText } from "../src/format/checkpoint.ts";
import { cosign } from "../src/format/cosignature.ts";
import { coinBits, commitmentOf, jointKey, thresholdOf } from "../src/format/draw.ts";
import { encodeEnvelope } from "../src/format/dsse.ts";
import { evidencePaths, sealRecord, type RecordedVerdict } from "../src/format/evidence.ts";
import { encodeLeaf, encodeRoundOpen, encodeRoundReveal, leafBytes } from "../src/format/leaf.ts";
import { encodeNote, signNote } from "../src/format/note.ts";
import { makeTag } from "../src/format/tag.ts";
import { sha256 } from "../src/base/hash.ts";
import { auditBundle } from "../src/log/audit.ts";
import {
  boot,
  bundleOf,
  endMs,
  honestScene,
  inspector,
  keyFile,
  keys,
  listed,
  origin,
  resealed,
  type BundleFiles,
} from "../tests/evidence-scene.ts";

const roundPairs = 100_000;
const epsilon = 0.01;
const secretOf = (drawer: string, round: number): Buffer =>
  sha256(Buffer.from(`${drawer}${round}`));

function secretsOf(round: number): { gateway: Buffer; a: Buffer; b: Buffer } {
  return { gateway: secretOf("g", round), a: secretOf("a", round), b: secretOf("b", round) };
}

function openOf(round: number): Buffer {
  const [g, a, b] = [secretOf("g", round), secretOf("a", round), secretOf("b", round)];
  const commitments = {
    gateway: commitmentOf("g", BigInt(round), g),
    a: commitmentOf("a", BigInt(round), a),
    b: commitmentOf("b", BigInt(round), b),
  };
  return encodeRoundOpen({
    round: BigInt(round),
    atMs: endMs,
    ...commitments,
    threshold: thresholdOf(epsilon),
  });
}

/** A log of `pairs` pairs in rounds of 100 000, with verdicts on all that their coins keep. */
function longLog(pairs: number): { entries: Buffer; verdicts: RecordedVerdict[] } {
  const entries: Buffer[] = [boot(1), openOf(1)];
  const verdicts: RecordedVerdict[] = [];
  for (let round = 1, n = 1; n <= pairs; round++) {
    const key = jointKey(secretsOf(round));
    for (const last = Math.min(pairs, n + roundPairs - 1); n <= last; n++) {
      const tag = makeTag(1, n);
      const digest = Buffer.alloc(32, n % 251);
      const index = entries.length;
      entries.push(
        encodeLeaf({
          ...{
            tag,
            completedMs: endMs - 5_000_000 + n,
            seed: BigInt(n),
            entryDigest: listed.entry.digest,
          },
          ...{ inputDigest: digest, outputDigest: digest, finish: "stop", tokens: n % 500 },
        }),
      );
      if (coinBits(key, tag) >= thresholdOf(epsilon)) continue;
      const name = tag.toString(16).padStart(16, "0");
      verdicts.push({
        tag: name,
        index,
        kind: "pass",
        atMs: endMs,
        request: "00".repeat(32),
        findings: [],
      });
    }
    entries.push(openOf(round + 1));
    entries.push(encodeRoundReveal({ round: BigInt(round), atMs: endMs, ...secretsOf(round) }));
  }
  return { entries: Buffer.concat(entries), verdicts };
}

function longBundle(pairs: number): BundleFiles {
  const { entries, verdicts } = longLog(pairs);
  const frontier = new MerkleFrontier();
  for (let at = 0; at < entries.length; at += leafBytes) {
    frontier.append(leafHash(entries.subarray(at, at + leafBytes)));
  }
  const scene = honestScene();
  const files = bundleOf({
    ...scene,
    ...{ earlier: [], disclosed: [], commits: [], orders: [] },
    record: { ...scene.record, verdicts, orders: [], releases: [] },
  });
  const text = checkpointText({ origin, size: frontier.size, root: frontier.root() });
  const cosigned = (["a", "b"] as const).map((party) =>
    cosign(`weir.local/witness/${party}`, keys.witness[party], text, 1_800_000_000),
  );
  files.set(evidencePaths.entries, entries);
  files.set(
    evidencePaths.checkpoint,
    encodeNote({ text, signatures: [signNote(origin, scene.log, text), ...cosigned] }),
  );
  const record = { ...scene.record, verdicts, orders: [], releases: [] };
  files.set(evidencePaths.record, Buffer.from(encodeEnvelope(sealRecord(record, keys.recomputer))));
  return resealed(files);
}

function cpuSeconds(action: () => void): { cpu: number; wall: number } {
  const [before, since] = [process.cpuUsage(), performance.now()];
  action();
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / 1e6, wall: (performance.now() - since) / 1000 };
}

/** Wall time of the second verifier; null without python3, or when it does not call the bundle sound. */
function secondVerifier(files: BundleFiles): number | null {
  const folder = mkdtempSync(join(tmpdir(), "weir-bench-audit-"));
  try {
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(folder, "bundle", path)), { recursive: true });
      const file = openSync(join(folder, "bundle", path), "w");
      writeFileSync(file, bytes);
      closeSync(file);
    }
    for (const party of ["a", "b"] as const)
      writeFileSync(join(folder, `${party}.keys`), keyFile(party));
    const tool = fileURLToPath(new URL("../tools/verify_evidence.py", import.meta.url));
    const since = performance.now();
    const args = [
      tool,
      join(folder, "bundle"),
      "--party-a",
      join(folder, "a.keys"),
      "--party-b",
      join(folder, "b.keys"),
    ];
    const { status } = spawnSync("python3", args, { encoding: "utf8" });
    return status === 0 ? (performance.now() - since) / 1000 : null;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface AuditRow {
  readonly entries: number;
  readonly MB: number;
  readonly "audit CPU s": number;
  readonly "audit wall s": number;
  readonly "second verifier wall s": number | null;
}

export function benchAudit(pairs: number, reps: number): AuditRow[] {
  const files = longBundle(pairs);
  const runs = Array.from({ length: reps }, () => {
    let failure = "";
    const spent = cpuSeconds(() => {
      failure = auditBundle(files, inspector).failure?.code ?? "";
    });
    if (failure !== "") throw new Error(`the honest bundle is not sound: ${failure}`);
    return spent;
  }).sort((one, other) => one.cpu - other.cpu);
  const median = runs[Math.floor(runs.length / 2)] ?? { cpu: 0, wall: 0 };
  const bytes = [...files.values()].reduce((sum, content) => sum + content.length, 0);
  return [
    {
      ...{
        entries: pairs,
        MB: bytes / 1e6,
        "audit CPU s": median.cpu,
        "audit wall s": median.wall,
      },
      "second verifier wall s": secondVerifier(files),
    },
  ];
}
