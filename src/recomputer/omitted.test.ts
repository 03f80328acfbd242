import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { leafHash, merkleRoot } from "../base/merkle.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { logKey, signCheckpoint } from "../format/checkpoint.ts";
import { coinBits, commitmentOf, jointKey, thresholdOf } from "../format/draw.ts";
import {
  decodeLogEntry,
  encodeBootEntry,
  encodeLeaf,
  encodeRoundOpen,
  encodeRoundReveal,
  leafBytes,
} from "../format/leaf.ts";
import { frameType } from "../format/link.ts";
import { decodeLogAsk, encodeLogLeaves } from "../format/log-link.ts";
import { formatVkey, parseVkey } from "../format/note.ts";
import { asTag, makeTag, type Tag } from "../format/tag.ts";
import { FakeClock, quiet } from "../../tests/fake-recomputer.ts";
import { defaultOmissionRules, Omissions, type OmissionRules } from "./omitted.ts";
import { RoundWalk, type WalkNews } from "./round-walk.ts";
import type { FailedPair } from "./shutdown.port.ts";

const bytes = (byte: number): Buffer => Buffer.alloc(32, byte);
const secrets = { gateway: bytes(1), a: bytes(2), b: bytes(3) };
const epsilon = 0.25;

const leaf = (counter: number): Buffer =>
  encodeLeaf({
    ...{ tag: makeTag(1, counter), completedMs: 2000 + counter, seed: 1n, finish: "stop" },
    ...{ entryDigest: bytes(4), inputDigest: bytes(5), outputDigest: bytes(6), tokens: 1 },
  });
const opened = (round: bigint, changes: Partial<typeof secrets> = {}, share = epsilon): Buffer => {
  const of = { ...secrets, ...changes };
  return encodeRoundOpen({
    ...{ round, atMs: 1000, threshold: thresholdOf(share) },
    gateway: commitmentOf("g", round, of.gateway),
    a: commitmentOf("a", round, of.a),
    b: commitmentOf("b", round, of.b),
  });
};
const revealed = (round: bigint, changes: Partial<typeof secrets> = {}): Buffer =>
  encodeRoundReveal({ round, atMs: 9000, ...secrets, ...changes });
const boot = encodeBootEntry({
  ...{
    atMs: 1,
    epoch: 1,
    boot: 0,
    deviceKey: bytes(7),
    measurement: bytes(0),
    whitelist: bytes(0),
  },
});
const pairs = (from: number, to: number): Buffer[] =>
  Array.from({ length: to - from }, (_, i) => leaf(from + i));
const keptOf = (from: number, to: number): Tag[] => {
  const key = jointKey(secrets);
  const tags = Array.from({ length: to - from }, (_, i) => makeTag(1, from + i));
  return tags.filter((tag) => coinBits(key, tag) < thresholdOf(epsilon));
};

const rules: OmissionRules = { ...defaultOmissionRules, epsilonMin: epsilon, graceMs: 5000 };

function walk(entries: readonly Buffer[], over: Partial<OmissionRules> = {}): WalkNews[] {
  return new RoundWalk({ ...rules, ...over }).add(Buffer.concat(entries));
}

const lies = (entries: readonly Buffer[], over: Partial<OmissionRules> = {}): string[] =>
  walk(entries, over).flatMap((news) => (news.kind === "lie" ? [news.why] : []));

test("round walk: an honest log -> each revealed round with the pairs that its coins kept", () => {
  const log = [
    boot,
    opened(1n),
    ...pairs(1, 101),
    opened(2n),
    ...pairs(101, 121),
    revealed(1n),
    ...pairs(121, 150),
    opened(3n),
    revealed(2n),
  ];
  const news = walk(log);
  assert.deepEqual(
    news.map(
      (one) => one.kind === "round" && [one.round, one.pairs, one.kept.map(({ tag }) => tag)],
    ),
    [
      [1n, 120, keptOf(1, 121)],
      [2n, 29, keptOf(121, 150)],
    ],
  );
});

test("round walk: the coins -> the vectors of spec/vectors/leaf.json, which Python wrote", () => {
  const file = new URL("../../spec/vectors/leaf.json", import.meta.url);
  const { rounds } = JSON.parse(readFileSync(file, "utf8")) as {
    rounds: { open: string; reveal: string; coins: { tag: string; bits: string; kept: boolean }[] };
  };
  const [open, reveal] = [rounds.open, rounds.reveal].map((hex) => Buffer.from(hex, "hex"));
  const entry = decodeLogEntry(reveal ?? Buffer.alloc(0));
  assert.ok(entry.kind === "round-reveal");
  const tags = rounds.coins.map(({ tag }) => asTag(BigInt(`0x${tag}`)));
  assert.deepEqual(
    tags.map((tag) => coinBits(jointKey(entry), tag).toString(16)),
    rounds.coins.map(({ bits }) => bits),
  );
  const first = [1n, 2n].map((round) => opened(round));
  const log = [
    ...first,
    revealed(1n),
    open ?? boot,
    revealed(2n),
    ...pairs(1, 21),
    opened(4n),
    reveal ?? boot,
  ];
  const last = walk(log).at(-1);
  assert.ok(last?.kind === "round");
  assert.deepEqual(
    last.kept.map(({ tag }) => tag),
    tags.filter((_, i) => rounds.coins[i]?.kept),
  );
});

test("round walk: every rule broken -> told, with the round", () => {
  const other = { gateway: bytes(9) };
  assert.deepEqual(lies([opened(1n), ...pairs(1, 5), opened(2n), revealed(1n, other)]), [
    "the secret of the gateway is not the one that was committed to",
  ]);
  assert.deepEqual(lies([opened(1n), opened(2n), revealed(1n, { b: bytes(9) })]), [
    "the secret of party B is not the one that was committed to",
  ]);
  assert.deepEqual(lies(pairs(1, 3)), ["pairs outside any round"]);
  assert.deepEqual(lies([opened(1n), revealed(1n), ...pairs(1, 2)]), [
    "it was revealed before another was agreed",
    "pairs outside any round",
  ]);
  assert.deepEqual(lies([opened(1n), opened(3n)]), [
    "it was opened after round 1: rounds rise by one",
  ]);
  assert.deepEqual(lies([opened(1n), opened(2n), revealed(1n), opened(2n)]), [
    "it was opened after round 2: rounds rise by one",
  ]);
  assert.deepEqual(lies([opened(1n), opened(2n), opened(3n)]), [
    "it was opened while two others were not revealed",
  ]);
  assert.deepEqual(lies([opened(1n), opened(2n), revealed(2n)]), ["it was revealed out of turn"]);
  assert.deepEqual(lies([opened(1n, {}, 0.125)]), ["its epsilon is 0.125, agreed is 0.25"]);
  const late = "it goes on and is not revealed";
  assert.deepEqual(lies([opened(1n), ...pairs(1, 12)], { lateEntries: 10 }), [late]);
});

test("round walk: a party's commitment copied by the other -> its reveal cannot fit", () => {
  const key = { a: commitmentOf("a", 1n, bytes(2)) };
  const copied = encodeRoundOpen({
    ...{
      round: 1n,
      atMs: 1000,
      threshold: thresholdOf(epsilon),
      gateway: commitmentOf("g", 1n, bytes(1)),
    },
    ...{ a: key.a, b: key.a },
  });
  assert.deepEqual(lies([copied, opened(2n), revealed(1n, { b: bytes(2) })]), [
    "the secret of party B is not the one that was committed to",
  ]);
});

const logSecret = privateKeyFromSeed(bytes(0x55));
const log = parseVkey(formatVkey(logKey("g1", publicKeyHex(logSecret))));

/** A gateway that answers from a list of entries, and a recomputer that received some pairs. */
class Scene {
  readonly clock = new FakeClock();
  readonly received = new Set<Tag>();
  readonly failed: FailedPair[] = [];
  readonly alarms: string[] = [];
  settled = true;
  entries: Buffer[] = [];
  /** What LOG_LEAVES hold, where that is not what the checkpoint covers. */
  shown: Buffer[] | null = null;
  readonly omissions: Omissions;

  constructor(over: Partial<OmissionRules> = {}) {
    this.omissions = new Omissions({
      ...{ clock: this.clock, log: quiet, rules: { ...rules, ...over } },
      gateways: new Map([["g1", { log, witnesses: [] }]]),
      received: (_, tag) => this.received.has(tag),
      settled: () => this.settled,
      connected: () => true,
      send: (_, type, payload) => {
        if (type === frameType.logWatch) this.#answer(frameType.logCosigned, this.#note());
        else this.#answer(frameType.logLeaves, this.#leaves(payload));
      },
      alarms: {
        raise: (_, kind, __, text) => this.alarms.push(`${kind}: ${text}`),
        clear: () => undefined,
      },
      failed: (fail) => this.failed.push(fail),
    });
  }

  get reasons(): string[] {
    return this.failed.map(({ reason }) => reason);
  }

  #answer(type: number, payload: Buffer): void {
    this.omissions.onFrame("g1", { type, id: 0n, payload });
  }

  #note(): Buffer {
    const root = merkleRoot(this.entries.map((entry) => leafHash(entry)));
    return signCheckpoint(logSecret, { origin: log.name, size: this.entries.length, root });
  }

  #leaves(payload: Uint8Array): Buffer {
    const { from, count } = decodeLogAsk(payload);
    const all = this.shown ?? this.entries;
    // In small pages, as a slow gateway would.
    const some = all.slice(Number(from), Number(from) + Math.min(count, 7));
    return encodeLogLeaves({ from, entries: Buffer.concat(some) });
  }

  async pass(ms: number): Promise<void> {
    for (let done = 0; done < ms; done += 1000) {
      await this.clock.advance(1000);
      this.omissions.tick();
    }
  }
}

const twoRounds = [boot, opened(1n), ...pairs(1, 101), opened(2n), revealed(1n)];

test("omitted: every kept pair came, some of them late -> nothing is raised", async () => {
  const scene = new Scene();
  scene.entries = twoRounds;
  const kept = keptOf(1, 101);
  for (const tag of kept.slice(0, -2)) scene.received.add(tag);
  await scene.pass(3000);
  assert.equal(scene.omissions.status()[0]?.waiting, 2);
  for (const tag of kept) scene.received.add(tag);
  await scene.pass(20_000);
  const [status] = scene.omissions.status();
  assert.deepEqual(scene.alarms, []);
  assert.deepEqual(
    [status?.rounds, status?.pairs, status?.kept, status?.waiting, status?.omitted],
    [1, 100, kept.length, 0, 0],
  );
});

test("omitted: one kept pair never comes -> sampler.omitted, named, and a shutdown; what the coins deleted is no matter", async () => {
  const scene = new Scene();
  scene.entries = twoRounds;
  const [skipped, ...others] = keptOf(1, 101);
  for (const tag of others) scene.received.add(tag);
  // While the gateway still has something to send, nothing is said.
  scene.settled = false;
  await scene.pass(60_000);
  assert.equal(scene.reasons.length, 0);
  scene.settled = true;
  await scene.pass(7000);
  assert.equal(scene.reasons.length, 1);
  assert.match(scene.reasons[0] ?? "", /^sampler\.omitted: round 1: a pair that its coins kept/);
  assert.ok(scene.reasons[0]?.includes(skipped?.toString(16).padStart(16, "0") ?? "?"));
  await scene.pass(20_000);
  assert.equal(scene.failed.length, 1, "once");
});

test("omitted: pairs lost right before a start -> excused up to the budget, and not one more", async () => {
  const kept = keptOf(1, 101);
  const entries = [boot, opened(1n), ...pairs(1, 101), boot, opened(2n), revealed(1n)];
  const lose = async (count: number): Promise<Scene> => {
    const scene = new Scene({ crashPairs: 2, crashEntries: 1000 });
    scene.entries = entries;
    for (const tag of kept.slice(0, kept.length - count)) scene.received.add(tag);
    await scene.pass(10_000);
    return scene;
  };
  const two = await lose(2);
  assert.deepEqual([two.failed.length, two.omissions.status()[0]?.excused], [0, 2]);
  const three = await lose(3);
  assert.deepEqual([three.failed.length, three.omissions.status()[0]?.omitted], [1, 1]);
});

test("omitted: s_G changed after s_A was seen -> sampler.bias and a shutdown", async () => {
  const scene = new Scene();
  scene.entries = [
    boot,
    opened(1n),
    ...pairs(1, 101),
    opened(2n),
    revealed(1n, { gateway: bytes(9) }),
  ];
  await scene.pass(2000);
  assert.equal(scene.failed.length, 1);
  assert.match(scene.failed[0]?.reason ?? "", /sampler\.bias: round 1: the secret of the gateway/);
});

test("omitted: leaves left out of what is shown, or changed -> not those of the checkpoint, told", async () => {
  for (const shown of [
    [...twoRounds.slice(0, 50), ...twoRounds.slice(51), leaf(101)],
    [...twoRounds.slice(0, -1), revealed(1n, { gateway: bytes(9) })],
  ]) {
    const scene = new Scene();
    scene.entries = twoRounds;
    scene.shown = shown;
    await scene.pass(1000);
    assert.match(scene.failed[0]?.reason ?? "", /not those of its checkpoint/);
    assert.equal(scene.omissions.status()[0]?.kept, 0, "and nothing of it counts");
  }
});

test("omitted: a checkpoint without the cosignature that is asked for, or of another key -> not read", async () => {
  const scene = new Scene();
  scene.entries = twoRounds;
  const other = privateKeyFromSeed(bytes(0x66));
  const note = signCheckpoint(other, { origin: log.name, size: 1, root: leafHash(boot) });
  scene.omissions.onFrame("g1", { type: frameType.logCosigned, id: 0n, payload: note });
  assert.match(scene.alarms[0] ?? "", /^draw\.log: its log cannot be read/);
  assert.equal(scene.omissions.status()[0]?.walked, 0);
  await scene.pass(1000);
  assert.equal(scene.omissions.status()[0]?.walked, twoRounds.length);
  assert.equal(twoRounds[0]?.length, leafBytes);
});

test("omitted: a round that is never revealed -> sampler.bias, in time that its gateway was connected", async () => {
  const scene = new Scene({ lateMs: 20_000 });
  scene.entries = [boot, opened(1n), ...pairs(1, 3)];
  await scene.pass(15_000);
  assert.deepEqual(scene.reasons, []);
  await scene.pass(10_000);
  assert.deepEqual(scene.reasons, ["sampler.bias: round 1: it goes on and is not revealed"]);
});

test("omitted: a gateway that shows nothing of its log -> alarm", async () => {
  const scene = new Scene({ silentMs: 3000 });
  await scene.pass(5000);
  assert.match(scene.alarms[0] ?? "", /^draw\.silent/);
});
