/** Notes, checkpoints, cosignatures and proofs: against spec/vectors/log.json (made by spec/vectors/log.py), and by property. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import {
  leafHash,
  merkleRoot,
  MerkleTree,
  verifyConsistency,
  verifyInclusion,
} from "../base/merkle.ts";
import { limits } from "../base/limits.ts";
import { privateKeyFromSeed, publicKeyHex, sign } from "../base/sign.ts";
import {
  checkpointText,
  logKey,
  logOrigin,
  openCheckpoint,
  parseCheckpoint,
  parseDecimal,
  signCheckpoint,
} from "./checkpoint.ts";
import { cosignatureOf, cosign, openCosignature } from "./cosignature.ts";
import {
  encodeNote,
  formatVkey,
  noteKey,
  noteKeyType,
  parseNote,
  parseSignatures,
  parseVkey,
  signaturesOf,
  signNote,
} from "./note.ts";
import { encodeTlogProof, openCosigned, parseTlogProof, verifyTlogProof } from "./tlog-proof.ts";

interface Vectors {
  readonly leaves: readonly string[];
  readonly seeds: Readonly<Record<"log" | "a" | "b", number>>;
  readonly vkeys: Readonly<Record<"log" | "a" | "b", string>>;
  readonly signed: string;
  readonly cosigned: string;
  readonly proof: string;
  readonly consistency: Readonly<Record<string, readonly string[]>>;
  readonly inclusion: Readonly<Record<string, readonly string[]>>;
  readonly roots: readonly string[];
}

const url = new URL("../../spec/vectors/log.json", import.meta.url);
const vectors = JSON.parse(readFileSync(url, "utf8")) as Vectors;
const [log, a, b] = [vectors.vkeys.log, vectors.vkeys.a, vectors.vkeys.b].map(parseVkey) as [
  ReturnType<typeof parseVkey>,
  ReturnType<typeof parseVkey>,
  ReturnType<typeof parseVkey>,
];
const privateKey = (byte: number): ReturnType<typeof privateKeyFromSeed> =>
  privateKeyFromSeed(Buffer.alloc(32, byte));
const utf8 = (text: string): Buffer => Buffer.from(text, "utf8");

/** The example of golang.org/x/mod/sumdb/note, which C2SP signed-note was made from. */
const goKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const goNote =
  "If you think cryptography is the answer to your problem,\n" +
  "then you don't know what your problem is.\n" +
  "\n" +
  "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

test("note: the published example -> parsed, verified, and encoded to the same bytes", () => {
  const note = parseNote(utf8(goNote));
  assert.equal(signaturesOf(note, parseVkey(goKey)).length, 1);
  assert.equal(encodeNote(note).toString(), goNote);
  assert.equal(formatVkey(parseVkey(goKey)), goKey);
  const changed = parseNote(utf8(goNote.replace("answer", "Answer")));
  assert.throws(() => signaturesOf(changed, parseVkey(goKey)), { code: "note.signature" });
});

test("note: the text of C2SP's page, which has empty lines of its own -> cut at the last one", () => {
  const text =
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
  const line =
    "\u2014 quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
  const note = parseNote(utf8(`${text}\n${line}`));
  assert.equal(note.text, text);
  assert.deepEqual(
    note.signatures.map(({ name, bytes }) => [name, bytes.length]),
    [["quasimodo.example/salvatore", 64]],
  );
});

test("log vectors: checkpoint, cosignatures and proof of independent code -> verified; ours -> the same bytes", () => {
  const signed = openCheckpoint(utf8(vectors.signed), log);
  const root = merkleRoot(vectors.leaves.map((leaf) => leafHash(utf8(leaf))));
  assert.deepEqual([signed.size, signed.root], [13, root]);
  const own = signCheckpoint(privateKey(vectors.seeds.log), signed);
  assert.equal(own.toString(), vectors.signed);
  const { text, signatures } = parseNote(own);
  const cosigned = encodeNote({
    text,
    signatures: [
      ...signatures,
      cosign(a.name, privateKey(vectors.seeds.a), text, 1_700_000_000),
      cosign(b.name, privateKey(vectors.seeds.b), text, 1_700_000_001),
    ],
  });
  assert.equal(cosigned.toString(), vectors.cosigned);
  const policy = { log, witnesses: [a, b] };
  const proof = parseTlogProof(utf8(vectors.proof));
  assert.equal(proof.index, 6);
  verifyTlogProof(proof, leafHash(utf8("entry 6")), policy);
  assert.throws(() => verifyTlogProof(proof, leafHash(utf8("entry 7")), policy), {
    code: "merkle.inclusion",
  });
  assert.equal(encodeTlogProof(proof).toString(), vectors.proof);
});

test("log vectors: every consistency and inclusion proof of independent code -> verified", () => {
  const roots = vectors.roots.map((hex) => Buffer.from(hex, "hex"));
  const hashes = (list: readonly string[]): Buffer[] => list.map((hex) => Buffer.from(hex, "hex"));
  for (const [pair, proof] of Object.entries(vectors.consistency)) {
    const [from = 0, to = 0] = pair.split("-").map(Number);
    verifyConsistency(from, to, hashes(proof), roots[from]!, roots[to]!);
  }
  for (const [place, proof] of Object.entries(vectors.inclusion)) {
    const index = Number(place.split("/")[0]);
    const leaf = leafHash(utf8(vectors.leaves[index]!));
    verifyInclusion(leaf, index, 13, hashes(proof), roots[13]!);
  }
});

test("note: a signature of an unknown key -> skipped; of a known name but another id, too", () => {
  const text = "text\n";
  const mine = signNote("me", privateKey(1), text);
  const stranger = signNote("stranger", privateKey(2), text);
  const sameName = signNote("me", privateKey(3), text);
  const note = parseNote(encodeNote({ text, signatures: [stranger, sameName, mine] }));
  const key = noteKey("me", noteKeyType.note, publicKeyHex(privateKey(1)));
  assert.deepEqual(signaturesOf(note, key), [mine]);
  const without = parseNote(encodeNote({ text, signatures: [stranger] }));
  assert.deepEqual(signaturesOf(without, key), []);
});

test("note: a known key with a bad signature -> the whole note is refused, even beside a good one", () => {
  const text = "text\n";
  const good = signNote("me", privateKey(1), text);
  const bad = { ...good, bytes: Buffer.alloc(64, 9) };
  const key = noteKey("me", noteKeyType.note, publicKeyHex(privateKey(1)));
  for (const signatures of [[good, bad], [bad, good], [bad]]) {
    assert.throws(() => signaturesOf({ text, signatures }, key), { code: "note.signature" });
  }
});

test("note: 16 signatures -> accepted; more than the limit, no signature, controls, cuts -> refused", () => {
  const text = "text\n";
  const many = (count: number): Buffer =>
    encodeNote({
      text,
      signatures: Array.from({ length: count }, () => signNote("me", privateKey(1), text)),
    });
  assert.equal(parseNote(many(16)).signatures.length, 16);
  assert.throws(() => parseNote(many(65)), { code: "note.too-many" });
  const good = many(1).toString();
  const refused: readonly (readonly [string, string])[] = [
    ["", "note.separator"],
    ["text\n", "note.separator"],
    ["text\n\n", "note.signature-line"],
    [good.slice(0, -1), "note.signature-line"],
    [good.replace("text", "te\txt"), "note.control"],
    [good.replace("text", "te\u0000xt"), "note.control"],
    [good.replace("\u2014", "-"), "note.signature-line"],
    [good.replace(" me ", " m+e "), "note.name"],
    [good.replace(" me ", "  "), "note.name"],
    [good.replace(" me ", " m\u00a0e "), "note.name"],
    [`${good}\n`, "note.signature-line"],
    [`${good}more\n`, "note.signature-line"],
    ["x".repeat(20_000), "note.too-long"],
  ];
  for (const [bytes, code] of refused) assert.throws(() => parseNote(utf8(bytes)), { code }, bytes);
  assert.throws(() => parseNote(Buffer.from([0xff, 0x0a])), { code: "bytes.utf8" });
  assert.throws(() => parseSignatures("\u2014 me AAAA=\n"), { code: "note.base64" });
});

test("vkey: another id, type, length or key -> refused", () => {
  const [name, id, key] = vectors.vkeys.log.split("+") as [string, string, string];
  const other = (bytes: Buffer): string => `${name}+${id}+${bytes.toString("base64")}`;
  const raw = Buffer.from(key, "base64");
  for (const [text, code] of [
    [`${name}+00000000+${key}`, "note.vkey"],
    [`${name}+${id}`, "note.vkey"],
    [`${name}+${id.toUpperCase()}+${key}`, id === id.toUpperCase() ? "" : "note.vkey"],
    [`+${id}+${key}`, "note.name"],
    [other(Buffer.concat([Buffer.of(6), raw.subarray(1)])), "note.vkey"],
    [other(raw.subarray(0, 32)), "note.vkey"],
    [other(Buffer.concat([Buffer.of(1, 1), Buffer.alloc(31)])), "enrol.key"],
  ] as const) {
    if (code !== "") assert.throws(() => parseVkey(text), { code }, text);
  }
});

const name = fc.stringMatching(/^[a-z][a-z0-9./-]{0,20}$/);
const textOf = fc
  .array(fc.string({ unit: "grapheme", maxLength: 20 }), { minLength: 1, maxLength: 4 })
  // eslint-disable-next-line no-control-regex -- the format forbids exactly these
  .map((lines) => `${lines.join("\n").replace(/[\u0000-\u0009\u000b-\u001f]/g, "")}\n`)
  .filter((text) => text.isWellFormed());

test("note: anything encoded -> parsed to the same; and parsing never throws but InvalidError", () => {
  const signature = fc.record(
    {
      name,
      id: fc.nat(0xffff_ffff),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    },
    { noNullPrototype: true },
  );
  const signatures = fc.array(signature, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(textOf, signatures, (text, list) => {
      const note = parseNote(encodeNote({ text, signatures: list }));
      assert.deepEqual(note, { text, signatures: list });
    }),
  );
  const noise = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.string().map(utf8));
  const parsers = [
    parseNote,
    parseTlogProof,
    (x: Uint8Array) => parseVkey(Buffer.from(x).toString()),
  ];
  fc.assert(
    fc.property(noise, (bytes) => {
      for (const parse of parsers) {
        try {
          parse(bytes);
        } catch (error) {
          assert.ok(error instanceof InvalidError);
        }
      }
    }),
  );
});

test("note: any one byte of a cosigned checkpoint changed -> it never passes with another text", () => {
  const bytes = utf8(vectors.cosigned);
  const policy = { log, witnesses: [a, b] };
  const { size, root } = openCosigned(bytes, policy);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ by;
      assert.throws(() => {
        const opened = openCosigned(changed, policy);
        // What could pass would have to say the same.
        assert.deepEqual([opened.size, opened.root], [size, root]);
        throw new InvalidError("same", "the same");
      }, InvalidError);
    }),
    { numRuns: 300 },
  );
});

test("checkpoint: anything encoded -> parsed to the same; other spellings -> refused", () => {
  const sizes = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const roots = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
  fc.assert(
    fc.property(name, sizes, roots, (origin, size, root) => {
      const text = checkpointText({ origin, size, root });
      assert.deepEqual(parseCheckpoint(text), { origin, size, root });
      const [, sizeLine = "", rootLine = ""] = text.split("\n");
      for (const bad of [
        `${origin}\n0${sizeLine}\n${rootLine}\n`,
        `${origin}\n+${sizeLine}\n${rootLine}\n`,
        `${origin}\n${sizeLine} \n${rootLine}\n`,
        `\n${sizeLine}\n${rootLine}\n`,
        `${origin}\n${sizeLine}\n${rootLine.replace("=", "")}\n`,
        `${origin}\n${sizeLine}\n${rootLine}\nextension\n`,
        `${origin}\n${sizeLine}\n${rootLine}`,
      ]) {
        assert.throws(() => parseCheckpoint(bad), InvalidError, bad);
      }
    }),
  );
  assert.throws(() => parseDecimal("9007199254740993"), { code: "checkpoint.number" });
});

test("checkpoint: of another origin, or not signed by the log's key -> refused", () => {
  const key = privateKey(9);
  const other = noteKey("weir.local/other", noteKeyType.note, publicKeyHex(key));
  assert.throws(() => openCheckpoint(utf8(vectors.signed), other), { code: "checkpoint.text" });
  const checkpoint = parseCheckpoint(parseNote(utf8(vectors.signed)).text);
  // The same origin under another key has another id: as a stranger's it is skipped.
  assert.throws(() => openCheckpoint(signCheckpoint(key, checkpoint), log), {
    code: "checkpoint.unsigned",
  });
});

test("checkpoint: the origin names gateway and key, so a new key is a new log", () => {
  const one = publicKeyHex(privateKey(1));
  const two = publicKeyHex(privateKey(2));
  assert.notEqual(logOrigin("g1", one), logOrigin("g1", two));
  assert.equal(parseVkey(formatVkey(logKey("g1", one))).name, logOrigin("g1", one));
});

test("cosignature: over other text, at another time, or as a plain note signature -> does not verify", () => {
  const text = parseNote(utf8(vectors.signed)).text;
  const key = privateKey(vectors.seeds.a);
  const good = cosign(a.name, key, text, 1_700_000_000);
  assert.equal(openCosignature(good, text, a)?.time, 1_700_000_000);
  assert.equal(openCosignature(good, text, b), null);
  const fails = { code: "cosignature.signature" };
  assert.throws(() => openCosignature(good, text.replace("13", "14"), a), fails);
  const later = Buffer.from(good.bytes);
  later.writeBigUInt64BE(1_700_000_001n);
  assert.throws(() => openCosignature({ ...good, bytes: later }, text, a), fails);
  const plain = { ...signNote(a.name, key, text), id: a.id };
  assert.throws(() => openCosignature(plain, text, a), fails);
  assert.throws(() => openCosignature({ ...good, bytes: Buffer.alloc(3) }, text, a), InvalidError);
});

test("cosignature: several of one witness -> the newest; one of them false -> all refused", () => {
  const text = parseNote(utf8(vectors.signed)).text;
  const key = privateKey(vectors.seeds.a);
  const [one, two] = [5, 9].map((time) => cosign(a.name, key, text, time)) as [
    ReturnType<typeof cosign>,
    ReturnType<typeof cosign>,
  ];
  assert.equal(cosignatureOf({ text, signatures: [two, one] }, a)?.time, 9);
  const bad = { ...one, bytes: Buffer.alloc(72, 1) };
  assert.throws(() => cosignatureOf({ text, signatures: [two, bad] }, a), InvalidError);
});

test("tlog-proof: without one of the two witnesses -> refused, naming it", () => {
  const { text, signatures } = parseNote(utf8(vectors.cosigned));
  const without = (i: number): Buffer =>
    encodeNote({ text, signatures: signatures.filter((_, at) => at !== i) });
  const policy = { log, witnesses: [a, b] };
  assert.throws(() => openCosigned(without(1), policy), /witness\/a did not cosign/);
  assert.throws(() => openCosigned(without(2), policy), /witness\/b did not cosign/);
  assert.throws(() => openCosigned(without(0), policy), { code: "checkpoint.unsigned" });
  // What the second witness is for: with a policy of one, one party's word is enough.
  openCosigned(without(2), { log, witnesses: [a] });
});

test("tlog-proof: extra data is read over; damage of any line -> refused", () => {
  const extra = vectors.proof.replace("index", "extra AAEC\nindex");
  assert.equal(parseTlogProof(utf8(extra)).index, 6);
  for (const bad of [
    vectors.proof.replace("@v1", "@v2"),
    vectors.proof.replace("index 6", "index 06"),
    vectors.proof.replace("index 6\n", ""),
    vectors.proof.replace("index 6\n", "index 6\nAAAA\n"),
    extra.replace("AAEC", "AAE"),
    vectors.proof.replaceAll("\n\n", "\n"),
  ]) {
    assert.throws(() => parseTlogProof(utf8(bad)), InvalidError, bad);
  }
});

test("tlog-proof: any leaf of any tree to 80 -> its proof verifies and no other leaf's", () => {
  const key = privateKey(vectors.seeds.log);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 80 }), fc.nat(), (size, at) => {
      const leaves = Array.from({ length: size }, (_, i) => leafHash(utf8(`leaf ${i}`)));
      const tree = new MerkleTree(leaves);
      const index = at % size;
      const text = { origin: log.name, size, root: tree.root };
      const note = parseNote(signCheckpoint(key, text));
      const cosigned = [a, b].map((witness, i) =>
        cosign(witness.name, privateKey([vectors.seeds.a, vectors.seeds.b][i] ?? 0), note.text, 7),
      );
      const checkpoint = encodeNote({ ...note, signatures: [...note.signatures, ...cosigned] });
      const proof = parseTlogProof(
        encodeTlogProof({ index, hashes: tree.proof(index), checkpoint }),
      );
      verifyTlogProof(proof, leaves[index]!, { log, witnesses: [a, b] });
      assert.throws(() => verifyTlogProof(proof, leafHash(utf8("x")), { log, witnesses: [a, b] }));
    }),
    { numRuns: 40 },
  );
});

test("note: a signature of four bytes, a mark of another kind, a line too many -> refused; the largest -> taken", () => {
  const line = (bytes: number, mark = "\u2014"): string =>
    `${mark} w ${Buffer.alloc(bytes, 1).toString("base64")}\n`;
  assert.throws(() => parseSignatures(line(4)), { code: "note.signature-line" });
  assert.equal(parseSignatures(line(5))[0]?.bytes.length, 1);
  assert.throws(() => parseSignatures(line(8, "-")), { code: "note.signature-line" });
  assert.throws(() => parseSignatures(`\u2014 w\n`), { code: "note.signature-line" });
  assert.throws(() => parseSignatures(`\u2014 w AAAAAAAA more\n`), { code: "note.signature-line" });
  assert.equal(
    parseSignatures(line(8).repeat(limits.noteSignatures)).length,
    limits.noteSignatures,
  );
  assert.throws(() => parseSignatures(line(8).repeat(limits.noteSignatures + 1)), {
    code: "note.too-many",
  });
  const longest = "n".repeat(limits.noteName);
  assert.equal(noteKey(longest, noteKeyType.note, log.publicKey).name, longest);
  assert.throws(() => noteKey(`${longest}n`, noteKeyType.note, log.publicKey), {
    code: "note.name",
  });
  const tail = `\n${line(8)}`;
  const fill = limits.note - Buffer.byteLength(tail) - 1;
  assert.equal(parseNote(utf8(`${"x".repeat(fill)}\n${tail}`)).signatures.length, 1);
  assert.throws(() => parseNote(utf8(`${"x".repeat(fill + 1)}\n${tail}`)), {
    code: "note.too-long",
  });
});

test("vkey: with a part missing -> refused", () => {
  for (const text of ["", "name", "name+00000000"]) {
    assert.throws(() => parseVkey(text), { code: "note.vkey" });
  }
});

test("checkpoint: a root of 31 or 33 bytes, an empty line too few -> refused; the origin is spelled out", () => {
  for (const bytes of [0, 31, 33]) {
    const root = Buffer.alloc(bytes, 1).toString("base64");
    assert.throws(() => parseCheckpoint(`o\n1\n${root}\n`), { code: "checkpoint.text" });
  }
  assert.throws(() => parseCheckpoint("o"), { code: "checkpoint.text" });
  assert.throws(() => parseCheckpoint("o\n1"), { code: "checkpoint.text" });
  assert.equal(logOrigin("g1", "0123456789abcdef".repeat(4)), "weir.local/g1/0123456789ab");
});

test("cosignature: of time 0 -> does not verify", () => {
  const text = parseNote(utf8(vectors.signed)).text;
  const key = privateKey(vectors.seeds.a);
  const message = utf8(`cosignature/v1\ntime 0\n${text}`);
  const bytes = Buffer.concat([Buffer.alloc(8), sign(key, message)]);
  assert.throws(() => openCosignature({ name: a.name, id: a.id, bytes }, text, a), {
    code: "cosignature.signature",
  });
  const one = cosign(a.name, key, text, 1);
  assert.equal(openCosignature(one, text, a)?.time, 1);
});
