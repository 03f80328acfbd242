/** The server's side of the proof of erasure, spec/erase.md: it holds all that it is sent, then MACs it. */
import { createHmac } from "node:crypto";
import { InvalidError } from "../base/assert.ts";

/** Memory that is being filled. A dishonest server has another one. */
export interface FilledMemory {
  /** The next piece; its bytes are only lent. */
  piece(index: bigint, bytes: Uint8Array): void;
  /** HMAC-SHA256 under `key` of all that came. The memory is free from then on. */
  mac(key: Uint8Array): Buffer;
  /** Frees the memory. */
  discard(): void;
}

/** Room for `bytes` bytes, filled piece by piece. Throws InvalidError `erase.*` when the pieces do not fit. */
export class EraseMemory implements FilledMemory {
  readonly #bytes: bigint;
  #pieces: ArrayBuffer[] = [];
  #held = 0n;

  constructor(bytes: bigint) {
    this.#bytes = bytes;
  }

  piece(index: bigint, bytes: Uint8Array): void {
    if (index !== BigInt(this.#pieces.length)) {
      throw new InvalidError(
        "erase.order",
        `piece ${index} came where ${this.#pieces.length} was due`,
      );
    }
    this.#held += BigInt(bytes.length);
    if (this.#held > this.#bytes) {
      throw new InvalidError("erase.size", "more came than was announced");
    }
    const copy = new ArrayBuffer(bytes.length);
    new Uint8Array(copy).set(bytes);
    this.#pieces.push(copy);
  }

  mac(key: Uint8Array): Buffer {
    if (this.#held !== this.#bytes) {
      throw new InvalidError(
        "erase.size",
        `${this.#held} of ${this.#bytes} bytes came before the key`,
      );
    }
    const mac = createHmac("sha256", key);
    for (const piece of this.#pieces) mac.update(new Uint8Array(piece));
    this.discard();
    return mac.digest();
  }

  discard(): void {
    // The weights need this room now, not when it will be collected.
    for (const piece of this.#pieces) piece.transfer(0);
    this.#pieces = [];
    this.#held = 0n;
  }
}
