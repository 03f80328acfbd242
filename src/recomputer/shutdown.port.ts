/** Who tells people and stops gateways, as the recomputer needs them. alarm/ implements both. */
import type { Frame } from "../format/link.ts";
import type { RecomputerOrder } from "../format/order.ts";
import type { Alarm } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import type { UnactedStep } from "./store.port.ts";

/** Where alarms go (alarm/raise fits). The same kind and subject is one alarm until cleared. */
export interface AlarmPort {
  raise(severity: Alarm["severity"], kind: string, subject: string, text: string): void;
  clear(kind: string, subject: string): void;
}

/** A FAIL, as whoever stops the gateway needs it. */
export interface FailedPair {
  readonly gateway: string;
  /** When the gateway completed the pair, by its clock. */
  readonly completedMs: number;
  readonly reason: string;
}

/** A release that was found good, and the order of ours that it ended. */
export interface GoodRelease {
  readonly kind: "new";
  /** SHA-256 of the release, hex, and the envelope as signed. */
  readonly digest: string;
  readonly sealed: Buffer;
  readonly reason: string;
  /** Public key of the operator, hex. */
  readonly signer: string;
  /** By the operator's clock. */
  readonly issuedMs: number;
  readonly ended: {
    readonly digest: string;
    readonly gateway: string;
    readonly action: RecomputerOrder["action"];
    /** By our clock: when the gateway said that it had obeyed; null when it never did. */
    readonly settledMs: number | null;
  };
}

/** What a gateway's word of a release is worth. */
export type ReleaseNews =
  { readonly kind: "refused"; readonly why: string } | { readonly kind: "known" } | GoodRelease;

/** Who stops gateways (alarm/shutdown fits). */
export interface ShutdownPort {
  /** Alarm and order are durable when it returns. */
  failed(fail: FailedPair): void;
  /** A step of the ladder: alarm and order are durable when it returns; asked again, nothing more. */
  climb(step: UnactedStep): void;
  /** Sends what is outstanding for a gateway that has just connected. */
  connected(gateway: string, wire: Wire): void;
  disconnected(gateway: string, wire: Wire): void;
  /** ORDER_RESULT. Throws InvalidError `order.result`. */
  answered(gateway: string, frame: Frame): void;
  /** ORDER from a gateway: a release that it says it obeyed. Only looked at. */
  released(gateway: string, frame: Frame): ReleaseNews;
  /** Tells people of a good release, and stops resending what it ended. */
  noteRelease(release: GoodRelease, text: string): void;
}
