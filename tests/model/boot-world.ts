/**
 * The boot of a gateway and its end by tampering, for the model checker: the shipped reducer, with power lost
 * between any two effects, tampering at any moment, and answers of an earlier life that come again.
 */
import {
  bootOff,
  nextBoot,
  type BootEffect,
  type BootEvent,
  type BootState,
} from "../../src/gateway/boot.ts";
import type { Invariant, Model, Step } from "./explore.ts";

export interface BootWorld {
  readonly boot: BootState;
  readonly todo: readonly BootEffect[];
  /** The device secret still comes back. */
  readonly secret: boolean;
  /** The durable mark that destroying has begun. */
  readonly marked: boolean;
  /** The next stage runs, with the secret. */
  readonly serving: boolean;
  /** Of this power cycle: the measurement was right; somebody tampered and it was heard. */
  readonly measured: boolean;
  readonly tampered: boolean;
  /** Destroying was tried, in any cycle. */
  readonly tried: boolean;
}

const why = "x";
/** Effects that may wait: bounds what old answers can pile up. */
const waiting = 6;

function* doing(next: typeof nextBoot, world: BootWorld): Iterable<Step<BootWorld>> {
  const [effect, ...todo] = world.todo;
  if (effect === undefined) return;
  const rest = { ...world, todo };
  const told = (
    label: string,
    event: BootEvent,
    more: Partial<BootWorld> = {},
  ): Step<BootWorld> => ({
    label,
    next: tell(next, { ...rest, ...more }, event),
  });
  switch (effect) {
    case "measure":
      yield told("measured: right", { kind: "measured", ok: true, why }, { measured: true });
      yield told("measured: wrong", { kind: "measured", ok: false, why });
      return;
    case "unlock":
      for (const result of world.secret
        ? (["ok", "refused", "away"] as const)
        : (["gone", "away"] as const)) {
        yield told(`unlock: ${result}`, { kind: "unlocked", result, why });
      }
      return;
    case "destroy":
      for (const ok of [true, false]) {
        const event = { kind: "destroyed", ok } as const;
        yield told(`destroy: ${ok ? "done" : "gone, but not told"}`, event, {
          ...{ secret: false, tried: true },
        });
      }
      yield told("destroy: failed", { kind: "destroyed", ok: false }, { tried: true });
      return;
    case "start":
      yield { label: "the next stage starts", next: { ...rest, serving: true } };
      return;
    case "mark":
      yield { label: "the mark is durable", next: { ...rest, marked: true } };
      return;
    case "cut-power":
    case "end":
      yield { label: effect, next: { ...rest, serving: false } };
  }
}

function tell(next: typeof nextBoot, world: BootWorld, event: BootEvent): BootWorld {
  const { state, effects } = next(world.boot, event);
  return { ...world, boot: state, todo: [...world.todo, ...effects].slice(0, waiting) };
}

function* stepsOf(next: typeof nextBoot, world: BootWorld): Iterable<Step<BootWorld>> {
  yield* doing(next, world);
  const off = { todo: [], serving: false, measured: false, tampered: false };
  const dark = tell(next, { ...world, ...off }, { kind: "power-off" });
  yield { label: "power is lost", next: { ...dark, todo: [] } };
  if (world.boot.phase === "OFF") {
    const event = { kind: "power-on", marked: world.marked } as const;
    yield { label: "power comes", next: tell(next, world, event) };
    return;
  }
  const event = { kind: "tamper", why } as const;
  yield { label: "tampering", next: { ...tell(next, world, event), tampered: true } };
  const late = { kind: "unlocked", result: "ok", why } as const;
  yield { label: "an old answer: unlocked", next: tell(next, world, late) };
}

/** All effects are done. */
const settled = ({ todo }: BootWorld): boolean => todo.length === 0;

const invariants: readonly Invariant<BootWorld>[] = [
  {
    name: "nothing starts unmeasured",
    holds: ({ serving, measured }) => !serving || measured,
  },
  {
    name: "tampering that was heard ends service",
    holds: (world) => !(world.tampered && settled(world) && world.serving),
  },
  {
    name: "destroying begins after its mark is durable",
    holds: ({ tried, marked }) => !tried || marked,
  },
  {
    name: "with the mark on disk nothing is measured, unlocked or started anew",
    holds: ({ marked, serving }, before, label) =>
      !marked ||
      before === null ||
      !/^(?:measured|unlock|the next)/.test(label ?? "") ||
      before.tampered ||
      (!serving && before.boot.phase !== "UNLOCKING"),
  },
  {
    name: "bricked is said only of a secret that is gone, and serves nothing",
    holds: (world) =>
      world.boot.phase !== "BRICKED" || (!world.secret && !(settled(world) && world.serving)),
  },
];

/** The model; `next`: the shipped reducer, or one with a bug. */
export function bootModel(next: typeof nextBoot = nextBoot): Model<BootWorld> {
  const start: BootWorld = {
    ...{ boot: bootOff, todo: [], secret: true, marked: false, serving: false },
    ...{ measured: false, tampered: false, tried: false },
  };
  return { initial: [start], steps: (world) => stepsOf(next, world), invariants };
}
