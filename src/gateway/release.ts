/**
 * Step 6 of the pair path: what is durable goes to the routers, all of a tick with one write each.
 * Whoever calls this has seen the ring's commit resolve.
 */
import { Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { frameHeaderBytes, frameType, writeFrameHeader } from "../format/link.ts";
import { encodeAbort, encodeAdmitted, writeOutputPart } from "../format/router-link.ts";
import type { Wire } from "../format/wire.ts";
import type { Part } from "./open-pair.ts";

/** Bytes a router may leave unread before its link is dropped: its clients' limits come first. */
const routerBacklogMax = 16 * limits.clientBacklog;

const header = Buffer.alloc(frameHeaderBytes);

/** Sends ADMITTED, OUTPUT and ABORT of these parts. Parts whose router is gone are passed over. */
export function release(parts: readonly Part[]): void {
  const outgoing = new Map<Wire, Writer>();
  for (const part of parts) {
    const { router } = part.pair;
    if (router.closed) continue;
    let writer = outgoing.get(router);
    if (writer === undefined) {
      writer = new Writer(4096);
      outgoing.set(router, writer);
    }
    layOut(writer, part);
  }
  for (const [router, writer] of outgoing) {
    router.sendRaw(writer.bytes());
    if (router.backlog > routerBacklogMax) router.close("the router reads too slowly");
  }
}

function layOut(out: Writer, part: Part): void {
  const { pair, text, over } = part;
  const id = pair.requestId;
  if (!pair.announced) {
    pair.announced = true;
    const payload = encodeAdmitted(pair.tag);
    writeFrameHeader(header, 0, frameType.admitted, id, payload.length);
    out.raw(header).raw(payload);
  }
  const ended = over !== null && over.finish !== "cut-off";
  if (ended || text !== "") {
    const final = ended
      ? {
          finish: over.finish,
          promptTokens: pair.assembler.promptTokens,
          completionTokens: pair.assembler.tokenCount,
        }
      : null;
    const start = out.length;
    writeFrameHeader(header, 0, frameType.output, id, 0);
    out.raw(header);
    writeOutputPart(out, { text, final });
    out.patchU32(start, out.length - start - frameHeaderBytes);
  }
  if (over?.abort != null) {
    const payload = encodeAbort(over.abort);
    writeFrameHeader(header, 0, frameType.abort, id, payload.length);
    out.raw(header).raw(payload);
  }
}
