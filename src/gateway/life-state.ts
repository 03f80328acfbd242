/**
 * What the life of a server (life.ts) may do next, as a pure function: state and event in, state out, or
 * null where the event is not legal. tests/model explores every order of events, with crashes in between.
 */
import type { Mode } from "../format/router-link.ts";
import { nextMode, type ModeEvent } from "./mode.ts";

/** Why a power cycle is over. */
export type CycleEnd = "fault" | "flicker" | "halt" | "stop";

export interface LifeState {
  readonly mode: Mode;
  /**
   * What is known of the switch. `unknown`: an earlier run, or a power-on that failed, may have left the
   * server powered. `coming`: it was asked for. `on` holds until nothing of the server is left.
   */
  readonly power: "unknown" | "off" | "coming" | "on";
  /** A halt stands: no power until its release. */
  readonly halted: boolean;
  /** The process is to end: power off, for good. */
  readonly stopping: boolean;
  /** The first reason that came up in this power cycle; null while there is none. */
  readonly ending: CycleEnd | null;
  /** The engine has loaded the weights and pairs may pass. */
  readonly ready: boolean;
  readonly draining: boolean;
}

export type LifeEvent =
  | "halt"
  | "release"
  | "stop"
  | "fault"
  | "flicker"
  | "power-asked"
  | "power-failed"
  | "power-gone"
  | "ready"
  | "drain"
  | ModeEvent;

/** A life begins: nobody knows what an earlier run left powered. */
export function lifeBegins(halted: boolean): LifeState {
  const nothing = { ending: null, ready: false, draining: false, stopping: false } as const;
  return { mode: "OFF", power: "unknown", halted, ...nothing };
}

/** Whether a power cycle runs: from power-on to the kill. */
function inCycle({ mode }: LifeState): boolean {
  return mode === "UPLOAD" || mode === "SERVING";
}

/** The first reason counts; outside a power cycle there is nothing to end. */
function ended(state: LifeState, why: CycleEnd): LifeState {
  return inCycle(state) && state.ending === null ? { ...state, ending: why } : state;
}

function moved(
  state: LifeState,
  event: ModeEvent,
  more: Partial<LifeState> = {},
): LifeState | null {
  const mode = nextMode(state.mode, event);
  return mode === null ? null : { ...state, ...more, mode };
}

/** Why a cycle is over as soon as it begins: an order or a stop came while power was coming on. */
function overAtOnce({ stopping, halted }: LifeState): CycleEnd | null {
  if (stopping) return "stop";
  return halted ? "halt" : null;
}

type Rule = (state: LifeState) => LifeState | null;

const fromOff: Rule = (state) => {
  const { mode, power, halted, stopping } = state;
  const may = mode === "OFF" && power === "off" && !halted && !stopping;
  return may ? { ...state, power: "coming" } : null;
};

/** For each event: the state after it, or null. */
const rules: Readonly<Record<LifeEvent, Rule>> = {
  // What others want. A halt and its release hold from now on, whatever the server does.
  halt: (state) => ended({ ...state, halted: true }, "halt"),
  release: (state) => ({ ...state, halted: false }),
  stop: (state) => ended({ ...state, stopping: true }, "stop"),
  fault: (state) => ended(state, "fault"),
  flicker: (state) => ended(state, "flicker"),
  // The switch.
  "power-asked": fromOff,
  "power-failed": (state) => (state.power === "coming" ? { ...state, power: "unknown" } : null),
  "power-gone": (state) =>
    state.power === "unknown" || state.mode === "KILLED" ? { ...state, power: "off" } : null,
  // The mode.
  "power-on": (state) =>
    state.power === "coming"
      ? moved(state, "power-on", { power: "on", ending: overAtOnce(state) })
      : null,
  "weights-complete": (state) => (state.ending === null ? moved(state, "weights-complete") : null),
  kill: (state) =>
    state.ending === null
      ? null
      : moved(state, "kill", { ending: null, ready: false, draining: false }),
  "halt-stands": (state) =>
    state.power === "off" && state.halted ? moved(state, "halt-stands") : null,
  "memory-gone": (state) =>
    state.power === "off" && (!state.halted || state.stopping) ? moved(state, "memory-gone") : null,
  // Serving.
  ready: (state) =>
    state.mode === "SERVING" && state.ending === null ? { ...state, ready: true } : null,
  drain: (state) => (accepting(state) === "yes" ? { ...state, draining: true } : null),
};

/** The state after `event`, or null where it is not legal: that is a bug of the caller. Pure. */
export function nextLife(state: LifeState, event: LifeEvent): LifeState | null {
  return rules[event](state);
}

/** Whether inputs may come in, and if not, why. */
export function accepting(state: LifeState): "yes" | "not-serving" | "draining" {
  const { mode, ready, ending, draining } = state;
  if (mode !== "SERVING" || !ready || ending !== null) return "not-serving";
  return draining ? "draining" : "yes";
}
