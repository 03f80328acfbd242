/**
 * A gateway in its world, for the model checker: the shipped reducers of mode, life, orders and state file,
 * and around them everything that can happen. An adversary carries the messages: any order that was ever
 * signed may arrive at any moment, again and again, or never (loss, duplication and reordering in one). The
 * process may die between any two steps. The switch may fail with power on. With `rollback`, a thief
 * copies the state file at any moment and puts the copy back while the process is down.
 */
import { emptyState, stateAfter, type State } from "../../src/adapter/disk/state.ts";
import type { VerifiedOrder } from "../../src/format/order.ts";
import { makeTag } from "../../src/format/tag.ts";
import { decideOrder } from "../../src/gateway/halt.ts";
import {
  accepting,
  lifeBegins,
  nextLife,
  type LifeEvent,
  type LifeState,
} from "../../src/gateway/life-state.ts";
import type { Invariant, Model, Step } from "./explore.ts";

/** The decisions under test: the shipped ones, or with a bug put in. */
export interface Rules {
  readonly lifeBegins: typeof lifeBegins;
  readonly nextLife: typeof nextLife;
  readonly accepting: typeof accepting;
  readonly decideOrder: typeof decideOrder;
  readonly stateAfter: typeof stateAfter;
  /** Whether an order is durable before it is acted on. */
  readonly durableFirst: boolean;
}

export const shipped: Rules = {
  ...{ lifeBegins, nextLife, accepting, decideOrder, stateAfter },
  durableFirst: true,
};

const halts = ["H1", "H2"] as const;
const releases = ["R1", "R2"] as const;
type Message = (typeof halts)[number] | (typeof releases)[number];
const haltOf = (release: Message): Message => (release === "R1" ? "H1" : "H2");

export interface World {
  /** Orders that were signed: the adversary has them. */
  readonly signed: readonly Message[];
  readonly disk: State;
  /** A thief's copy of the state file. */
  readonly copy: State | null;
  /** The process; null: it is not running. */
  readonly life: LifeState | null;
  /** An order between its two halves. */
  readonly half: {
    readonly act: "halt" | "release" | null;
    readonly write: State | null;
    readonly of: Message;
  } | null;
  /** The server's real state, whatever the process believes. */
  readonly powered: boolean;
  readonly memory: "empty" | "weights";
  /** Orders that were answered as obeyed, and releases that were. Seen by nobody but the invariants. */
  readonly obeyed: readonly Message[];
}

function verified(message: Message): VerifiedOrder {
  const common = { gateway: "g1", reason: "", issuedMs: 0, nonce: "" };
  const order =
    message === "H1" || message === "H2"
      ? ({ action: "shutdown", ...common } as const)
      : ({ action: "release", halt: haltOf(message), ...common } as const);
  return { order, digest: message, signer: `${message}'s recomputer` };
}

const add = (to: readonly Message[], message: Message): readonly Message[] =>
  to.includes(message) ? to : [...to, message].sort();

/** Releases waiting to be told play no part here, nor does the order in which orders came or were released. */
const onDisk = (state: State): State => ({
  ...state,
  untold: [],
  released: [...state.released].sort(),
  halts: [...state.halts].sort((a, b) => (a.digest < b.digest ? -1 : 1)),
});

const stands = ({ halts: standing }: State, message: string): boolean =>
  standing.some(({ digest }) => digest === message);

/** What an event of the life does to the server. */
function physical(world: World, event: LifeEvent, life: LifeState): Step<World>[] {
  const cut = { powered: false, memory: "empty" } as const;
  const step = (label: string, more: Partial<World> = {}): Step<World> => ({
    label,
    next: { ...world, life, ...more },
  });
  const effects: Partial<Record<LifeEvent, Step<World>[]>> = {
    "power-gone": [step("the switch cuts power", cut)],
    "power-on": [step("power comes on", { powered: true })],
    "power-failed": [
      step("power does not come on"),
      step("the switch goes on, but the server is not heard of", { powered: true }),
    ],
    "weights-complete": [step("the last of S bits is forwarded", { memory: "weights" })],
  };
  return effects[event] ?? [step(event)];
}

const byItself: readonly LifeEvent[] = [
  ...(["power-asked", "power-failed", "power-gone", "power-on", "weights-complete"] as const),
  ...([
    "ready",
    "drain",
    "flicker",
    "fault",
    "kill",
    "halt-stands",
    "memory-gone",
    "stop",
  ] as const),
];

function* lifeSteps(rules: Rules, world: World, life: LifeState): Iterable<Step<World>> {
  for (const event of byItself) {
    const next = rules.nextLife(life, event);
    if (next !== null) yield* physical(world, event, next);
  }
}

/** First half of an order: its decision, and one of the two effects. */
function arrive(rules: Rules, world: World, message: Message): World {
  const context = { gateway: "g1", nowMs: 0, lastTag: makeTag(1, 1) };
  const disk = { ...world.disk, released: new Set(world.disk.released) };
  const { outcome, change } = rules.decideOrder(
    verified(message),
    new Uint8Array(0),
    disk,
    context,
  );
  // What is settled without a change was obeyed before, or its giver believes so.
  const settled = outcome.kind === "already-halted" || outcome.kind === "already-released";
  if (change === null) return settled ? { ...world, obeyed: add(world.obeyed, message) } : world;
  const act =
    outcome.kind === "halted"
      ? "halt"
      : outcome.kind === "released" && outcome.ended.includes("halt") && outcome.halts === 0
        ? "release"
        : null;
  const after = onDisk(rules.stateAfter(world.disk, change));
  if (rules.durableFirst) {
    return { ...world, disk: after, half: { act, write: null, of: message } };
  }
  const acted = actOn(rules, world, act);
  const obeyed = add(world.obeyed, message);
  return { ...acted, obeyed, half: { act: null, write: after, of: message } };
}

function actOn(rules: Rules, world: World, act: "halt" | "release" | null): World {
  if (world.life === null || act === null) return world;
  return { ...world, life: rules.nextLife(world.life, act) };
}

function* orderSteps(rules: Rules, world: World): Iterable<Step<World>> {
  const { half } = world;
  if (half !== null) {
    const acted = actOn(rules, world, half.act);
    const disk = half.write ?? world.disk;
    yield {
      label: `${half.of} is acted on and answered`,
      next: { ...acted, disk, obeyed: add(world.obeyed, half.of), half: null },
    };
    return;
  }
  for (const message of world.signed) {
    const next = arrive(rules, world, message);
    yield { label: `${message} arrives`, next };
  }
}

function* partySteps(world: World, most: number): Iterable<Step<World>> {
  for (const message of [...halts.slice(0, most), ...releases.slice(0, most)]) {
    if (world.signed.includes(message)) continue;
    // An operator releases what he has heard of.
    if (message.startsWith("R") && !world.signed.includes(haltOf(message))) continue;
    yield { label: `${message} is signed`, next: { ...world, signed: add(world.signed, message) } };
  }
}

function* thiefSteps(world: World): Iterable<Step<World>> {
  if (world.copy === null) {
    yield { label: "a thief copies the disk", next: { ...world, copy: world.disk } };
  } else if (world.life === null) {
    yield { label: "the thief puts the copy back", next: { ...world, disk: world.copy } };
  }
}

function* stepsOf(
  rules: Rules,
  rollback: boolean,
  most: number,
  world: World,
): Iterable<Step<World>> {
  yield* partySteps(world, most);
  if (rollback) yield* thiefSteps(world);
  const { life, disk } = world;
  if (life === null) {
    const begun = rules.lifeBegins(disk.halts.length > 0);
    yield { label: "the process starts", next: { ...world, life: begun } };
    return;
  }
  yield { label: "the process dies", next: { ...world, life: null, half: null } };
  yield* orderSteps(rules, world);
  yield* lifeSteps(rules, world, life);
}

/** Whether the order now being acted on may explain a difference between disk and life. */
const between = (world: World): boolean => world.half !== null;

function invariantsOf(rules: Rules): readonly Invariant<World>[] {
  const serves = ({ life }: World): boolean => life !== null && rules.accepting(life) === "yes";
  return [
    {
      name: "inputs pass only in SERVING, with power on and all weights in",
      holds: (world) =>
        !serves(world) ||
        (world.life?.mode === "SERVING" && world.powered && world.memory === "weights"),
    },
    {
      name: "a halted gateway takes no inputs",
      holds: (world) => !serves(world) || world.disk.halts.length === 0 || between(world),
    },
    {
      name: "power is never asked for while a halt stands",
      holds: (world, _before, label) =>
        label !== "power-asked" || world.disk.halts.length === 0 || between(world),
    },
    {
      name: "power is asked for only when each halt that was obeyed has been released",
      holds: (world, _before, label) =>
        label !== "power-asked" ||
        between(world) ||
        halts.every((halt) => !world.obeyed.includes(halt) || world.disk.released.includes(halt)),
    },
    {
      name: "what is held to be off is off, and its memory gone",
      holds: ({ life, powered, memory }) =>
        life?.power !== "off" || (!powered && memory === "empty"),
    },
    {
      name: "OFF means that nothing is left, once the switch is known",
      holds: ({ life, powered }) =>
        life?.mode !== "OFF" || life.power === "unknown" || life.power === "coming" || !powered,
    },
    {
      name: "weights go into empty memory only",
      holds: ({ life, memory }) => life?.mode !== "UPLOAD" || memory === "empty",
    },
    {
      name: "after a halt that was obeyed, inputs pass only when its release was signed",
      holds: (world) =>
        !serves(world) ||
        between(world) ||
        halts.every((halt, i) => {
          const release = releases[i];
          return (
            !world.obeyed.includes(halt) ||
            (release !== undefined && world.signed.includes(release))
          );
        }),
    },
    {
      name: "what was answered as obeyed is on disk",
      holds: (world) =>
        halts.every(
          (halt) =>
            !world.obeyed.includes(halt) ||
            between(world) ||
            stands(world.disk, halt) ||
            world.disk.released.includes(halt),
        ),
    },
    {
      name: "an order that was released never halts again",
      holds: ({ disk }) =>
        !halts.some((halt) => stands(disk, halt) && disk.released.includes(halt)),
    },
    {
      name: "a halt ends by its own release alone",
      holds: ({ signed, disk }, before, label) => {
        if (before === null || label?.startsWith("the thief")) return true;
        const over = halts.filter((halt) => stands(before.disk, halt) && !stands(disk, halt));
        return over.every((halt) => signed.includes(halt === "H1" ? "R1" : "R2"));
      },
    },
  ];
}

export interface GatewayModelOptions {
  readonly rules?: Rules;
  readonly rollback?: boolean;
  /** Halts that may be ordered, each with its release: 1 or 2. */
  readonly halts?: 1 | 2;
}

/** The model. Every part of it is finite, so nothing has to be bounded. */
export function gatewayModel({
  rules = shipped,
  rollback = false,
  halts: most = 2,
}: GatewayModelOptions = {}): Model<World> {
  const nothing = { signed: [], copy: null, half: null, obeyed: [] };
  const start: World = {
    ...{ ...nothing, disk: emptyState, life: null, powered: false, memory: "empty" },
  };
  return {
    initial: [start],
    steps: (world) => stepsOf(rules, rollback, most, world),
    invariants: invariantsOf(rules),
    maxStates: 500_000,
  };
}
