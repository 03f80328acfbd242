/**
 * A server that does not give up its memory: of what the gateway fills it with (spec/erase.md) it keeps only what
 * fits beside what it wants to keep, an old model for one, and guesses the rest when the key comes.
 */
import { createHmac } from "node:crypto";
import type { FilledMemory } from "../server/erase.ts";

/** Memory of `bytes` bytes of which `back` bytes, the last ones, are kept back. */
export class HoardingMemory implements FilledMemory {
  #room: number;
  #pieces: { readonly held: Uint8Array; readonly length: number }[] = [];

  constructor(bytes: bigint, back: bigint) {
    this.#room = Number(bytes - back);
  }

  piece(_index: bigint, bytes: Uint8Array): void {
    const fits = Math.min(this.#room, bytes.length);
    this.#room -= fits;
    this.#pieces.push({ held: Uint8Array.from(bytes.subarray(0, fits)), length: bytes.length });
  }

  mac(key: Uint8Array): Buffer {
    const mac = createHmac("sha256", key);
    for (const { held, length } of this.#pieces) {
      mac.update(held).update(new Uint8Array(length - held.length));
    }
    this.discard();
    return mac.digest();
  }

  discard(): void {
    this.#pieces = [];
  }
}
