/** The witness's reducer: every status code, and what holds over every order of submissions and crashes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../base/assert.ts";
import { consistencyPath, emptyRoot, leafHash, merkleRoot } from "../base/merkle.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { parseCheckpoint, signCheckpoint } from "../format/checkpoint.ts";
import { cosign, cosignatureOf } from "../format/cosignature.ts";
import { encodeNote, noteKey, noteKeyType, parseNote, parseSignatures } from "../format/note.ts";
import { encodeAddCheckpoint, parseAddCheckpoint, type AddCheckpoint } from "./add-checkpoint.ts";
import {
  newWitness,
  nothingCosigned,
  stepWitness,
  type Cosigned,
  type Reply,
  type WitnessContext,
  type WitnessEffect,
  type WitnessEvent,
  type WitnessState,
} from "./witness.ts";

const logPrivate = privateKeyFromSeed(Buffer.alloc(32, 1));
const ownPrivate = privateKeyFromSeed(Buffer.alloc(32, 2));
const log = noteKey("weir.local/g1", noteKeyType.note, publicKeyHex(logPrivate));
const own = noteKey("weir.local/witness/a", noteKeyType.cosignature, publicKeyHex(ownPrivate));
const context: WitnessContext = {
  log,
  cosign: (text, timeS) => cosign(own.name, ownPrivate, text, timeS),
};

/** Leaf hashes of a log; `fork` makes another that begins alike and differs from entry `from` on. */
function tree(size: number, fork = "", from = 0): Buffer[] {
  return Array.from({ length: size }, (_, i) =>
    leafHash(Buffer.from(`${i < from ? "" : fork}${i}`)),
  );
}

function note(leaves: readonly Buffer[], key = logPrivate, origin = log.name): Buffer {
  return signCheckpoint(key, { origin, size: leaves.length, root: merkleRoot(leaves) });
}

function proof(from: number, leaves: readonly Buffer[]): Buffer[] {
  if (from === 0 || from >= leaves.length) return [];
  return consistencyPath(from, leaves.length, (start, end) => merkleRoot(leaves.slice(start, end)));
}

function request(old: number, leaves: readonly Buffer[]): AddCheckpoint {
  return { old, proof: proof(old, leaves), note: note(leaves) };
}

/** Runs one submission to its reply, with a mirror that holds what it is told to. */
function run(
  state: WitnessState,
  asked: AddCheckpoint,
  mirrored: (to: number) => Buffer,
): {
  state: WitnessState;
  reply: Reply;
  persisted: Buffer | null;
  effects: readonly WitnessEffect[];
} {
  let reply: Reply | null = null;
  let persisted: Buffer | null = null;
  const all: WitnessEffect[] = [];
  const queue: WitnessEvent[] = [{ kind: "submit", submission: { id: 1, request: asked } }];
  for (let event = queue.shift(); event !== undefined; event = queue.shift()) {
    const step = stepWitness(context, state, event);
    state = step.state;
    for (const effect of step.effects) {
      all.push(effect);
      if (effect.kind === "mirror") {
        queue.push({ kind: "mirrored", root: mirrored(effect.to), nowS: 1_700_000_000 });
      } else if (effect.kind === "persist") {
        persisted = effect.note;
        queue.push({ kind: "persisted" });
      } else if (effect.kind === "reply") ({ reply } = effect);
    }
  }
  assert.ok(reply !== null);
  return { state, reply, persisted, effects: all };
}

const honest = tree(50);
const rootOf = (to: number): Buffer => merkleRoot(honest.slice(0, to));

function at(size: number): WitnessState {
  const latest: Cosigned = { size, root: rootOf(size), time: size === 0 ? 0 : 1_600_000_000 };
  return newWitness(latest);
}

test("witness: a consistent checkpoint -> persisted first, then 200 with a cosignature that verifies", () => {
  const { state, reply, persisted, effects } = run(
    at(10),
    request(10, honest.slice(0, 30)),
    rootOf,
  );
  assert.equal(reply.status, 200);
  assert.deepEqual(
    effects.map(({ kind }) => kind),
    ["mirror", "persist", "reply"],
  );
  const { text } = parseNote(request(10, honest.slice(0, 30)).note);
  const answered = { text, signatures: parseSignatures(reply.body) };
  assert.equal(cosignatureOf(answered, own)?.time, 1_700_000_000);
  assert.equal(cosignatureOf(parseNote(persisted ?? Buffer.alloc(0)), own)?.time, 1_700_000_000);
  assert.deepEqual([state.latest.size, state.underWay], [30, null]);
});

test("witness: what is wrong with a submission -> 400, 403, 409 with the size, 422; and nothing changes", () => {
  const forked = tree(50, "fork", 5);
  const other = privateKeyFromSeed(Buffer.alloc(32, 9));
  const good = request(10, honest.slice(0, 30));
  const damaged = parseNote(good.note);
  const [signature] = damaged.signatures;
  assert.ok(signature !== undefined);
  const bad = { ...signature, bytes: Buffer.alloc(64) };
  const cases: readonly (readonly [number, string, number, AddCheckpoint])[] = [
    [
      403,
      "another key under the same name",
      10,
      { ...good, note: note(honest.slice(0, 30), other) },
    ],
    [
      403,
      "a signature that fails",
      10,
      { ...good, note: encodeNote({ ...damaged, signatures: [bad] }) },
    ],
    [400, "another origin", 10, { ...good, note: note(honest.slice(0, 30), logPrivate, "other") }],
    [400, "no note", 10, { ...good, note: Buffer.from("x\n") }],
    [400, "old above new", 10, { ...good, old: 31 }],
    [409, "old below latest", 10, request(5, honest.slice(0, 30))],
    [409, "old above latest", 10, request(20, honest.slice(0, 30))],
    [409, "never cosigned, old not 0", 0, request(10, honest.slice(0, 30))],
    [422, "a fork", 10, request(10, forked.slice(0, 30))],
    [422, "a proof too short", 10, { ...good, proof: good.proof.slice(1) }],
    [422, "no proof", 10, { ...good, proof: [] }],
    [422, "one size, two roots", 10, request(10, forked.slice(0, 10))],
    [422, "one size and a proof", 10, { ...request(10, honest.slice(0, 10)), proof: [emptyRoot] }],
    [422, "a proof from nothing", 0, { ...request(0, honest.slice(0, 3)), proof: [emptyRoot] }],
  ];
  for (const [status, what, latest, asked] of cases) {
    const before = at(latest);
    const { state, reply, persisted } = run(before, asked, rootOf);
    assert.equal(reply.status, status, what);
    assert.equal(persisted, null, what);
    assert.deepEqual(state.latest, before.latest, what);
    if (status === 409) {
      assert.deepEqual([reply.type, reply.body], ["text/x.tlog.size", `${latest}\n`], what);
    }
  }
  const empty = { origin: log.name, size: 0, root: Buffer.alloc(32, 1) };
  const odd = { old: 0, proof: [], note: signCheckpoint(logPrivate, empty) };
  assert.equal(run(at(0), odd, rootOf).reply.status, 422);
  const nothing = {
    old: 0,
    proof: [],
    note: signCheckpoint(logPrivate, { ...empty, root: emptyRoot }),
  };
  assert.equal(run(at(0), nothing, () => emptyRoot).reply.status, 200);
});

test("witness: two signed trees of one size -> said to be suspect, with the note that proves it", () => {
  const forked = request(10, tree(10, "fork", 5));
  const { effects } = run(at(10), forked, rootOf);
  const suspect = effects.find(({ kind }) => kind === "suspect");
  assert.ok(suspect?.kind === "suspect" && suspect.note.equals(forked.note));
});

test("witness: entries that do not hash to the root -> 422, dropped; without the mirror's root it would be cosigned", () => {
  const asked = request(10, honest.slice(0, 30));
  const { reply, effects, state } = run(at(10), asked, () => merkleRoot(tree(30, "other", 20)));
  assert.equal(reply.status, 422);
  assert.ok(effects.some(({ kind }) => kind === "drop"));
  assert.equal(state.latest.size, 10);
  // A witness that takes the checkpoint's word for its entries:
  const gullible = run(
    at(10),
    asked,
    (to) => parseCheckpoint(parseNote(note(honest.slice(0, to))).text).root,
  );
  assert.equal(gullible.reply.status, 200);
});

test("witness: the same tree again -> 200 again; a clock that was put back -> the time does not go back", () => {
  const first = run(at(10), request(10, honest.slice(0, 30)), rootOf);
  const later = { ...first.state, latest: { ...first.state.latest, time: 1_800_000_000 } };
  const again = run(later, request(30, honest.slice(0, 30)), rootOf);
  assert.equal(again.reply.status, 200);
  assert.equal(again.state.latest.time, 1_800_000_000);
});

test("witness: a second submission while one is under way -> waits, and is judged by what the first left", () => {
  let state = at(10);
  const submit = (id: number, asked: AddCheckpoint): readonly WitnessEffect[] => {
    const step = stepWitness(context, state, {
      kind: "submit",
      submission: { id, request: asked },
    });
    state = step.state;
    return step.effects;
  };
  assert.equal(submit(1, request(10, honest.slice(0, 40)))[0]?.kind, "mirror");
  assert.deepEqual(submit(2, request(10, honest.slice(0, 20))), []);
  state = stepWitness(context, state, { kind: "mirrored", root: rootOf(40), nowS: 1 }).state;
  // Judged at once, the second would be good as well, and would roll 20 entries back.
  assert.equal(run(at(10), request(10, honest.slice(0, 20)), rootOf).reply.status, 200);
  const { effects, state: end } = stepWitness(context, state, { kind: "persisted" });
  const replies = effects.map((effect) =>
    effect.kind === "reply" ? [effect.id, effect.reply.status] : [],
  );
  assert.deepEqual(replies, [
    [1, 200],
    [2, 409],
  ]);
  assert.equal(end.latest.size, 40);
});

test("witness: more submissions than may wait -> 503 for the rest", () => {
  let state = at(10);
  const statuses: number[] = [];
  for (let id = 0; id < 20; id++) {
    const submission = { id, request: request(10, honest.slice(0, 20)) };
    const step = stepWitness(context, state, { kind: "submit", submission });
    state = step.state;
    for (const effect of step.effects)
      if (effect.kind === "reply") statuses.push(effect.reply.status);
  }
  assert.deepEqual(statuses, [503, 503, 503]);
});

test("witness: any order of honest and forked submissions, failures and crashes -> its cosignatures form one log", () => {
  const forks = [honest, tree(50, "x", 7), tree(50, "y", 20)];
  const action = fc.oneof(
    fc.record({
      kind: fc.constant("submit" as const),
      fork: fc.nat(2),
      size: fc.nat(50),
      old: fc.nat(50),
    }),
    fc.constantFrom(
      "mirrored" as const,
      "wrong" as const,
      "lost" as const,
      "persisted" as const,
      "crash" as const,
    ),
  );
  const released: { size: number; root: string; time: number }[] = [];
  fc.assert(
    // eslint-disable-next-line complexity -- one small machine: events, a disk, and what left
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      released.length = 0;
      let state = newWitness(nothingCosigned);
      let disk: Cosigned = nothingCosigned;
      let id = 0;
      const asked = new Map<number, readonly Buffer[]>();
      for (const one of actions) {
        if (one === "crash") {
          state = newWitness(disk);
          continue;
        }
        const under = state.underWay;
        const root = under?.checkpoint.root ?? emptyRoot;
        let event: WitnessEvent;
        if (typeof one === "object") {
          // Half of them name the size that the witness has.
          const leaves = (forks[one.fork] ?? honest).slice(0, one.size);
          const old = one.old % 2 === 0 ? state.latest.size : one.old;
          asked.set(++id, leaves);
          event = { kind: "submit", submission: { id, request: request(old, leaves) } };
        } else if (one === "mirrored") event = { kind: "mirrored", root, nowS: 1000 - id };
        else if (one === "wrong") event = { kind: "mirrored", root: Buffer.alloc(32), nowS: 1 };
        else if (one === "lost") event = { kind: "not-mirrored", status: 503, why: "" };
        else {
          event = { kind: "persisted" };
          // The disk has it before the reducer hears of it.
          if (under?.cosigned != null) {
            disk = { size: under.checkpoint.size, root, time: under.cosigned.time };
          }
        }
        const step = stepWitness(context, state, event);
        state = step.state;
        for (const effect of step.effects) {
          if (effect.kind !== "reply" || effect.reply.status !== 200) continue;
          const leaves = asked.get(effect.id) ?? [];
          // Persist before reply.
          assert.equal(disk.size, leaves.length);
          released.push({
            size: leaves.length,
            root: merkleRoot(leaves).toString("hex"),
            time: disk.time,
          });
        }
      }
      for (const [i, next] of released.entries()) {
        const before = released[i - 1];
        if (before === undefined) continue;
        assert.ok(next.size >= before.size && next.time >= before.time);
        const longest = forks.find(
          (fork) => merkleRoot(fork.slice(0, next.size)).toString("hex") === next.root,
        );
        assert.equal(
          merkleRoot((longest ?? []).slice(0, before.size)).toString("hex"),
          before.root,
        );
      }
    }),
    { numRuns: 150 },
  );
});

test("add-checkpoint: any body -> there and back; damage -> InvalidError, nothing else", () => {
  const hashes = fc.array(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b)),
    {
      maxLength: 63,
    },
  );
  fc.assert(
    fc.property(fc.nat(), hashes, fc.nat(50), (old, list, size) => {
      const body = { old, proof: list, note: note(honest.slice(0, size)) };
      assert.deepEqual(parseAddCheckpoint(encodeAddCheckpoint(body)), body);
    }),
    { numRuns: 30 },
  );
  const good = encodeAddCheckpoint(request(10, honest.slice(0, 30))).toString();
  const hash = Buffer.alloc(32).toString("base64");
  for (const bad of [
    "",
    good.replace("old ", "old  "),
    good.replace("old 10", "old 010"),
    good.replace("old 10", "new 10"),
    good.replace("old 10\n", "old 10\nAAAA\n"),
    good.replace("old 10\n", `old 10\n${`${hash}\n`.repeat(64)}`),
  ]) {
    assert.throws(() => parseAddCheckpoint(Buffer.from(bad)), InvalidError, bad);
  }
});
