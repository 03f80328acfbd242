/** Log entries against spec/vectors/leaf.json, which spec/vectors/leaf.py wrote without our code. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { secretKey, sha256 } from "../base/hash.ts";
import { leafHash } from "../base/merkle.ts";
import {
  decodeLeaf,
  decodeLogEntry,
  encodeBootEntry,
  encodeLeaf,
  encodeRoundOpen,
  encodeRoundReveal,
  inputDigestOf,
  leafBytes,
  outputDigestOf,
  salterOf,
  saltOf,
  startOutputDigest,
  tagOfLeaf,
  thresholdMax,
} from "./leaf.ts";
import { asTag, makeTag } from "./tag.ts";

interface Vectors {
  readonly pair: Readonly<Record<string, string>>;
  readonly rounds: { readonly open: string; readonly reveal: string };
  readonly boot: string;
}

const file = new URL("../../spec/vectors/leaf.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8")) as Vectors;
const hex = (text: string | undefined): Buffer => Buffer.from(text ?? "", "hex");

test("leaf: salt, digests, entry and leaf hash -> the vectors", () => {
  const { pair } = vectors;
  const key = secretKey(hex(pair["epochKey"]));
  const tag = asTag(BigInt(`0x${pair["tag"] ?? ""}`));
  const salt = saltOf(key, tag);
  assert.equal(salt.toString("hex"), pair["salt"]);
  assert.deepEqual(salterOf(key)(tag), salt);
  const inputDigest = inputDigestOf(salt, hex(pair["input"]));
  const outputDigest = outputDigestOf(salt, hex(pair["output"]));
  assert.equal(inputDigest.toString("hex"), pair["inputDigest"]);
  assert.equal(outputDigest.toString("hex"), pair["outputDigest"]);
  const entry = encodeLeaf({
    ...{ tag, completedMs: 1_700_000_000_000, seed: 0x9a1f_0000_0000_002an, finish: "stop" },
    ...{ entryDigest: Buffer.alloc(32, 0xe1), inputDigest, outputDigest, tokens: 42 },
  });
  assert.equal(entry.toString("hex"), pair["entry"]);
  assert.equal(leafHash(entry).toString("hex"), pair["leafHash"]);
});

test("leaf: another pair's salt -> another digest of the same text", () => {
  const key = secretKey(Buffer.alloc(32, 7));
  const [one, two] = [saltOf(key, makeTag(1, 7)), saltOf(key, makeTag(1, 8))];
  const text = Buffer.from("the same text");
  assert.notDeepEqual(inputDigestOf(one, text), inputDigestOf(two, text));
  assert.notDeepEqual(inputDigestOf(one, text), outputDigestOf(one, text));
});

test("log entry: round and boot entries -> the vectors, there and back", () => {
  const fill = (byte: number): Buffer => Buffer.alloc(32, byte);
  const open = decodeLogEntry(hex(vectors.rounds.open));
  assert.equal(open.kind, "round-open");
  assert.ok(open.kind === "round-open" && open.round === 3n && open.threshold === 1n << 51n);
  assert.equal(encodeRoundOpen(open).toString("hex"), vectors.rounds.open);
  const reveal = { round: 3n, atMs: 1_700_000_000_000 };
  const secrets = { gateway: fill(0x11), a: fill(0x22), b: fill(0x33) };
  const bytes = encodeRoundReveal({ ...reveal, ...secrets });
  assert.equal(bytes.toString("hex"), vectors.rounds.reveal);
  assert.deepEqual(decodeLogEntry(bytes), { kind: "round-reveal", ...reveal, ...secrets });
  const boot = {
    ...{ atMs: 1_700_000_000_000, epoch: 5, boot: 2, deviceKey: fill(0xd1) },
    ...{ measurement: fill(0xd2), whitelist: fill(0xd3) },
  };
  assert.equal(encodeBootEntry(boot).toString("hex"), vectors.boot);
  assert.deepEqual(decodeLogEntry(hex(vectors.boot)), { kind: "boot", ...boot });
});

const all = [vectors.pair["entry"], vectors.rounds.open, vectors.rounds.reveal, vectors.boot];

test("log entry: any bytes, and any entry with bytes changed -> an entry, or InvalidError leaf.*", () => {
  const total = (bytes: Uint8Array): void => {
    try {
      decodeLogEntry(bytes);
    } catch (error) {
      assert.ok(error instanceof InvalidError);
      assert.match(error.code, /^(leaf|tag)\./);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 140 }), total));
  fc.assert(
    fc.property(fc.constantFrom(...all), fc.nat(leafBytes - 1), fc.nat(255), (text, at, byte) => {
      const bytes = hex(text);
      bytes[at] = byte;
      total(bytes);
    }),
  );
});

test("log entry: a byte that must be zero is not -> refused", () => {
  for (const text of all.slice(1)) {
    for (const at of [3, leafBytes - 1, leafBytes - 4]) {
      const bytes = hex(text);
      bytes[at] = 1;
      assert.throws(() => decodeLogEntry(bytes), { code: "leaf.zero" });
    }
  }
});

test("log entry: version 1, another kind, another size, epsilon above 1 -> refused by name", () => {
  const old = hex(vectors.pair["entry"]);
  old[2] = 1;
  assert.throws(() => decodeLogEntry(old), { code: "leaf.version" });
  assert.throws(() => decodeLeaf(hex(vectors.boot)), { code: "leaf.kind" });
  assert.throws(() => decodeLogEntry(Buffer.alloc(128)), { code: "leaf.magic" });
  assert.throws(() => decodeLogEntry(Buffer.alloc(127)), { code: "leaf.size" });
  const open = hex(vectors.rounds.open);
  open.writeBigUInt64BE(thresholdMax + 1n, 116);
  assert.throws(() => decodeLogEntry(open), { code: "leaf.threshold" });
});

test("leaf: encoded -> the same by both decoders, and its tag by a look alone", () => {
  const digest = (byte: number): Buffer => Buffer.alloc(32, byte);
  const leaf = {
    ...{ tag: makeTag(7, 9), completedMs: 1_700_000_000_000, seed: 5n, finish: "length" as const },
    ...{ entryDigest: digest(1), inputDigest: digest(2), outputDigest: digest(3), tokens: 4 },
  };
  const bytes = encodeLeaf(leaf);
  assert.deepEqual(decodeLeaf(bytes), leaf);
  assert.deepEqual(decodeLogEntry(bytes), { kind: "pair", ...leaf });
  assert.equal(tagOfLeaf(bytes), leaf.tag);
  const unknown = Buffer.from(bytes);
  unknown[3] = 200;
  assert.throws(() => decodeLeaf(unknown), { code: "leaf.finish" });
});

test("leaf: an output digest laid out piece by piece -> the digest", () => {
  const [salt, output] = [Buffer.alloc(32, 1), Buffer.from("output")];
  const out = new Writer();
  startOutputDigest(out, salt);
  assert.deepEqual(sha256(out.raw(output).bytes()), outputDigestOf(salt, output));
});

test("log entry: round 0 -> refused; epsilon 1 -> taken", () => {
  const secret = Buffer.alloc(32, 1);
  const shares = { gateway: secret, a: secret, b: secret, atMs: 1 };
  const open = { ...shares, round: 1n, threshold: thresholdMax };
  assert.deepEqual(decodeLogEntry(encodeRoundOpen(open)), { kind: "round-open", ...open });
  for (const entry of [
    encodeRoundOpen({ ...open, round: 0n }),
    encodeRoundReveal({ ...shares, round: 0n }),
  ]) {
    assert.throws(() => decodeLogEntry(entry), { code: "leaf.round" });
  }
});
