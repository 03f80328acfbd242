/**
 * What every role owes its observers: STATUS frames on request, once a second and on change.
 * Used by each role's bin; the status itself is built by the role. spec/link.md, "watch".
 */
import { assert, InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { RoleStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";

const periodMs = 1000;
/** An observer with this many unread bytes gets no further status until it has read them. */
const backlogMax = 2 * limits.statusBytes;

export interface Observed {
  /** Sends a status now, beside the one of each second. Does nothing before WATCH. */
  push(): void;
}

/**
 * Answers WATCH on `wire` with `status()` as JSON, at once and then every second until the wire
 * closes. Frames of other types go to `onOther`; without it they close the wire.
 */
export function serveObservers(
  wire: Wire,
  status: () => RoleStatus,
  clock: Clock,
  onOther?: (frame: Frame) => void,
): Observed {
  let watching = false;
  const push = (): void => {
    if (!watching || wire.backlog > backlogMax) return;
    const payload = Buffer.from(JSON.stringify(status()));
    assert(payload.length <= limits.statusBytes, "a status fits its frame");
    wire.send(frameType.status, 0n, payload);
  };
  wire.onFrame((frame) => {
    if (frame.type === frameType.watch) {
      if (frame.payload.length > 0) throw new InvalidError("watch.payload", "WATCH has no payload");
      if (!watching) {
        const timer = clock.every(periodMs, push);
        wire.onClose(() => {
          timer.cancel();
        });
      }
      watching = true;
      push();
    } else if (onOther !== undefined) onOther(frame);
    else throw new InvalidError("watch.frame", `an observer sent a frame of type ${frame.type}`);
  });
  return { push };
}
