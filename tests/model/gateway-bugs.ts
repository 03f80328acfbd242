/** Bugs to put into the gateway's reducers: each must be found by the invariants it names. */
import type { LifeEvent, LifeState } from "../../src/gateway/life-state.ts";
import { shipped, type Rules } from "./gateway-world.ts";

/** The shipped reducer, except where `other` has something to say. */
const life =
  (other: (state: LifeState, event: LifeEvent) => LifeState | undefined): Rules["nextLife"] =>
  (state, event) =>
    other(state, event) ?? shipped.nextLife(state, event);

interface SeededBug {
  /** Invariants, each of which finds it alone. */
  readonly breaks: readonly string[];
  readonly rules: Partial<Rules>;
  /** The number of the same bug in gateway.pml. */
  readonly spin?: number;
}

export const bugs: Readonly<Record<string, SeededBug>> = {
  "power is asked for although a halt stands": {
    breaks: ["power is never asked for while a halt stands"],
    rules: {
      nextLife: life((state, event) =>
        event === "power-asked" && state.mode === "OFF" && state.power === "off" && !state.stopping
          ? { ...state, power: "coming" }
          : undefined,
      ),
    },
    spin: 1,
  },
  "a power-on that failed counts as off": {
    breaks: ["what is held to be off is off, and its memory gone"],
    rules: {
      nextLife: life((state, event) =>
        event === "power-failed" && state.power === "coming"
          ? { ...state, power: "off" }
          : undefined,
      ),
    },
    spin: 2,
  },
  "a start takes the switch to be off": {
    breaks: ["what is held to be off is off, and its memory gone"],
    rules: { lifeBegins: (halted) => ({ ...shipped.lifeBegins(halted), power: "off" }) },
    spin: 3,
  },
  "a cycle that is over still takes inputs": {
    breaks: ["a halted gateway takes no inputs"],
    rules: { accepting: (state) => shipped.accepting({ ...state, ending: null }) },
    spin: 4,
  },
  "a halt does not end the cycle": {
    breaks: ["a halted gateway takes no inputs"],
    rules: {
      nextLife: life((state, event) => (event === "halt" ? { ...state, halted: true } : undefined)),
    },
  },
  "released orders are forgotten": {
    breaks: ["an order that was released never halts again"],
    rules: {
      decideOrder: (order, sealed, standing, context) =>
        shipped.decideOrder(order, sealed, { ...standing, released: new Set() }, context),
    },
    spin: 5,
  },
  "a start knows no halt": {
    breaks: ["a halted gateway takes no inputs"],
    rules: { lifeBegins: () => shipped.lifeBegins(false) },
    spin: 6,
  },
  "a second halt is answered and not stored": {
    breaks: [
      "power is asked for only when each halt that was obeyed has been released",
      "what was answered as obeyed is on disk",
    ],
    rules: {
      decideOrder: (verified, sealed, standing, context) => {
        const { order, digest } = verified;
        const second = order.action === "shutdown" && standing.halts.length > 0;
        return second && !standing.released.has(digest)
          ? { outcome: { kind: "already-halted" }, change: null }
          : shipped.decideOrder(verified, sealed, standing, context);
      },
    },
    spin: 7,
  },
  "a release ends every halt": {
    breaks: ["a halt ends by its own release alone"],
    rules: {
      decideOrder: (verified, sealed, standing, context) => {
        const { outcome, change } = shipped.decideOrder(verified, sealed, standing, context);
        return outcome.kind === "released"
          ? { outcome: { ...outcome, halts: 0 }, change: { ...change, halts: [] } }
          : { outcome, change };
      },
    },
  },
  "the release of one halt restarts a server on which another stands": {
    breaks: ["power is never asked for while a halt stands"],
    rules: {
      decideOrder: (...given) => {
        const { outcome, change } = shipped.decideOrder(...given);
        return {
          outcome: outcome.kind === "released" ? { ...outcome, halts: 0 } : outcome,
          change,
        };
      },
    },
    spin: 8,
  },
  "any release ends any halt": {
    breaks: ["a halt ends by its own release alone"],
    rules: {
      decideOrder: (verified, sealed, standing, context) => {
        const { order } = verified;
        const named =
          order.action === "release" && standing.halts[0] !== undefined
            ? { ...verified, order: { ...order, halt: standing.halts[0].digest } }
            : verified;
        return shipped.decideOrder(named, sealed, standing, context);
      },
    },
  },
  "inputs pass in UPLOAD": {
    breaks: ["inputs pass only in SERVING, with power on and all weights in"],
    rules: { accepting: (state) => (state.mode === "UPLOAD" ? "yes" : shipped.accepting(state)) },
  },
  "the next cycle begins before power is gone": {
    breaks: ["OFF means that nothing is left, once the switch is known"],
    rules: {
      nextLife: life((state, event) =>
        event === "memory-gone" && state.mode === "KILLED" && !state.halted
          ? { ...state, mode: "OFF" }
          : undefined,
      ),
    },
  },
  "power comes on over what was left": {
    breaks: ["weights go into empty memory only"],
    rules: {
      // Neither the switch nor the halt is looked at: a crash leaves a server with its weights.
      nextLife: life((state, event) =>
        event === "power-asked" && state.mode === "OFF" && state.power === "unknown"
          ? { ...state, power: "coming" }
          : undefined,
      ),
    },
  },
  "an order is acted on and answered before it is durable": {
    breaks: [
      "what was answered as obeyed is on disk",
      "after a halt that was obeyed, inputs pass only when its release was signed",
    ],
    rules: { durableFirst: false },
  },
};
