/**
 * The device's unique secret (UID) as a port: what only this one box can compute, as long as nobody has touched it.
 *
 * Trust: who reads the secret is the device: it has the ring, the state and both signing keys. The port gives it to
 * the boot stage once; nothing writes it anywhere.
 */

/** `file` is no root of trust: 32 bytes on a disk, kept for old sites, separate trials and tests. */
export type UidKind = "file" | "puf" | "tpm";

export interface UnlockedUid {
  /** 32 bytes. The caller erases them after use, as far as JavaScript lets it. */
  readonly secret: Buffer;
  /**
   * The value of the hardware's monotonic counter, null where there is none. It belongs into the boot's log entry
   * and status: only a witness who remembers it notices a *software* TPM whose state folder was put back.
   */
  readonly counter: bigint | null;
}

export interface Uid {
  readonly kind: UidKind;
  /** What of it is a stand-in, in words; "" where it is real. */
  readonly simulated: string;
  /**
   * The secret. Throws InvalidError `uid.bricked` when it is gone or what it needs was changed (one error, so that
   * nobody learns from it which), `uid.refused` when a party's approval is missing or wrong, and UnavailableError
   * `uid.*` (effect none) when the hardware does not answer.
   */
  unlock(): Promise<UnlockedUid>;
  /**
   * Destroys the secret for good: afterwards `unlock` never succeeds again, whatever files are put back. Idempotent.
   * Throws UnavailableError `uid.brick` (effect unknown) when that could not be established.
   */
  brick(reason: string): Promise<void>;
}

/** What a party is asked to sign before a device of kind `tpm` may unlock: once per boot, fresh each time. */
export interface BootQuestion {
  readonly device: string;
  readonly party: "a" | "b";
  /**
   * The exact message for ECDSA on P-256 with SHA-256: the TPM's nonce, a zero expiration, and the reference that
   * names device and party, so that a signature serves no other purpose.
   */
  readonly message: Buffer;
}

/**
 * A party's approval of a boot: r and s, 32 bytes each. Where the party lives elsewhere, this asks over the network; a
 * party that does not answer keeps the device off, which is its right, and the price of it. Rejects with
 * UnavailableError `uid.approval` then.
 */
export type ApproveBoot = (question: BootQuestion) => Promise<Buffer>;
