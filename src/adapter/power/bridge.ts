/** Joins two links frame by frame, each waiting for the other when it is slow. */
import { encodeFrame, frameType, type Frame, type FrameType } from "../../format/link.ts";
import type { Wire } from "../../format/wire.ts";

const known = new Map<number, FrameType>(Object.values(frameType).map((type) => [type, type]));

/**
 * Passes every frame of each wire to the other until one closes, which closes the other. Holds at
 * most what the two wires have queued: reading stops while the other side is not drained.
 */
export function bridgeWires(a: Wire, b: Wire): void {
  oneWay(a, b);
  oneWay(b, a);
}

function oneWay(from: Wire, to: Wire): void {
  let waiting = false;
  from.onFrame((frame: Frame) => {
    const type = known.get(frame.type);
    if (type === undefined) {
      from.close(`frame type ${frame.type} is unknown`);
      return;
    }
    // encodeFrame copies: the payload is only lent to us.
    if (to.sendRaw(encodeFrame(type, frame.id, frame.payload)) || waiting || to.closed) return;
    waiting = true;
    from.pause();
    to.drained().then(
      () => {
        waiting = false;
        from.resume();
      },
      () => undefined,
    );
  });
  from.onClose((reason) => {
    to.close(reason);
  });
}
