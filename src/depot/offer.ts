/**
 * The depot: holds weights and offers them to gateways, one stream per FETCH, at the gateway's pace,
 * sealed to the boot key that the FETCH brings, once the gateway's device key has signed for it.
 *
 * Trust: the gateway needs none in it: a lying depot is found out at the first bad chunk. The weights' owner
 * trusts it to seal them to nobody but the devices it was told of; a thief of its disk has the weights.
 */
import type { KeyObject } from "node:crypto";
import { assert, InvalidError, UnavailableError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import { gcmSealInPlace, gcmTagBytes } from "../base/gcm.ts";
import { hpkeSender, type HpkeSender } from "../base/hpke.ts";
import type { RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { publicKeyFromHex } from "../base/sign.ts";
import { openBootKey, type BootKey } from "../format/boot-key.ts";
import { decodeFetch, encodeOffer, type Fetch } from "../format/depot-link.ts";
import { chunkHeadMax, chunkKeyOf, chunkNonce, weightsInfo } from "../format/weights-stream.ts";
import { frameHeaderBytes, frameType, writeFrameHeader } from "../format/link.ts";
import type { DepotStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import type { WeightsFile } from "./weights.port.ts";

export interface DepotOptions {
  readonly name: string;
  readonly models: readonly WeightsFile[];
  /** Device keys, public, 64 hex digits each, by the name of the gateway. Others get nothing. */
  readonly deviceKeys: ReadonlyMap<string, string>;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** What one FETCH asks for, its boot key checked. */
interface Order {
  readonly model: WeightsFile;
  readonly first: number;
  readonly bootKey: BootKey;
  /** Towards the boot key, bound to all of the above. */
  readonly context: HpkeSender;
}

export class Depot {
  readonly #o: DepotOptions;
  #uploads = 0;
  #bytesSent = 0;

  constructor(options: DepotOptions) {
    this.#o = options;
  }

  /** Serves one gateway's link: FETCH is answered by OFFER and chunks, or by NONE. */
  attachGateway(wire: Wire): void {
    let busy = false;
    const sender = new Sender(wire);
    wire.onFrame((frame) => {
      if (frame.type !== frameType.fetch || busy) {
        throw new InvalidError("depot.frame", "a gateway sends one FETCH at a time");
      }
      const order = this.#accept(wire, decodeFetch(frame.payload));
      if (order === null) {
        wire.send(frameType.none, 0n);
        return;
      }
      busy = true;
      this.#stream(wire, sender, order)
        .catch((error: unknown) => {
          if (!(error instanceof UnavailableError)) throw error;
          this.#o.logger.log("warn", "depot.upload-failed", {
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

  /** The order of a FETCH; null where the model is not held. Throws InvalidError for a boot key that is not the device's. */
  #accept(wire: Wire, { root, first, certificate }: Fetch): Order | null {
    const { models, logger } = this.#o;
    const gateway = wire.peer.name;
    try {
      const { bootKey, deviceKey } = this.#checkBootKey(gateway, certificate);
      const model = models.find((candidate) => candidate.root.equals(root));
      if (model === undefined) {
        logger.log("warn", "depot.not-held", { gateway, root: root.toString("hex") });
        return null;
      }
      if (first >= chunksOf(model)) {
        throw new InvalidError("depot.first", "the model does not have that many chunks");
      }
      const info = weightsInfo({ deviceKey, bootKey, root, first });
      const context = hpkeSender(bootKey.publicKey, info, this.#o.random);
      return { model, first, bootKey, context };
    } catch (error) {
      if (error instanceof InvalidError) {
        logger.log("warn", "depot.refused", { gateway, code: error.code, why: error.message });
      }
      throw error;
    }
  }

  #checkBootKey(gateway: string, certificate: Buffer): { bootKey: BootKey; deviceKey: Uint8Array } {
    const hex = this.#o.deviceKeys.get(gateway);
    if (hex === undefined) {
      throw new InvalidError("depot.device", `no device key of ${gateway} is configured`);
    }
    const bootKey = openBootKey(certificate, publicKeyFromHex(hex));
    if (bootKey.gateway !== gateway) {
      throw new InvalidError("depot.device", `${gateway} showed a boot key of ${bootKey.gateway}`);
    }
    return { bootKey, deviceKey: fromHex(hex, 32) };
  }

  async #stream(wire: Wire, sender: Sender, order: Order): Promise<void> {
    const { model, first, bootKey, context } = order;
    const { sizeBytes, chunkBytes, modelId } = model;
    const chunks = chunksOf(model);
    const key = chunkKeyOf(context);
    this.#uploads++;
    this.#o.logger.log("info", "depot.upload", {
      ...{ gateway: wire.peer.name, modelId, sizeBytes, first },
      ...{ epoch: bootKey.epoch, boot: bootKey.boot },
    });
    const offer = { sizeBytes: BigInt(sizeBytes), chunkBytes, enc: context.enc };
    wire.send(frameType.offer, 0n, encodeOffer(offer));
    // Two buffers in turns: one is read into while the other is sent, and neither is ever made anew.
    let [front, back] = [0, 0].map(() => new ChunkFrame(Math.min(chunkBytes, sizeBytes)));
    assert(front !== undefined && back !== undefined, "there are two");
    let next = model.chunk(first, front.data);
    for (let index = first; index < chunks; index++) {
      const { data, proof } = await next;
      const last = index + 1 === chunks;
      // Read ahead by one, so that disk and network overlap.
      if (!last) next = model.chunk(index + 1, back.data);
      next.catch(() => undefined); // a failed read ahead is met at the next turn
      const taken = sender.send(front.seal(key, index, last, proof, data));
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
      name: this.#o.name,
      models: this.#o.models.map(({ modelId, sizeBytes }) => ({ modelId, sizeBytes })),
      uploads: this.#uploads,
      bytesSent: this.#bytesSent,
    };
  }
}

function chunksOf({ sizeBytes, chunkBytes }: WeightsFile): number {
  return Math.ceil(sizeBytes / chunkBytes);
}

/** Memory of a whole CHUNK frame: header, number of hashes, hashes, data, tag. */
class ChunkFrame {
  /** Where a chunk's data is read to; what lies before it depends on the number of hashes. */
  readonly data: Buffer;
  readonly #memory: Buffer;

  constructor(chunkBytes: number) {
    this.#memory = Buffer.allocUnsafeSlow(
      frameHeaderBytes + chunkHeadMax + chunkBytes + gcmTagBytes,
    );
    this.data = this.#memory.subarray(dataAt, dataAt + chunkBytes);
  }

  /** The frame of chunk `index`, sealed. `data` lies in `this.data`, or elsewhere and is copied. */
  seal(
    key: KeyObject,
    index: number,
    last: boolean,
    proof: readonly Buffer[],
    data: Buffer,
  ): Buffer {
    if (data.buffer !== this.#memory.buffer) this.data.set(data);
    const start = dataAt - 1 - 32 * proof.length;
    const end = dataAt + data.length + gcmTagBytes;
    this.#memory.writeUInt8(proof.length, start);
    proof.forEach((hash, i) => this.#memory.set(hash, start + 1 + 32 * i));
    const sealed = this.#memory.subarray(start, end);
    gcmSealInPlace("aes-256-gcm", key, chunkNonce(index, last), noBytes, sealed);
    const at = start - frameHeaderBytes;
    writeFrameHeader(this.#memory, at, frameType.chunk, BigInt(index), sealed.length);
    return this.#memory.subarray(at, end);
  }
}

const dataAt = frameHeaderBytes + chunkHeadMax;
const noBytes = Buffer.alloc(0);

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
