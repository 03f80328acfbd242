/**
 * A party's witness in its world, for the model checker: the shipped reducer of add-checkpoint, with a log
 * whose own key signs forks, a publisher that submits anything at any time and serves entries of either
 * fork, answers that get lost, a clock that is put back, and a crash between any two steps, also
 * between "durable" and "answered". With `rollback`, a thief puts an older disk back.
 */
import { generateKeyPairSync } from "node:crypto";
import { consistencyPath, leafHash, merkleRoot } from "../../src/base/merkle.ts";
import { publicKeyHex } from "../../src/base/sign.ts";
import { logKey, parseCheckpoint, signCheckpoint } from "../../src/format/checkpoint.ts";
import { parseNote } from "../../src/format/note.ts";
import type { AddCheckpoint } from "../../src/log/add-checkpoint.ts";
import {
  newWitness,
  nothingCosigned,
  stepWitness,
  type Cosigned,
  type WitnessContext,
  type WitnessEffect,
  type WitnessEvent,
  type WitnessState,
} from "../../src/log/witness.ts";
import type { Invariant, Model, Step } from "./explore.ts";

export type StepWitness = typeof stepWitness;

export interface Tree {
  readonly name: string;
  readonly leaves: readonly Buffer[];
  readonly root: Buffer;
}

const leaf = (text: string): Buffer => leafHash(Buffer.from(text));
const tree = (name: string, ...texts: string[]): Tree => {
  const leaves = texts.map(leaf);
  return { name, leaves, root: merkleRoot(leaves) };
};

/** Two histories that part after the first entry. */
export const trees = [
  tree("1", "x"),
  tree("2", "x", "y"),
  tree("2'", "x", "z"),
  tree("3'", "x", "z", "w"),
];
/** The tree with this root. */
export const treeOf = (root: Buffer): Tree | undefined =>
  trees.find((one) => one.root.equals(root));

export const begins = (old: Tree, next: Tree): boolean =>
  old.leaves.every((hash, i) => next.leaves[i]?.equals(hash) === true);

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const log = { ...logKey("g1", publicKeyHex(publicKey)), key: publicKey };
const notes = new Map(
  trees.map(({ name, leaves, root }) => [
    name,
    signCheckpoint(privateKey, { origin: log.name, size: leaves.length, root }),
  ]),
);

function proof(old: Tree | null, next: Tree): Buffer[] {
  if (old === null || old.leaves.length > next.leaves.length) return [];
  return consistencyPath(old.leaves.length, next.leaves.length, (start, end) =>
    merkleRoot(next.leaves.slice(start, end)),
  );
}

/** Every submission that could be asked for: from nothing or any tree to any tree, honest or not. */
const requests: readonly { readonly label: string; readonly request: AddCheckpoint }[] =
  trees.flatMap((next) =>
    [null, ...trees].flatMap((old) => {
      const size = old?.leaves.length ?? 0;
      if (size > next.leaves.length) return [];
      const label = `${old?.name ?? "nothing"} to ${next.name}`;
      const note = notes.get(next.name) ?? Buffer.alloc(0);
      return [{ label, request: { old: size, proof: proof(old, next), note } }];
    }),
  );

const context: WitnessContext = {
  log,
  cosign: (text, timeS) => ({
    name: "w",
    id: timeS,
    bytes: Buffer.from(text.split("\n")[2] ?? ""),
  }),
};

interface Cosignature {
  readonly tree: string;
  readonly size: number;
  readonly time: number;
}

export interface WitnessWorld {
  readonly disk: Cosigned;
  /** What a thief copied. */
  readonly copy: Cosigned | null;
  /** Null: the process is not running. */
  readonly witness: WitnessState | null;
  /** Effects that were asked for and not carried out yet. */
  readonly todo: readonly WitnessEffect[];
  /** A persist that is durable, and that the process has not heard of. */
  readonly durable: boolean;
  /** Every cosignature that ever left, whether its answer arrived or was lost. */
  readonly left: readonly Cosignature[];
  /** Submissions of this life: bounds the model. */
  readonly asked: number;
}

const clocks = [5, 3] as const;

/** A reply goes out: cosignatures are remembered, everything else is of no account. */
function answered(world: WitnessWorld, effect: WitnessEffect): WitnessWorld {
  if (effect.kind !== "reply" || effect.reply.status !== 200) return world;
  // "- w base64(id, bytes)": the id is the time and the bytes are the root, see `context`.
  const [, , text = ""] = effect.reply.body.trim().split(" ");
  const bytes = Buffer.from(text, "base64");
  const root = Buffer.from(bytes.subarray(4).toString(), "base64");
  const of = treeOf(root);
  const one = { tree: of?.name ?? "?", size: of?.leaves.length ?? 0, time: bytes.readUInt32BE(0) };
  if (world.left.some((old) => old.tree === one.tree && old.time === one.time)) return world;
  const left = [...world.left, one].sort((a, b) =>
    `${a.tree} ${a.time}` < `${b.tree} ${b.time}` ? -1 : 1,
  );
  return { ...world, left };
}

function tellWitness(step: StepWitness, world: WitnessWorld, event: WitnessEvent): WitnessWorld {
  if (world.witness === null) return world;
  const { state, effects } = step(context, world.witness, event);
  let after: WitnessWorld = { ...world, witness: state };
  for (const effect of effects) {
    if (effect.kind === "mirror" || effect.kind === "persist") {
      after = { ...after, todo: [...after.todo, effect] };
    } else after = answered(after, effect);
  }
  return after;
}

/** The first effect that waits is carried out, in each of the ways in which it can go. */
function* doing(step: StepWitness, world: WitnessWorld): Iterable<Step<WitnessWorld>> {
  const [effect, ...rest] = world.todo;
  if (effect === undefined) return;
  const done = { ...world, todo: rest };
  if (effect.kind === "mirror") {
    // Entries of the right number that begin with those that the disk has.
    const held = treeOf(world.disk.root);
    for (const served of trees) {
      if (served.leaves.length !== effect.to) continue;
      if (held !== undefined && !begins(held, served)) continue;
      for (const nowS of clocks) {
        const label = `entries of ${served.name} are served, the clock says ${nowS}`;
        const event = { kind: "mirrored", root: served.root, nowS } as const;
        yield { label, next: tellWitness(step, done, event) };
      }
    }
    const event = { kind: "not-mirrored", status: 503, why: "not there" } as const;
    yield { label: "no entries are served", next: tellWitness(step, done, event) };
  } else if (effect.kind === "persist" && !world.durable) {
    const { signatures, text } = parseNote(effect.note);
    const { size, root } = parseCheckpoint(text);
    const disk = { size, root, time: signatures.at(-1)?.id ?? 0 };
    yield { label: `tree of ${size} becomes durable`, next: { ...world, disk, durable: true } };
  } else if (effect.kind === "persist") {
    const next = tellWitness(step, { ...done, durable: false }, { kind: "persisted" });
    yield { label: "the process hears that it is durable", next };
  }
}

function* stepsOf(
  step: StepWitness,
  { rollback = false, most = 3 }: WitnessModelOptions,
  world: WitnessWorld,
): Iterable<Step<WitnessWorld>> {
  if (rollback && world.copy === null) {
    yield { label: "a thief copies the disk", next: { ...world, copy: world.disk } };
  }
  if (world.witness === null) {
    if (rollback && world.copy !== null) {
      yield { label: "the thief puts the copy back", next: { ...world, disk: world.copy } };
    }
    yield { label: "the process starts", next: { ...world, witness: newWitness(world.disk) } };
    return;
  }
  const dead = { witness: null, todo: [], durable: false, asked: 0 };
  yield { label: "the process dies", next: { ...world, ...dead } };
  yield* doing(step, world);
  if (world.asked >= most) return;
  for (const { label, request } of requests) {
    // The name of a submission is only how its caller knows the answer.
    const event = { kind: "submit", submission: { id: 0, request } } as const;
    yield {
      label: `${label} is submitted`,
      next: tellWitness(step, { ...world, asked: world.asked + 1 }, event),
    };
  }
}

const invariants: readonly Invariant<WitnessWorld>[] = [
  {
    name: "no two trees of one size are ever cosigned",
    holds: ({ left }) =>
      left.every((one) => left.every((two) => one.size !== two.size || one.tree === two.tree)),
  },
  {
    name: "all trees that were cosigned are one history",
    holds: ({ left }) => {
      const of = ({ tree: name }: Cosignature): Tree | undefined =>
        trees.find((one) => one.name === name);
      return left.every((one) =>
        left.every((two) => {
          const [a, b] = [of(one), of(two)];
          return a === undefined || b === undefined || begins(a, b) || begins(b, a);
        }),
      );
    },
  },
  {
    name: "a cosignature leaves only when its tree is durable",
    holds: ({ left, disk }) => left.every(({ size }) => size <= disk.size),
  },
  {
    name: "a larger tree never has an earlier time",
    holds: ({ left }) =>
      left.every((one) => left.every((two) => one.size >= two.size || one.time <= two.time)),
  },
  {
    name: "a tree is cosigned only when its entries are held",
    holds: (world, before, label) => {
      const under = before?.witness?.underWay;
      const [, served] = /^entries of (\S+) are served/.exec(label ?? "") ?? [];
      const now = world.witness?.underWay;
      if (served === undefined || now?.cosigned == null || under == null) return true;
      return treeOf(now.checkpoint.root)?.name === served;
    },
  },
];

export interface WitnessModelOptions {
  readonly step?: StepWitness;
  readonly rollback?: boolean;
  /** Submissions in one life of the process. */
  readonly most?: number;
}

export function witnessModel(options: WitnessModelOptions = {}): Model<WitnessWorld> {
  const step = options.step ?? stepWitness;
  const start = {
    ...{ disk: nothingCosigned, copy: null, witness: null, todo: [], durable: false },
    ...{ left: [], asked: 0 },
  };
  return {
    initial: [start],
    steps: (world) => stepsOf(step, options, world),
    invariants,
    maxStates: 200_000,
  };
}
