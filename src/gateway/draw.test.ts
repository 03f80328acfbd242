import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { commitmentOf, type DrawParty } from "../format/draw.ts";
import {
  drawStep,
  isDue,
  mayDraw,
  noDraw,
  resume,
  type DrawEvent,
  type DrawOutcome,
  type DrawState,
  type RoundLimits,
  type StoredDraw,
} from "./draw.ts";
import { decodeDraw, encodeDraw } from "./draw-file.ts";
import { bookOf } from "./rounds.ts";
import type { Mark } from "./store.port.ts";

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record<T>(model, { noNullPrototype: true });
const bytes = (byte: number): Buffer => Buffer.alloc(32, byte);

/** A party that plays by the rules; its secret of a round is fixed. */
const secretOf = (party: DrawParty, round: bigint): Buffer =>
  bytes((party === "a" ? 0x40 : 0x80) + Number(round % 64n));

/** A gateway with its disk and its log, and honest parties: carries effects out until nothing is left to do. */
class World {
  file: Buffer | null = null;
  marks: Mark[] = [];
  /** Entries of any kind. */
  size = 0n;
  outcome: DrawOutcome = resume(null, []);
  /** c_G by round, as they were shown to the parties. */
  readonly shown = new Map<bigint, string>();
  readonly accused: string[] = [];
  #fresh = 1;

  get state(): DrawState {
    return this.outcome.state;
  }

  step(event: DrawEvent): void {
    const { state, effects } = drawStep(this.state, event);
    this.outcome = { state, effects: [...this.outcome.effects, ...effects] };
  }

  begin(): void {
    this.step({ kind: "begin", secret: bytes(this.#fresh++), sealKey: bytes(this.#fresh++) });
  }

  /** Carries out the first effect that waits. False: there is none. */
  work(): boolean {
    const [effect, ...effects] = this.outcome.effects;
    if (effect === undefined) return false;
    this.outcome = { state: this.state, effects };
    const { coming, current } = this.state;
    if (effect.kind === "accuse") this.accused.push(`${effect.party}: ${effect.why}`);
    if (effect.kind === "store") {
      this.file = encodeDraw(this.state);
      this.step({ kind: "stored" });
    }
    if (effect.kind === "log-reveal" && current !== null) {
      const { round, secrets } = current;
      this.mark({ kind: "round-reveal", round, atMs: 0, ...secrets });
      this.step({ kind: "revealed" });
    }
    if (coming === null) return true;
    const { round } = coming;
    if (effect.kind === "ask") {
      this.show(round, commitmentOf("g", round, coming.secret));
      for (const party of ["a", "b"] as const) this.commit(party);
    }
    if (effect.kind === "log-open") {
      const [a, b] = [coming.a.commitment, coming.b.commitment];
      assert.ok(a !== null && b !== null);
      const gateway = commitmentOf("g", round, coming.secret);
      const threshold = 5n;
      const index = this.mark({ kind: "round-open", round, atMs: 7, gateway, a, b, threshold });
      this.step({ kind: "logged", logged: { index, atMs: 7, threshold } });
    }
    if (effect.kind === "show") for (const party of ["a", "b"] as const) this.secret(party);
    return true;
  }

  show(round: bigint, commitment: Buffer): void {
    const before = this.shown.get(round) ?? commitment.toString("hex");
    assert.equal(commitment.toString("hex"), before, "one commitment per round, ever");
    this.shown.set(round, before);
  }

  mark(entry: Mark["entry"]): bigint {
    const index = this.size++;
    this.marks.push({ index, entry });
    return index;
  }

  commit(party: DrawParty, changes: { secret?: Buffer; answers?: Buffer } = {}): void {
    const { coming } = this.state;
    if (coming === null) return;
    const { round } = coming;
    const answers = changes.answers ?? commitmentOf("g", round, coming.secret);
    const commitment = commitmentOf(party, round, changes.secret ?? secretOf(party, round));
    this.step({ kind: "commit", party, round, answers, commitment, commit: bytes(1) });
  }

  secret(party: DrawParty, secret?: Buffer): void {
    const round = this.state.coming?.round ?? 0n;
    this.step({ kind: "secret", party, round, secret: secret ?? secretOf(party, round) });
  }

  settle(): void {
    for (let rests = 0; rests < 2;) {
      if (this.work()) rests = 0;
      else {
        rests++;
        this.step({ kind: "tick" });
      }
    }
  }

  /** Memory is gone; file and log stay. */
  crash(): void {
    this.outcome = resume(this.file === null ? null : decodeDraw(this.file), this.marks);
  }
}

test("draw: two rounds between honest parties -> logged, in force, revealed, in that order", () => {
  const world = new World();
  world.begin();
  world.settle();
  assert.equal(world.state.current?.round, 1n);
  assert.equal(world.state.step, "idle");
  world.begin();
  world.settle();
  assert.equal(world.state.current?.round, 2n);
  assert.deepEqual(
    world.marks.map(({ entry }) => entry.kind),
    ["round-open", "round-open", "round-reveal"],
  );
  const reveal = world.marks[2]?.entry;
  assert.ok(reveal?.kind === "round-reveal" && reveal.round === 1n);
  assert.deepEqual(reveal.a, secretOf("a", 1n));
});

test("draw: a crash after any number of effects -> it goes on; one commitment a round, nothing logged twice, no coin changes", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 8 }), (crashes) => {
      const world = new World();
      const coins = new Map<bigint, string>();
      for (const effects of [...crashes, 100]) {
        if (world.state.step === "idle") world.begin();
        for (let i = 0; i < effects && world.work(); i++);
        noteCoins(world, coins);
        world.step({ kind: "tick" });
        if (effects % 2 === 0) world.work();
        noteCoins(world, coins);
        if (effects < 100) world.crash();
        noteCoins(world, coins);
      }
      world.settle();
      assert.equal(world.state.step, "idle");
      const opens = world.marks.filter(({ entry }) => entry.kind === "round-open");
      assert.deepEqual(
        opens.map(({ entry }) => "round" in entry && entry.round),
        opens.map((_, i) => BigInt(i + 1)),
      );
      const reveals = world.marks.length - opens.length;
      assert.ok(reveals === opens.length - 1, `${reveals} reveals of ${opens.length} rounds`);
    }),
  );
});

/** The joint key of every place in the log that has a round is what it was before. */
function noteCoins({ marks, state, size }: World, coins: Map<bigint, string>): void {
  const book = bookOf(marks, state.current);
  for (let index = 0n; index < size; index++) {
    const round = book.at(index);
    if (round === null) continue;
    const key = `${round.round} ${round.key.export().toString("hex")} ${round.threshold}`;
    assert.equal(coins.get(index) ?? key, key, `the round at ${index}`);
    coins.set(index, key);
  }
}

test("draw: a party that reveals another secret, signs two commitments, or answers another c_G -> named, and no round", () => {
  const world = new World();
  world.begin();
  world.work();
  assert.equal(world.state.step, "asking");
  world.commit("a", { answers: bytes(9) });
  world.commit("a");
  world.commit("a");
  world.commit("a", { secret: bytes(9) });
  world.commit("b");
  world.outcome = {
    ...world.outcome,
    effects: world.outcome.effects.filter((e) => e.kind !== "ask"),
  };
  const step = (): string => world.state.step;
  while (step() !== "showing") assert.ok(world.work());
  world.secret("a");
  world.secret("b", bytes(0x77));
  world.outcome = {
    ...world.outcome,
    effects: world.outcome.effects.filter((e) => e.kind !== "show"),
  };
  while (world.work());
  const current = (): bigint | null => world.state.current?.round ?? null;
  assert.equal(current(), null);
  assert.deepEqual(world.accused, [
    "a: answered another commitment than ours in round 1",
    "a: signed two commitments for round 1",
    "b: gave another secret than it had committed to in round 1",
  ]);
  world.secret("b");
  world.settle();
  assert.equal(current(), 1n);
});

test("draw: messages of earlier rounds, and whatever does not fit the step -> nothing", () => {
  const world = new World();
  world.begin();
  world.settle();
  world.begin();
  world.work();
  const before = world.state;
  const stale = { round: 1n, party: "a" } as const;
  const [answers, commitment, commit] = [bytes(1), bytes(2), bytes(3)];
  world.step({ kind: "commit", ...stale, answers, commitment, commit });
  world.step({ kind: "secret", ...stale, secret: secretOf("a", 1n) });
  world.step({ kind: "logged", logged: { index: 1n, atMs: 1, threshold: 1n } });
  world.step({ kind: "revealed" });
  world.begin();
  assert.deepEqual(world.state, before);
});

test("draw: a log with a round that the file does not know -> refused, draw.lost", () => {
  const world = new World();
  world.begin();
  world.settle();
  assert.throws(() => resume(null, world.marks), { code: "draw.lost" });
  const old = world.file;
  world.begin();
  world.settle();
  assert.throws(() => resume(decodeDraw(old ?? Buffer.alloc(0)), world.marks), {
    code: "draw.lost",
  });
});

test("draw file: any state -> the same, but for the place in the log", () => {
  const b32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b));
  const u63 = fc.bigInt({ min: 1n, max: 2n ** 63n });
  const maybe = fc.option(b32);
  const share = record({ commit: maybe, commitment: maybe, secret: maybe });
  const coming = record({
    ...{ round: u63, secret: b32, sealKey: b32, a: share, b: share, logged: fc.constant(null) },
  });
  const secrets = record({ gateway: b32, a: b32, b: b32 });
  const current = record({ round: u63, index: u63, atMs: fc.nat(), threshold: u63, secrets });
  const stored = record({ last: u63, current: fc.option(current), coming: fc.option(coming) });
  fc.assert(
    fc.property(stored, (value: StoredDraw) => {
      assert.deepEqual(decodeDraw(encodeDraw(value)), value);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (any) => {
      try {
        decodeDraw(any);
      } catch (error) {
        assert.match((error as { code?: string }).code ?? "", /^draw-file\./);
      }
    }),
  );
});

test("draw: a round is due after its time, its entries, or another epsilon; overdue it admits nothing", () => {
  const limits: RoundLimits = { roundMs: 100, roundLeaves: 10, lateMs: 300, lateLeaves: 30 };
  const none: DrawState = { ...noDraw, step: "idle" };
  const current = {
    ...{ round: 1n, index: 5n, atMs: 1000, threshold: 9n },
    secrets: { gateway: bytes(1), a: bytes(2), b: bytes(3) },
  };
  const state: DrawState = { ...none, last: 1n, current };
  const now = { ms: 1050, size: 10n, threshold: 9n };
  assert.ok(isDue(none, now, limits) && !mayDraw(none, now, limits));
  assert.ok(!isDue(state, now, limits) && mayDraw(state, now, limits));
  assert.ok(isDue(state, { ...now, ms: 1100 }, limits));
  assert.ok(isDue(state, { ...now, size: 15n }, limits));
  assert.ok(isDue(state, { ...now, threshold: 10n }, limits));
  assert.ok(!isDue({ ...state, step: "asking" }, { ...now, ms: 5000 }, limits));
  assert.ok(!mayDraw(state, { ...now, ms: 1300 }, limits));
  assert.ok(!mayDraw(state, { ...now, size: 35n }, limits));
});
