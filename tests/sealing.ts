/** The depot's side of a sealed stream, for tests: honest depots, and hands to forge each part of one. */
import type { KeyObject } from "node:crypto";
import { systemRandom } from "../src/adapter/random.ts";
import { fromHex } from "../src/base/bytes.ts";
import { gcmSeal } from "../src/base/gcm.ts";
import { secretKey } from "../src/base/hash.ts";
import { hpkeSender } from "../src/base/hpke.ts";
import { publicKeyHex } from "../src/base/sign.ts";
import { openBootKey, type BootKey } from "../src/format/boot-key.ts";
import { decodeFetch, encodeChunk, encodeOffer } from "../src/format/depot-link.ts";
import { chunkKeyOf, chunkNonce, weightsInfo } from "../src/format/weights-stream.ts";
import { BootSecret } from "../src/gateway/boot-secret.ts";
import { deviceKeyOf } from "../src/gateway/identity.ts";
import type { WhitelistEntry } from "../src/format/whitelist.ts";
import { Depot, type DepotOptions } from "../src/depot/offer.ts";
import type { WeightsFile } from "../src/depot/weights.port.ts";
import { quiet } from "./support.ts";

/** The root key of the gateways of tests, and what it gives. */
export const testRootKey: KeyObject = secretKey(Buffer.alloc(32, 0x5e));
export const testDeviceKey: KeyObject = deviceKeyOf(testRootKey);
export const testDevicePublic = publicKeyHex(testDeviceKey);

/** An honest depot that knows the test device under the names of a few gateways. */
export function testDepot(models: readonly WeightsFile[], more: Partial<DepotOptions> = {}): Depot {
  const deviceKeys = new Map(["g1", "g2", "g3"].map((name) => [name, testDevicePublic]));
  const common = { name: "d1", models, deviceKeys, random: systemRandom, logger: quiet };
  return new Depot({ ...common, ...more });
}

/** The secret of a boot of g1 on the test device. */
export function testBoot(entry: WhitelistEntry, boot = 1, deviceKey = testDeviceKey): BootSecret {
  const entryDigest = entry.digest;
  return new BootSecret({
    ...{ gateway: "g1", epoch: 1, boot, entryDigest, deviceKey, random: systemRandom },
  });
}

/** One stream towards a gateway of the test device, whose parts may be forged. */
export class TestStream {
  readonly first: number;
  readonly enc: Buffer;
  readonly key: KeyObject;

  constructor(
    bootKey: BootKey,
    root: Uint8Array,
    first: number,
    deviceKey: Uint8Array = fromHex(testDevicePublic, 32),
  ) {
    const info = weightsInfo({ deviceKey, bootKey, root, first });
    const context = hpkeSender(bootKey.publicKey, info, systemRandom);
    this.first = first;
    this.enc = context.enc;
    this.key = chunkKeyOf(context);
  }

  /** The stream that a FETCH asks for. */
  static of(fetch: Uint8Array): TestStream {
    const { root, first, certificate } = decodeFetch(fetch);
    return new TestStream(openBootKey(certificate, testDeviceKey), root, first);
  }

  /** Payload of OFFER. */
  offer(sizeBytes: number, chunkBytes: number): Buffer {
    return encodeOffer({ sizeBytes: BigInt(sizeBytes), chunkBytes, enc: this.enc });
  }

  /** Payload of CHUNK: a chunk with its proof, sealed as number `index`. */
  chunk(index: number, last: boolean, proof: readonly Buffer[], data: Uint8Array): Buffer {
    const plain = encodeChunk(proof, data);
    return gcmSeal("aes-256-gcm", this.key, chunkNonce(index, last), Buffer.alloc(0), plain);
  }
}
