import assert from "node:assert/strict";
import { test } from "node:test";
import { openRecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { UnavailableError } from "../base/assert.ts";
import { frameType } from "../format/link.ts";
import type { Candidates } from "../format/noise.ts";
import { encodeEpoch } from "../format/proof-request.ts";
import { makeTag } from "../format/tag.ts";
import {
  defaultLadder,
  distribution,
  entry,
  epochKey,
  FakeClock,
  FakeEngine,
  FakeWire,
  proofRequest,
  quiet,
  settled,
} from "../../tests/fake-recomputer.ts";
import { testProfile } from "../../tests/support.ts";
import type { Executor, Move } from "./executor.port.ts";
import { blindEngine, Lockstep } from "./lockstep.ts";
import { Recomputer } from "./serve.ts";
import type { VerdictStore } from "./store.port.ts";

const deadline = { baseMs: 1000, perTokenMs: 10 };
const down = new UnavailableError("engine.down", "it crashed", "none");

/** One thing that the executor was told, or said. */
type Event =
  | { readonly told: "prompt" | "token"; readonly slot: number; readonly ids: readonly number[] }
  | { readonly told: "nothing" | "end"; readonly slot: number }
  | { readonly answered: number; readonly slot: number };

/** An executor that notes all that it is told, in order with what it answered. */
class SpyExecutor implements Executor {
  readonly slots: number;
  readonly vocabularySize = 96;
  readonly contextTokens = 300;
  readonly events: Event[] = [];
  ended = 0;
  /** Answers wait for this. */
  gate: Promise<void> = Promise.resolve();
  /** Fails a step in which a slot has been told these ids in a row. */
  poison = "none";
  readonly #known = new Map<number, number[]>();
  readonly #counts = new Map<number, number>();

  constructor(slots: number) {
    this.slots = slots;
  }

  open(slot: number, promptIds: readonly number[], count: number): void {
    assert.ok(!this.#known.has(slot) && slot < this.slots);
    this.#known.set(slot, [...promptIds]);
    this.#counts.set(slot, count);
    this.events.push({ told: "prompt", slot, ids: promptIds });
  }

  async step(moves: readonly Move[]): Promise<Candidates[]> {
    for (const { slot, token } of moves) {
      if (token === null) this.events.push({ told: "nothing", slot });
      else {
        this.#known.get(slot)?.push(token);
        this.events.push({ told: "token", slot, ids: [token] });
      }
    }
    await this.gate;
    if ([...this.#known.values()].some((ids) => ids.join().includes(this.poison))) throw down;
    return moves.map(({ slot }, at) => {
      this.events.push({ answered: at, slot });
      const { ids, logProbs } = distribution(this.#known.get(slot) ?? []);
      const cut = (list: ArrayLike<number>): number[] =>
        Array.from(list).slice(0, this.#counts.get(slot));
      return { ids: cut(ids), logProbs: cut(logProbs) };
    });
  }

  close(slot: number): void {
    assert.ok(this.#known.delete(slot));
    this.events.push({ told: "end", slot });
  }

  async end(): Promise<void> {
    this.ended++;
    await Promise.resolve();
  }
}

/** Checks in `events` that whatever a slot was told of a claim it was told too late. */
function assertBlind(events: readonly Event[], claims: ReadonlyMap<string, number[]>): number {
  const slots = new Map<number, { claim: number[]; answered: number; told: number }>();
  let revealed = 0;
  for (const event of events) {
    if ("told" in event && event.told === "prompt") {
      const claim = claims.get(event.ids.join());
      assert.ok(claim !== undefined, "a prompt that was claimed");
      slots.set(event.slot, { claim, answered: 0, told: 0 });
      continue;
    }
    const state = slots.get(event.slot);
    assert.ok(state !== undefined);
    if ("answered" in event) state.answered++;
    else if (event.told === "nothing") assert.equal(state.answered + state.told, 0);
    else if (event.told === "token") {
      assert.ok(state.answered > state.told, `token ${state.told} before its distribution`);
      assert.deepEqual(event.ids, [state.claim[state.told]]);
      state.told++;
      revealed++;
    } else {
      assert.equal(state.answered, state.claim.length);
      assert.equal(state.told, state.claim.length - 1, "the last token is never told");
      slots.delete(event.slot);
    }
  }
  assert.equal(slots.size, 0);
  return revealed;
}

const pairs = Array.from({ length: 20 }, (_, i) => ({
  prompt: [1, 2, i + 3],
  output: Array.from({ length: 1 + ((i * 7) % 23) }, (_, at) => (at * 5 + i) % 96),
}));

test("lockstep: many pairs of many lengths -> each token is revealed only after its distribution came", async () => {
  const spy = new SpyExecutor(6);
  const lockstep = new Lockstep(spy, new FakeClock(), deadline);
  const all = pairs.map(({ prompt, output }) => lockstep.replay(prompt, output, 40));
  const found = await Promise.all(all);
  const claims = new Map(pairs.map(({ prompt, output }) => [prompt.join(), output]));
  const tokens = pairs.reduce((sum, { output }) => sum + output.length, 0);
  assert.equal(assertBlind(spy.events, claims), tokens - pairs.length);
  // The same as an engine that is given everything.
  const engine = new FakeEngine();
  for (const [at, { prompt, output }] of pairs.entries()) {
    assert.deepEqual(found[at], await engine.replay(prompt, output, 40));
  }
  const wide = spy.events.filter((event) => "answered" in event && event.answered === 5);
  assert.ok(wide.length > 20, "six slots go side by side");
  await lockstep.close();
});

test("lockstep: while a distribution is outstanding -> the executor hears nothing", async () => {
  const spy = new SpyExecutor(2);
  const lockstep = new Lockstep(spy, new FakeClock(), deadline);
  let open = (): void => undefined;
  spy.gate = new Promise((resolve) => (open = resolve));
  const replayed = lockstep.replay([1, 2], [7, 8, 9], 40);
  await settled();
  assert.deepEqual(spy.events, [
    { told: "prompt", slot: 0, ids: [1, 2] },
    { told: "nothing", slot: 0 },
  ]);
  open();
  assert.equal((await replayed).length, 3);
  await lockstep.close();
});

test("lockstep: the check of blindness itself -> finds a token that is told early", () => {
  const early: Event[] = [
    { told: "prompt", slot: 0, ids: [1] },
    { told: "nothing", slot: 0 },
    { told: "token", slot: 0, ids: [7] },
  ];
  assert.throws(() => assertBlind(early, new Map([["1", [7, 8]]])), /before its distribution/);
});

test("lockstep: an executor that crashes -> every pair is unable, it is ended and not asked again", async () => {
  const spy = new SpyExecutor(4);
  const lockstep = new Lockstep(spy, new FakeClock(), deadline);
  spy.poison = "2,4,";
  const all = pairs.map(({ prompt, output }) => lockstep.replay(prompt, output, 40));
  const results = await Promise.allSettled(all);
  const reasons = results.map((result): unknown => {
    return result.status === "rejected" ? result.reason : null;
  });
  // Only pairs of one token were done before the one that it died of.
  for (const [at, { output }] of pairs.entries()) {
    if (output.length > 1) assert.equal(reasons[at], down);
  }
  assert.equal(spy.ended, 1);
  const heard = spy.events.length;
  await assert.rejects(lockstep.replay([1], [2], 40), down);
  assert.equal(spy.events.length, heard);
});

test("lockstep: an executor that hangs, or leaves slots out -> unable", async () => {
  const clock = new FakeClock();
  const hanging = new SpyExecutor(4);
  hanging.gate = new Promise(() => undefined);
  const first = new Lockstep(hanging, clock, deadline).replay([1, 2], [3, 4], 40);
  const rejected = assert.rejects(first, { code: "engine.timeout" });
  await settled();
  await clock.advance(1019);
  assert.equal(hanging.ended, 0);
  await clock.advance(2);
  await rejected;
  assert.equal(hanging.ended, 1);
  const sparse = new SpyExecutor(4);
  sparse.step = () => Promise.resolve([]);
  const second = new Lockstep(sparse, clock, deadline).replay([1, 2], [3, 4], 40);
  await assert.rejects(second, { code: "engine.broken" });
});

test("lockstep: ids that the model does not have, or too many -> refused before anybody hears of them", async () => {
  const spy = new SpyExecutor(1);
  const lockstep = new Lockstep(spy, new FakeClock(), deadline);
  const long = new Array<number>(300).fill(1);
  await assert.rejects(lockstep.replay([1], [96], 40), { code: "token.unknown" });
  await assert.rejects(lockstep.replay([], [1], 40), { code: "replay.no-prompt" });
  await assert.rejects(lockstep.replay([1], long, 40), { code: "replay.too-long" });
  assert.deepEqual(await lockstep.replay([1], [], 40), []);
  assert.deepEqual(spy.events, []);
});

interface Scene {
  readonly recomputer: Recomputer;
  readonly store: VerdictStore;
  readonly clock: FakeClock;
  readonly wire: FakeWire;
  readonly spies: SpyExecutor[];
  readonly raised: string[];
}

/** A recomputer whose executors are spies, the first `poisoned` of them with a weakness. */
function scene(poison: (at: number) => string): Scene {
  const [clock, wire] = [new FakeClock(), new FakeWire("g1")];
  const [spies, raised]: [SpyExecutor[], string[]] = [[], []];
  const { verdicts: store } = openRecomputerDb(":memory:");
  const recomputer = new Recomputer({
    ...{ name: "r1", clock, log: quiet, store },
    ...{ entries: [entry], profiles: [testProfile], ladder: defaultLadder, parallel: 8 },
    openEngine: () => {
      const spy = new SpyExecutor(8);
      spy.poison = poison(spies.length);
      spies.push(spy);
      const text = Object.assign(new FakeEngine(), { close: () => undefined });
      return Promise.resolve(blindEngine(entry, text, spy, clock, deadline));
    },
    alarms: {
      raise: (severity, kind) => raised.push(`${severity} ${kind}`),
      clear: () => undefined,
    },
    shutdown: {
      failed: () => undefined,
      climb: () => undefined,
      connected: () => undefined,
      disconnected: () => undefined,
      answered: () => undefined,
      released: () => ({ kind: "known" }),
      noteRelease: () => undefined,
    },
    ...{ shownAlarms: () => [], simulated: [] },
  });
  recomputer.serveGateway(wire);
  wire.receive(frameType.epoch, 0n, encodeEpoch({ gateway: "g1", epoch: 1, epochKey }));
  return { recomputer, store, clock, wire, spies, raised };
}

function send(wire: FakeWire, from: number, to: number, cheat = {}): void {
  for (let i = from; i <= to; i++) {
    const tag = makeTag(1, i);
    wire.receive(frameType.proofRequest, tag, proofRequest(tag, cheat));
  }
}

test("recomputer, blind: honest pairs pass with no margin, a wrong seed fails", async () => {
  const { recomputer, wire, spies, store } = scene(() => "none");
  send(wire, 1, 12);
  for (let i = 0; i < 40; i++) await settled();
  assert.deepEqual(wire.texts(frameType.verdict), new Array(12).fill("pass"));
  for (let i = 1; i <= 12; i++) {
    assert.equal(store.info("g1", makeTag(1, i)).verdict?.scores?.maxMargin, 0);
  }
  send(wire, 13, 13, { drawSeed: 77n });
  for (let i = 0; i < 20; i++) await settled();
  assert.equal(wire.texts(frameType.verdict).at(-1), "fail");
  await recomputer.stop();
  assert.deepEqual(
    spies.map(({ ended }) => ended > 0),
    [true],
  );
});

test("recomputer, blind: an executor that crashes once -> another is started, no verdict is lost or made up", async () => {
  const { recomputer, clock, wire, spies } = scene((at) => (at === 0 ? "," : "none"));
  send(wire, 1, 8);
  for (let i = 0; i < 20; i++) await settled();
  assert.deepEqual(wire.texts(frameType.verdict), []);
  assert.equal(recomputer.status().judged.unable, 8);
  for (let i = 0; i < 20; i++) await clock.advance(1000);
  assert.deepEqual(wire.texts(frameType.verdict), new Array(8).fill("pass"));
  assert.equal(spies.length, 2);
  assert.ok(spies[0]?.ended);
  await recomputer.stop();
});

test("recomputer, blind: one pair that crashes every executor -> the others are judged, it is alarmed on", async () => {
  // The prompt of pair 3: "pair <tag>".
  const poison = [1, ...Buffer.from(`pair ${makeTag(1, 3)}`).map((byte) => byte % 90)].join();
  const { recomputer, clock, wire, raised } = scene(() => poison);
  send(wire, 1, 8);
  for (let i = 0; i < 60; i++) await clock.advance(2000);
  assert.equal(wire.texts(frameType.verdict).filter((text) => text === "pass").length, 7);
  assert.deepEqual(recomputer.status().judged, { pass: 7, fail: 0, unable: 1 });
  assert.ok(raised.includes("critical recomputer.unable"));
  // And new ones do not have to wait for it.
  send(wire, 9, 16);
  for (let i = 0; i < 30; i++) await clock.advance(2000);
  assert.deepEqual(recomputer.status().judged, { pass: 15, fail: 0, unable: 1 });
  await recomputer.stop();
});
