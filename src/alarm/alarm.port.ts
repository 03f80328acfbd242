/** What alarms need of the world: a durable store, and places to tell people. */
import type { RecomputerOrder } from "../format/order.ts";
import type { Alarm } from "../format/status.ts";

/** An alarm as kept: the same kind and subject, while open, is one alarm that repeats. */
export interface KeptAlarm extends Alarm {
  readonly repeats: number;
  readonly open: boolean;
}

/** A signed order that its gateway has not answered, or that it has. */
export interface KeptOrder {
  /** Frame id of the ORDER and of its answer: the first 8 bytes of `digest`. */
  readonly id: bigint;
  /** SHA-256 of the signed payload, hex. */
  readonly digest: string;
  readonly gateway: string;
  readonly action: RecomputerOrder["action"];
  /** What it follows from, unique among orders: so that no cause gives two orders. */
  readonly cause: string;
  readonly issuedMs: number;
  /** The ORDER frame's payload. */
  readonly sealed: Buffer;
  /** Our clock when the gateway settled it by its answer; null while outstanding. */
  readonly settledMs: number | null;
}

/** Every write is durable when it returns. One writer. */
export interface AlarmStore {
  /** The open alarm of this kind and subject, or null. */
  openAlarm(kind: string, subject: string): KeptAlarm | null;
  putAlarm(alarm: Alarm): void;
  repeatAlarm(id: string): void;
  closeAlarm(kind: string, subject: string): void;
  /** The newest `max`, newest last, open or not. */
  alarms(max: number): KeptAlarm[];

  putOrder(order: KeptOrder): void;
  /** The order with this cause, or with this digest; null when there is none. */
  orderOf(cause: string): KeptOrder | null;
  orderNamed(digest: string): KeptOrder | null;
  /** The newest shutdown order to a gateway, settled or not; null before the first. */
  lastShutdown(gateway: string): KeptOrder | null;
  /** Unsettled orders to a gateway, oldest first. */
  outstanding(gateway: string): KeptOrder[];
  settleOrder(digest: string, atMs: number): void;
  /** Whether a release with this digest was ever noted (recomputer/store.port notes them). */
  knowsRelease(digest: string): boolean;
}

/** Somewhere people look: a webhook, a pager. */
export interface AlarmSink {
  readonly name: string;
  /** Resolves when it was taken. Rejects with UnavailableError; effect unknown after a timeout. */
  send(alarm: Alarm): Promise<void>;
}
