/**
 * Step 6 of the pair path: what is durable goes to the routers, all of a tick with one write each.
 * Whoever calls this has seen the ring's commit resolve.
 */
import { Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { frameHeaderBytes, frameType, writeFrameHeader } from "../format/link.ts";
import { encodeAbort, writeRawOutputPart } from "../format/router-link.ts";
import type { Wire } from "../format/wire.ts";
import type { Carriers } from "./carriers.ts";
import type { OpenPair } from "./open-pair.ts";

/** Bytes a router may leave unread before its link is dropped: its clients' limits come first. */
const routerBacklogMax = 16 * limits.clientBacklog;

/** Memory that the kernel has taken everything out of, for the next tick; none above this is kept. */
const sparesMax = 4;
const spareBytesMax = 1_048_576;
const spares: Writer[] = [];

const header = Buffer.alloc(frameHeaderBytes);

/** The order in which pairs leave a tick is not their server's: which of them it spoke of first stays here. */
const byTag = (a: OpenPair, b: OpenPair): number => (a.tag < b.tag ? -1 : 1);

/**
 * Sends ADMITTED, OUTPUT and ABORT of what is durable of these pairs at a release tick, in the order of
 * their tags. One whose router is gone is passed over.
 */
export function release(pairs: readonly OpenPair[], tick: number, carriers: Carriers): void {
  const outgoing = new Map<Wire, Writer>();
  for (const pair of pairs.length > 1 ? pairs.toSorted(byTag) : pairs) {
    const { router } = pair;
    if (router.closed) continue;
    let writer = outgoing.get(router);
    if (writer === undefined) {
      writer = spares.pop() ?? new Writer(65_536);
      outgoing.set(router, writer);
    }
    const ended = pair.complete && pair.over !== null;
    if (!pair.announced || ended || pair.durable > pair.released) {
      carriers.sign(pair, tick, pair.durable - pair.released);
    }
    layOut(writer, pair);
    if (ended) carriers.over(pair);
  }
  for (const [router, writer] of outgoing) {
    router.sendRaw(writer.bytes(), () => {
      giveBack(writer);
    });
    if (router.backlog > routerBacklogMax) router.close("the router reads too slowly");
  }
}

function giveBack(writer: Writer): void {
  if (spares.length >= sparesMax || writer.length > spareBytesMax) return;
  writer.reset();
  spares.push(writer);
}

function layOut(out: Writer, pair: OpenPair): void {
  const id = pair.requestId;
  if (!pair.announced) {
    pair.announced = true;
    writeFrameHeader(header, 0, frameType.admitted, id, 8);
    out.raw(header).u64(pair.tag);
  }
  const over = pair.complete ? pair.over : null;
  const ended = over !== null && over.finish !== "cut-off";
  if (ended || pair.durable > pair.released) {
    const { assembler } = pair;
    const final = ended
      ? {
          finish: over.finish,
          promptTokens: assembler.promptTokens,
          completionTokens: assembler.tokenCount,
        }
      : null;
    const start = out.length;
    writeFrameHeader(header, 0, frameType.output, id, 0);
    out.raw(header);
    writeRawOutputPart(out, assembler.text(pair.released, pair.durable), final);
    out.patchU32(start, out.length - start - frameHeaderBytes);
    pair.released = pair.durable;
  }
  if (over?.abort != null) {
    const payload = encodeAbort(over.abort);
    writeFrameHeader(header, 0, frameType.abort, id, payload.length);
    out.raw(header).raw(payload);
  }
}
