/** One tampering for each thing that the audit looks at, with the code that it must be found by. */
import { sha256 } from "../src/base/hash.ts";
import { publicKeyHex, sign } from "../src/base/sign.ts";
import { attestationMessage } from "../src/format/boot-certificate.ts";
import { endorse, signContribution, signResult, type Transcript } from "../src/format/ceremony.ts";
import { logKey } from "../src/format/checkpoint.ts";
import { cosign } from "../src/format/cosignature.ts";
import { encodeDrawCommit } from "../src/format/draw.ts";
import { encodeEnvelope, parseEnvelope, sealEnvelope } from "../src/format/dsse.ts";
import {
  encodeCommitLine,
  evidencePaths,
  manifestPath,
  sealRecord,
} from "../src/format/evidence.ts";
import { encodeNote, formatVkey, parseNote, signNote } from "../src/format/note.ts";
import { inputDigestOf } from "../src/format/leaf.ts";
import type { Order } from "../src/format/order.ts";
import { encodeInput } from "../src/format/pair.ts";
import { sealTrustRoot, type RootContents } from "../src/format/trust-root.ts";
import { entryJson, sealWhitelist, whitelistType } from "../src/format/whitelist.ts";
import { bootManifestType } from "../src/log/audit-claims.ts";
import {
  boot,
  bundleOf,
  checkpoint,
  disclose,
  endMs,
  gateway,
  honestEntries,
  honestScene,
  keys,
  listed,
  orderDigest,
  origin,
  pair,
  places,
  release,
  resealed,
  roundOpen,
  roundReveal,
  shutdown,
  textsOf,
  type BundleFiles,
  type Scene,
} from "./evidence-scene.ts";
import { parties, testRoot } from "./support.ts";

export interface Tampering {
  readonly name: string;
  readonly code: string;
  readonly files: () => BundleFiles;
  readonly epsilonMin?: number;
}

/** A gateway, party or recomputer that signs something else than an honest one. */
function scene(
  code: string,
  name: string,
  change: (scene: Scene) => void,
  epsilonMin?: number,
): Tampering {
  const files = (): BundleFiles => {
    const made = honestScene();
    change(made);
    return bundleOf(made);
  };
  return { name, code, files, ...(epsilonMin === undefined ? {} : { epsilonMin }) };
}

/** Other entries, with everything else as it follows from them. */
function log(
  code: string,
  name: string,
  change: (entries: Buffer[]) => void,
  epsilonMin?: number,
): Tampering {
  const changed = (made: Scene): void => {
    change(made.entries);
    made.earlier = [];
  };
  return scene(code, name, changed, epsilonMin);
}

/** Somebody who holds no key changes a file, and names it rightly in the manifest. */
function forged(
  code: string,
  name: string,
  path: string,
  change: (bytes: Buffer, files: BundleFiles) => Buffer | string | null,
): Tampering {
  const files = (): BundleFiles => {
    const all = bundleOf(honestScene());
    const changed = change(Buffer.from(all.get(path) ?? Buffer.alloc(0)), all);
    if (changed === null) all.delete(path);
    else all.set(path, Buffer.from(changed));
    return resealed(all);
  };
  return { name, code, files };
}

/** The files are changed and the manifest is not. */
function unsealed(code: string, name: string, change: (files: BundleFiles) => void): Tampering {
  const files = (): BundleFiles => {
    const all = bundleOf(honestScene());
    change(all);
    return all;
  };
  return { name, code, files };
}

const P = evidencePaths;
const list = "trust/whitelist-1.json";
const text = (bytes: Buffer): string => bytes.toString("latin1");
const flip = (bytes: Buffer, at: number): Buffer => {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
};

const manifests: Tampering[] = [
  unsealed("manifest.missing", "no manifest", (files) => files.delete(manifestPath)),
  unsealed("manifest.format", "a manifest that names a key twice", (files) => {
    const json = text(files.get(manifestPath) ?? Buffer.alloc(0));
    files.set(manifestPath, Buffer.from(json.replace('"gateway"', '"gateway": "g2", "gateway"')));
  }),
  unsealed("manifest.missing", "a file is gone", (files) => files.delete(P.orders)),
  unsealed("manifest.size", "a file is cut", (files) => {
    files.set(P.entries, (files.get(P.entries) ?? Buffer.alloc(0)).subarray(128));
  }),
  unsealed("manifest.digest", "a byte of a file is another", (files) => {
    files.set(P.entries, flip(Buffer.from(files.get(P.entries) ?? Buffer.alloc(0)), 300));
  }),
  unsealed("manifest.unlisted", "a file that nobody named", (files) => {
    files.set("notes.txt", Buffer.from("believe me"));
  }),
  forged("manifest.missing", "no trust root", P.root, () => null),
  forged("manifest.missing", "no whitelist", list, () => null),
  forged("manifest.missing", "no entries", P.entries, () => null),
];

const root: RootContents = testRoot;
const both = [parties.a, parties.b];
const sealedRoot = (change: Partial<RootContents>, by = both): string =>
  `${encodeEnvelope(sealTrustRoot({ ...root, ...change }, by))}\n`;
const strangerHex = publicKeyHex(keys.stranger);

const roots: Tampering[] = [
  forged("root.format", "an empty trust root", P.root, () => ""),
  forged("root.format", "a trust root that is no envelope", P.root, () => "{}\n"),
  forged(
    "root.format",
    "a trust root of another type",
    P.root,
    () => `${encodeEnvelope(sealEnvelope("x", Buffer.from("{}"), both))}\n`,
  ),
  forged("root.format", "a trust root in which a key stands twice, signed by both", P.root, () =>
    sealedRoot({ b: { ...root.b, keys: [...root.b.keys, ...root.b.keys] } }),
  ),
  forged("root.signature", "a trust root that party B did not sign", P.root, () =>
    sealedRoot({}, [parties.a]),
  ),
  forged("root.party", "a trust root with a key that party A does not know", P.root, () =>
    sealedRoot({ a: { ...root.a, keys: [...root.a.keys, strangerHex] } }),
  ),
  forged("root.signature", "a trust root of two strangers", P.root, () => {
    const [a, b] = [
      { ...root.a, keys: [strangerHex] },
      { ...root.b, keys: [publicKeyHex(keys.subject)] },
    ];
    return sealedRoot({ a, b }, [keys.stranger, keys.subject]);
  }),
  forged("root.version", "a chain that begins with version 2", P.root, () =>
    sealedRoot({ version: 2 }),
  ),
  forged(
    "root.version",
    "a chain that leaves out version 2",
    P.root,
    (bytes) => `${text(bytes)}${sealedRoot({ version: 3 })}`,
  ),
  forged("root.signature", "a second root that only its own keys signed", P.root, (bytes) => {
    const a = { ...root.a, keys: [strangerHex] };
    return `${text(bytes)}${sealedRoot({ version: 2, a }, [keys.stranger, parties.b])}`;
  }),
];

const draft = { version: 1, rootVersion: 1, expiresMs: 8e15, entries: [listed.entry] };
const sealedList = (change: Partial<typeof draft>, by = both): string =>
  encodeEnvelope(sealWhitelist({ ...draft, ...change }, by));

const whitelists: Tampering[] = [
  forged("whitelist.format", "a whitelist that is no JSON", list, (bytes) => bytes.subarray(1)),
  forged("whitelist.signature", "a whitelist that party A did not sign", list, () =>
    sealedList({}, [parties.b]),
  ),
  forged("whitelist.signature", "a whitelist that party B signed twice", list, () =>
    sealedList({}, [parties.b, parties.b]),
  ),
  forged("whitelist.signature", "a signed whitelist of which a byte is another", list, (bytes) => {
    const { payload, ...rest } = parseEnvelope(bytes);
    return encodeEnvelope({ ...rest, payload: flip(Buffer.from(payload), 40) });
  }),
  forged("whitelist.format", "a whitelist with an unknown field, signed by both", list, () => {
    const entries = [{ ...entryJson(listed.entry), extra: 1 }];
    return encodeEnvelope(
      sealEnvelope(whitelistType, Buffer.from(JSON.stringify({ ...draft, entries })), both),
    );
  }),
  forged("whitelist.root", "a whitelist for a root version that is not here", list, () =>
    sealedList({ rootVersion: 2 }),
  ),
  forged("whitelist.version", "two whitelists of one version", "trust/whitelist-2.json", () =>
    sealedList({ expiresMs: 7e15 }),
  ),
  scene("entry.model", "a whitelist without the model that was served", (made) => {
    made.entries[places.firstPair] = pair(1, 1, { entryDigest: Buffer.alloc(32, 9) });
    made.earlier = [];
  }),
];

function resigned(transcript: Transcript, change: Partial<Transcript["proposal"]>): Transcript {
  const proposal = { ...transcript.proposal, ...change };
  const of = (party: "a" | "b"): ReturnType<typeof signContribution> =>
    signContribution(
      proposal,
      party,
      { commitment: "04".repeat(32), sealed: "0506" },
      keys.boot[party],
    );
  const open: Transcript = {
    proposal,
    contributions: { a: of("a"), b: of("b") },
    result: null,
    endorsements: {},
  };
  const { result } = transcript;
  if (result === null) return open;
  const finished = {
    ...open,
    result: { ...result, signature: signResult(open, result, keys.identity) },
  };
  return {
    ...finished,
    endorsements: { a: endorse(finished, keys.boot.a), b: endorse(finished, keys.boot.b) },
  };
}

const devices: Tampering[] = [
  forged("ceremony.format", "a transcript with an unknown field", P.ceremony, (bytes) =>
    text(bytes).replace('"format": 1', '"format": 1, "more": 1'),
  ),
  scene("ceremony.party", "a ceremony with a stranger for party B", (made) => {
    made.ceremony = resigned(made.ceremony, { b: strangerHex });
  }),
  scene("ceremony.signature", "a ceremony of which an endorsement is missing", (made) => {
    const { a = "" } = made.ceremony.endorsements;
    made.ceremony = { ...made.ceremony, endorsements: { a } };
  }),
  scene("ceremony.signature", "device keys that nobody endorsed", (made) => {
    const { result } = made.ceremony;
    if (result !== null)
      made.ceremony = { ...made.ceremony, result: { ...result, device: strangerHex } };
  }),
  scene("ceremony.gateway", "the ceremony of another gateway", (made) => {
    made.ceremony = resigned(made.ceremony, { gateway: "g2" });
  }),
  forged(
    "log.key",
    "a log key of another gateway",
    P.logKey,
    () => `${formatVkey(logKey("g2", publicKeyHex(keys.stranger)))}\n`,
  ),
  forged(
    "log.key",
    "a second line behind the log key",
    P.logKey,
    (bytes) => `${text(bytes)}more\n`,
  ),
  forged("log.key", "without a ceremony, a log key of another gateway", P.logKey, (_, files) => {
    files.delete(P.ceremony);
    return `${formatVkey(logKey("g2", publicKeyHex(keys.stranger)))}\n`;
  }),
  scene("log.key", "a log that another key signs", (made) => {
    made.log = keys.stranger;
  }),
];

const note = (change: (text: string) => string, log = honestScene().log): Buffer => {
  const body = change(parseNote(bundleOf(honestScene()).get(P.checkpoint) ?? Buffer.alloc(0)).text);
  const cosigned = (["a", "b"] as const).map((party) =>
    cosign(`weir.local/witness/${party}`, keys.witness[party], body, 1_800_000_000),
  );
  return encodeNote({ text: body, signatures: [signNote(origin, log, body), ...cosigned] });
};
const notOf = (bytes: Buffer, who: string): string =>
  bytes
    .toString("utf8")
    .split("\n")
    .filter((line) => !line.includes(`\u2014 ${who} `))
    .join("\n");
const swapSignature = (bytes: Buffer, who: string): Buffer => {
  const parsed = parseNote(bytes);
  const signatures = parsed.signatures.map((one) =>
    one.name === who ? { ...one, bytes: flip(Buffer.from(one.bytes), 20) } : one,
  );
  return encodeNote({ ...parsed, signatures });
};

const checkpoints: Tampering[] = [
  forged("checkpoint.format", "a checkpoint with a fourth line", P.checkpoint, () =>
    note((body) => `${body}more\n`),
  ),
  forged("checkpoint.origin", "a checkpoint of another log", P.checkpoint, () =>
    note((body) => body.replace("g1", "g2")),
  ),
  forged(
    "checkpoint.signature",
    "a checkpoint without the log's signature",
    P.checkpoint,
    (bytes) => notOf(bytes, origin),
  ),
  forged("checkpoint.signature", "a checkpoint with a wrong signature", P.checkpoint, (bytes) =>
    swapSignature(bytes, origin),
  ),
  forged("checkpoint.cosignature", "party B's witness did not cosign", P.checkpoint, (bytes) =>
    notOf(bytes, "weir.local/witness/b"),
  ),
  forged(
    "checkpoint.cosignature",
    "party A's cosignature is of another text",
    P.checkpoint,
    (bytes) => swapSignature(bytes, "weir.local/witness/a"),
  ),
  scene("checkpoint.cosignature", "one key cosigns for both parties", (made) => {
    made.cosigners = { a: keys.witness.a, b: keys.witness.a };
  }),
  forged(
    "checkpoint.signature",
    "an earlier checkpoint that the log did not sign",
    "log/earlier-1",
    (bytes) => notOf(bytes, origin),
  ),
];

const swapped = (entries: Buffer[], i: number, j: number): void => {
  const [one = Buffer.alloc(0), other = Buffer.alloc(0)] = [entries[i], entries[j]];
  [entries[i], entries[j]] = [other, one];
};

const logs: Tampering[] = [
  forged("log.size", "the last entry is cut", P.entries, (bytes) => bytes.subarray(0, -1)),
  forged("log.size", "a byte behind the last entry", P.entries, (bytes) =>
    Buffer.concat([bytes, Buffer.of(0)]),
  ),
  forged("log.size", "an entry is missing", P.entries, (bytes) => bytes.subarray(0, -128)),
  forged("log.root", "a bit of an entry is another", P.entries, (bytes) =>
    flip(bytes, 128 * 28 + 60),
  ),
  forged("log.root", "two entries are swapped", P.entries, (bytes) => {
    const entries = Array.from({ length: bytes.length / 128 }, (_, i) =>
      bytes.subarray(128 * i, 128 * i + 128),
    );
    swapped(entries, 27, 28);
    return Buffer.concat(entries);
  }),
  forged("log.earlier", "the gateway once signed another history", "log/earlier-1", () => {
    const entries = honestEntries();
    entries[3] = pair(1, 2, { tokens: 99 });
    return checkpoint(honestScene(), entries, 5);
  }),
  forged(
    "log.earlier",
    "the gateway signed a longer log, which is not shown",
    "log/earlier-2",
    () => checkpoint(honestScene(), [...honestEntries(), pair(2, 9)], 31),
  ),
  log("entry.format", "an entry of an unknown kind", (entries) =>
    entries.push(Buffer.alloc(128, 7)),
  ),
  log("entry.format", "a start with bytes behind its last field", (entries) => {
    entries.push(flip(boot(3), 127));
  }),
  log("entry.boot", "an epoch that was there before", (entries) => entries.push(boot(2))),
  log("entry.boot", "a pair of an epoch that never started", (entries) => entries.push(pair(3, 1))),
  log("entry.boot", "a log that does not begin with a start", (entries) => entries.shift()),
  log("entry.tag", "a tag stands twice", (entries) => entries.push(pair(2, 1, { seed: 99n }))),
  log("entry.expired", "a pair under a whitelist that was over at the start", (entries) => {
    entries.push(boot(3, { atMs: 8e15 }), pair(3, 1));
  }),
];

const rounds: Tampering[] = [
  log("round.order", "a round is left out", (entries) => entries.push(roundOpen(5))),
  log("round.order", "three rounds are open", (entries) =>
    entries.push(roundOpen(4), roundOpen(5)),
  ),
  log("round.order", "a round is revealed twice", (entries) => entries.push(roundReveal(2))),
  log("round.order", "a round is revealed before the next is agreed", (entries) => {
    swapped(entries, places.open2, places.reveal1);
  }),
  log("round.outside", "a pair before the first round", (entries) => {
    swapped(entries, places.open1, places.firstPair);
  }),
  log(
    "round.epsilon",
    "fewer pairs are sampled than was agreed",
    (entries) => entries.push(roundOpen(4, 0.01)),
    0.25,
  ),
  log("round.secret", "the gateway reveals another secret than it committed to", (entries) => {
    entries[places.reveal1] = flip(Buffer.from(entries[places.reveal1] ?? ""), 30);
  }),
  log("round.secret", "party B reveals another secret", (entries) => {
    entries[places.reveal1] = flip(Buffer.from(entries[places.reveal1] ?? ""), 90);
  }),
];

const boots: Tampering[] = [
  log("boot.device", "a start of another device", (entries) => {
    entries.push(boot(3, { deviceKey: Buffer.from(strangerHex, "hex") }));
  }),
  forged(
    "boot.manifest",
    "a boot manifest that party A did not sign",
    "boot/manifest-1.json",
    (bytes) => {
      const { payload } = parseEnvelope(bytes);
      return encodeEnvelope(sealEnvelope(bootManifestType, payload, [keys.boot.b]));
    },
  ),
  ...["identity", "measurement", "certificate", "attestation", "device", "log", "subject"].map(
    (field) =>
      scene("boot.chain", `a boot chain with another ${field}`, (made) => {
        const old = made.chain[field] ?? "";
        made.chain = {
          ...made.chain,
          [field]: `${old.slice(0, -1)}${old.endsWith("0") ? "1" : "0"}`,
        };
      }),
  ),
  scene("boot.chain", "what was measured vouches for another log key", (made) => {
    const shown = { gateway, measurement: made.chain["measurement"] ?? "", log: strangerHex };
    const message = attestationMessage({ ...shown, device: made.chain["device"] ?? "" });
    const attestation = sign(keys.subject, message).toString("hex");
    made.chain = { ...made.chain, log: strangerHex, attestation };
  }),
  log("boot.chain", "a boot chain of a start that is not in the log", (entries) => {
    for (const [i, epoch] of [
      [places.boot1, 1],
      [places.boot2, 2],
    ] as const) {
      entries[i] = boot(epoch, { measurement: sha256(Buffer.from("another")) });
    }
  }),
  forged(
    "boot.chain",
    "a boot chain whose manifest is not here",
    "boot/manifest-1.json",
    () => null,
  ),
];

function shown(
  code: string,
  name: string,
  change: (made: Scene, first: Scene["disclosed"][number]) => Scene["disclosed"],
): Tampering {
  return scene(code, name, (made) => {
    const [first] = made.disclosed;
    if (first !== undefined) made.disclosed = change(made, first);
  });
}

const pairs: Tampering[] = [
  forged("pair.format", "a disclosed pair with an unknown field", P.pairs, (bytes) =>
    text(bytes).replace("{", '{"x":1,'),
  ),
  shown("pair.index", "a pair that is not in the log", (_, first) => [{ ...first, index: 1000 }]),
  shown("pair.index", "a mark shown as a pair", (_, first) => [{ ...first, index: places.open1 }]),
  shown("pair.twice", "a pair is shown twice", (_, first) => [first, first]),
  shown("pair.digest", "another input is shown", (_, first) => [
    { ...first, input: textsOf(1, 9).input },
  ]),
  shown("pair.digest", "another output is shown", (_, first) => [
    { ...first, output: textsOf(1, 9).output },
  ]),
  shown("pair.digest", "another salt is shown", (_, first) => [
    { ...first, salt: Buffer.alloc(32) },
  ]),
  shown("pair.digest", "the texts of another entry are shown", (made) => [
    { ...disclose(made.entries, 4), index: 5 },
  ]),
  scene("pair.content", "the leaf counts other tokens than its output has", (made) => {
    made.entries[2] = pair(1, 1, { tokens: 5 });
    made.earlier = [];
    made.disclosed = [{ ...disclose(made.entries, 2) }];
  }),
  scene("pair.content", "the input asks for another model than served it", (made) => {
    const params = { maxTokens: 8, temperature: 1, topK: 40, topP: 0.9, stops: [] };
    const input = encodeInput({ modelId: "big", params, prompt: { kind: "text", text: "hello" } });
    const inputDigest = inputDigestOf(textsOf(1, 1).salt, input);
    made.entries[2] = pair(1, 1, { inputDigest });
    made.earlier = [];
    made.disclosed = [{ ...disclose(made.entries, 2), input }];
  }),
  scene("pair.content", "the leaf says that its output was cut off", (made) => {
    made.entries[2] = pair(1, 1, { finish: "length" });
    made.earlier = [];
    made.disclosed = [{ ...disclose(made.entries, 2) }];
  }),
];

const draws: Tampering[] = [
  forged("draw.format", "a commitment of nobody", P.commits, () =>
    encodeCommitLine(Buffer.alloc(8)),
  ),
  scene("draw.signature", "a commitment with a wrong signature", (made) => {
    made.commits = [flip(Buffer.from(made.commits[0] ?? ""), 100)];
  }),
  scene("draw.signature", "party B's commitment signed by party A", (made) => {
    const body = {
      gateway,
      round: 1n,
      party: "b",
      answers: Buffer.alloc(32),
      commitment: Buffer.alloc(32),
    } as const;
    made.commits = [encodeDrawCommit(body, keys.draw.a)];
  }),
  scene("draw.commitment", "a party signed another commitment than the log has", (made) => {
    const body = {
      gateway,
      round: 1n,
      party: "a",
      answers: Buffer.alloc(32),
      commitment: Buffer.alloc(32),
    } as const;
    made.commits = [encodeDrawCommit(body, keys.draw.a)];
  }),
  scene("draw.commitment", "a commitment for a round that the log does not open", (made) => {
    const body = {
      gateway,
      round: 9n,
      party: "a",
      answers: Buffer.alloc(32),
      commitment: Buffer.alloc(32),
    } as const;
    made.commits = [encodeDrawCommit(body, keys.draw.a)];
  }),
];

function recorded(
  code: string,
  name: string,
  change: (record: Scene["record"]) => Partial<Scene["record"]>,
): Tampering {
  return scene(code, name, (made) => {
    made.record = { ...made.record, ...change(made.record) };
  });
}

const records: Tampering[] = [
  forged("record.format", "a record with an unknown field, signed", P.record, () => {
    const record = { ...honestScene().record, more: 1 };
    return encodeEnvelope(sealRecord(record, keys.recomputer));
  }),
  scene("record.signature", "a record that a stranger signed", (made) => {
    made.recordKey = keys.stranger;
  }),
  recorded("record.gateway", "the record of another gateway", () => ({ gateway: "g2" })),
  recorded("record.gateway", "the record of another log", () => ({
    origin: "weir.local/g1/000000000000",
  })),
  recorded("verdict.twice", "two verdicts on one pair", ({ verdicts }) => ({
    verdicts: [...verdicts, ...verdicts.slice(0, 1)],
  })),
  recorded("verdict.pair", "a verdict on a pair of another tag", ({ verdicts }) => ({
    verdicts: verdicts.map((one) => ({ ...one, tag: "0000010000000001" })),
  })),
  recorded("verdict.request", "a verdict on another request than is shown", ({ verdicts }) => ({
    verdicts: verdicts.map((one) => ({ ...one, request: "00".repeat(32) })),
  })),
  recorded(
    "verdict.missing",
    "more kept pairs were never judged than a crash may lose",
    ({ verdicts }) => ({
      verdicts: verdicts.slice(0, -5),
    }),
  ),
];

function ordered(code: string, name: string, change: (made: Scene) => void): Tampering {
  return scene(code, name, change);
}

const other: Order = { ...shutdown, gateway: "g2" };
const orders: Tampering[] = [
  forged("order.format", "an order that is no envelope", P.orders, () => "[]\n"),
  ordered("order.signature", "an order that a stranger signed", (made) => {
    made.orders[0] = { order: shutdown, key: keys.stranger };
  }),
  ordered("order.entitled", "a release that the recomputer signed", (made) => {
    made.orders[1] = { order: release, key: keys.recomputer };
  }),
  ordered("order.gateway", "an order to another gateway", (made) => {
    made.orders.push({ order: other, key: keys.recomputer });
  }),
  ordered("order.release", "a release of an order that is not here", (made) => {
    made.orders.shift();
    made.record = { ...made.record, orders: [] };
  }),
  ordered("order.absent", "an order of the record is left out", (made) => {
    made.orders = [];
  }),
  ordered("order.missing", "a FAIL that nobody acted on", (made) => {
    made.orders = [];
    made.record = { ...made.record, orders: [], releases: [] };
  }),
  ordered(
    "order.missing",
    "a FAIL of a pair that was served long after the only shutdown",
    (made) => {
      const settledMs = endMs - 8_500_000;
      made.record = { ...made.record, orders: [{ digest: orderDigest(shutdown), settledMs }] };
    },
  ),
  ordered("order.ignored", "the gateway served on after it had obeyed a shutdown", (made) => {
    made.orders = [{ order: shutdown, key: keys.recomputer }];
    made.record = { ...made.record, releases: [] };
    made.entries.push(pair(2, 50, { completedMs: endMs }));
    made.earlier = [];
  }),
];

export const tamperings: readonly Tampering[] = [
  ...[
    ...manifests,
    ...roots,
    ...whitelists,
    ...devices,
    ...checkpoints,
    ...logs,
    ...rounds,
    ...boots,
  ],
  ...[...pairs, ...draws, ...records, ...orders],
];
