/**
 * The mode of a gateway's server: the only legal transitions, in one place (RFD 017, property 2).
 *
 *   OFF ──power-on──> UPLOAD ──weights-complete──> SERVING
 *    ^ \                 │                            │
 *    │  └─halt-stands─┐  kill                         kill
 *    │                v  v                            │
 *    └─memory-gone── KILLED <─────────────────────────┘
 *
 * No inference passes in UPLOAD and no weights in SERVING: callers ask `mode` at every frame.
 */
import type { Mode } from "../format/router-link.ts";

export type ModeEvent = "power-on" | "weights-complete" | "kill" | "memory-gone" | "halt-stands";

const transitions: Readonly<Record<Mode, Partial<Record<ModeEvent, Mode>>>> = {
  OFF: { "power-on": "UPLOAD", "halt-stands": "KILLED" },
  UPLOAD: { "weights-complete": "SERVING", kill: "KILLED" },
  SERVING: { kill: "KILLED" },
  KILLED: { "memory-gone": "OFF" },
};

/** The mode after `event`, or null when the event is not legal in `mode`. Pure. */
export function nextMode(mode: Mode, event: ModeEvent): Mode | null {
  return transitions[mode][event] ?? null;
}
