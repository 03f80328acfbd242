/**
 * The depot: holds weights and offers them to gateways, one stream per FETCH, at the gateway's pace.
 * Trust: none is needed. A lying depot is found out at the first bad chunk; a thief of its disk has
 * the weights (they lie there in the clear until the encrypted input path comes).
 */
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { decodeFetch, encodeOffer } from "../format/depot-link.ts";
import { frameHeaderBytes, frameType, writeFrameHeader } from "../format/link.ts";
import type { DepotStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import type { WeightsFile } from "./weights.port.ts";

export class Depot {
  readonly #name: string;
  readonly #models: readonly WeightsFile[];
  readonly #logger: Logger;
  #uploads = 0;
  #bytesSent = 0;

  constructor(name: string, models: readonly WeightsFile[], logger: Logger) {
    this.#name = name;
    this.#models = models;
    this.#logger = logger;
  }

  /** Serves one gateway's link: FETCH is answered by OFFER and chunks, or by NONE. */
  attachGateway(wire: Wire): void {
    let busy = false;
    const sender = new Sender(wire);
    wire.onFrame((frame) => {
      if (frame.type !== frameType.fetch || busy) {
        throw new InvalidError("depot.frame", "a gateway sends one FETCH at a time");
      }
      const root = decodeFetch(frame.payload);
      const model = this.#models.find((candidate) => candidate.root.equals(root));
      if (model === undefined) {
        this.#logger.log("warn", "depot.not-held", {
          gateway: wire.peer.name,
          root: root.toString("hex"),
        });
        wire.send(frameType.none, 0n);
        return;
      }
      busy = true;
      this.#stream(wire, sender, model)
        .catch((error: unknown) => {
          if (!(error instanceof UnavailableError)) throw error;
          this.#logger.log("warn", "depot.upload-failed", {
            gateway: wire.peer.name,
            why: error.message,
          });
          wire.close(error.message);
        })
        .finally(() => {
          busy = false;
        });
    });
  }

  async #stream(wire: Wire, sender: Sender, model: WeightsFile): Promise<void> {
    const { sizeBytes, chunkBytes, modelId } = model;
    const chunks = Math.ceil(sizeBytes / chunkBytes);
    this.#uploads++;
    this.#logger.log("info", "depot.upload", { gateway: wire.peer.name, modelId, sizeBytes });
    wire.send(frameType.offer, 0n, encodeOffer({ sizeBytes: BigInt(sizeBytes), chunkBytes }));
    // Two buffers in turns: one is read into while the other is sent, and neither is ever made anew.
    let [front, back] = [0, 0].map(() => Buffer.allocUnsafeSlow(Math.min(chunkBytes, sizeBytes)));
    assert(front !== undefined && back !== undefined, "there are two");
    let next = model.chunk(0, front);
    for (let index = 0; index < chunks; index++) {
      const { data, proof } = await next;
      const last = index + 1 === chunks;
      // Read ahead by one, so that disk and network overlap.
      if (!last) next = model.chunk(index + 1, back);
      next.catch(() => undefined); // a failed read ahead is met at the next turn
      wire.sendRaw(chunkHead(index, proof, data.length));
      const taken = sender.send(data);
      this.#bytesSent += data.length;
      // After the last chunk the gateway has all its bits and may close: nothing to wait for.
      if (last) taken.catch(() => undefined);
      else await taken;
      [front, back] = [back, front];
    }
    wire.send(frameType.done, 0n);
  }

  status(): DepotStatus {
    return {
      role: "depot",
      name: this.#name,
      models: this.#models.map(({ modelId, sizeBytes }) => ({ modelId, sizeBytes })),
      uploads: this.#uploads,
      bytesSent: this.#bytesSent,
    };
  }
}

/** Everything of a CHUNK frame but its data: header, number of hashes, hashes. */
function chunkHead(index: number, proof: readonly Buffer[], dataBytes: number): Buffer {
  const head = Buffer.allocUnsafe(frameHeaderBytes + 1 + 32 * proof.length);
  const length = 1 + 32 * proof.length + dataBytes;
  writeFrameHeader(head, 0, frameType.chunk, BigInt(index), length);
  head.writeUInt8(proof.length, frameHeaderBytes);
  proof.forEach((hash, i) => head.set(hash, frameHeaderBytes + 1 + 32 * i));
  return head;
}

/** Sends bytes of memory that is used again: says when the kernel has them, or that the link is lost. */
class Sender {
  readonly #wire: Wire;
  #giveUp: ((error: UnavailableError) => void) | null = null;

  constructor(wire: Wire) {
    this.#wire = wire;
    wire.onClose((reason) => {
      this.#giveUp?.(new UnavailableError("depot.link", reason, "unknown"));
    });
  }

  /** One at a time. */
  send(bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#giveUp = reject;
      this.#wire.sendRaw(bytes, resolve);
      if (this.#wire.closed) {
        reject(new UnavailableError("depot.link", "the link is closed", "unknown"));
      }
    });
  }
}
