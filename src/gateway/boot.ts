/**
 * The boot of a gateway and its end by tampering, as one pure reducer: events in, state and effects out. What the
 * effects do is for bin/device/guard.ts; what must never happen is checked over all runs by boot.test.ts.
 *
 *   OFF ──power-on──> MEASURING ──ok──> UNLOCKING ──ok──> RUNNING
 *                        │ not ok          │ refused, away   │
 *                        v                 v                 │ tamper, from anywhere with power
 *                     REFUSED <────────────┘                 v
 *                                          │ gone        BRICKING ──destroyed──> BRICKED
 *                                          └────────────────────────────────────────^
 *
 * BRICKED has no way out but a new ceremony, which is another device. Losing power while the secret is being destroyed
 * is the dangerous moment: the mark that was made before is found at the next power-on, and destroying goes on.
 */

export type BootPhase =
  "OFF" | "MEASURING" | "UNLOCKING" | "RUNNING" | "REFUSED" | "BRICKING" | "BRICKED";

export interface BootState {
  readonly phase: BootPhase;
  /** Why it is refused or bricked; "" otherwise. */
  readonly why: string;
}

export type BootEvent =
  /** `marked`: an earlier run had begun to destroy the secret. */
  | { readonly kind: "power-on"; readonly marked: boolean }
  | { readonly kind: "power-off" }
  | { readonly kind: "measured"; readonly ok: boolean; readonly why: string }
  | {
      readonly kind: "unlocked";
      readonly result: "ok" | "refused" | "away" | "gone";
      readonly why: string;
    }
  | { readonly kind: "tamper"; readonly why: string }
  /** The attempt to destroy the secret ended. */
  | { readonly kind: "destroyed"; readonly ok: boolean };

/** In the order in which they are to be done; `mark` is durable before `destroy` begins. */
export type BootEffect = "measure" | "unlock" | "start" | "cut-power" | "mark" | "destroy" | "end";

export interface BootStep {
  readonly state: BootState;
  readonly effects: readonly BootEffect[];
}

export const bootOff: BootState = { phase: "OFF", why: "" };

/** Cutting the server's power comes first: it holds weights and texts, and it takes no time. */
const brick: readonly BootEffect[] = ["cut-power", "mark", "destroy"];

function onTamper(state: BootState, why: string): BootStep {
  const { phase } = state;
  // Without power only physics answers: a mesh whose capacities are the key, cells that are cut.
  const deaf = phase === "OFF" || phase === "BRICKING" || phase === "BRICKED";
  return deaf ? { state, effects: [] } : { state: { phase: "BRICKING", why }, effects: brick };
}

/** The step that `event` causes in `state`. An event that does not belong there changes nothing. Pure. */
export function nextBoot(state: BootState, event: BootEvent): BootStep {
  const stay: BootStep = { state, effects: [] };
  switch (event.kind) {
    case "power-off":
      return { state: bootOff, effects: [] };
    case "tamper":
      return onTamper(state, event.why);
    case "power-on":
      if (state.phase !== "OFF") return stay;
      return event.marked
        ? { state: { phase: "BRICKING", why: "an earlier tampering" }, effects: brick }
        : { state: { phase: "MEASURING", why: "" }, effects: ["measure"] };
    case "measured":
      if (state.phase !== "MEASURING") return stay;
      return event.ok
        ? { state: { phase: "UNLOCKING", why: "" }, effects: ["unlock"] }
        : { state: { phase: "REFUSED", why: event.why }, effects: ["end"] };
    case "unlocked": {
      if (state.phase !== "UNLOCKING") return stay;
      if (event.result === "ok")
        return { state: { phase: "RUNNING", why: "" }, effects: ["start"] };
      const phase = event.result === "gone" ? "BRICKED" : "REFUSED";
      return { state: { phase, why: event.why }, effects: ["end"] };
    }
    case "destroyed":
      if (state.phase !== "BRICKING") return stay;
      return event.ok
        ? { state: { ...state, phase: "BRICKED" }, effects: ["end"] }
        : { state, effects: ["destroy"] };
  }
}
