/** A framed connection as a port; adapter/link.ts implements it over sockets. */
import type { Frame, FrameType, PayloadMemory } from "./link.ts";

export interface Wire {
  /** Who is at the other end, as authenticated: from its certificate, or from how it was started. */
  readonly peer: Peer;
  /** Queues one frame. Returns false when the peer reads too slowly: wait for `drained`. */
  send(type: FrameType, id: bigint, payload?: Uint8Array): boolean;
  /**
   * Queues bytes that already are whole frames (one write for a whole release tick). They must not
   * change before `taken` is called: then the kernel has them all. It never is when the link fails.
   */
  sendRaw(frames: Uint8Array, taken?: () => void): boolean;
  /** Resolves when the queue has been handed to the kernel. Rejects when the link closes. */
  drained(): Promise<void>;
  /** Bytes queued and not yet taken by the kernel. */
  readonly backlog: number;
  /**
   * Frames go to `handler`. With `memory`, each payload is laid into what that gives and is the
   * handler's until the handler itself uses it again; without, it is only lent: copy what must stay.
   */
  onFrame(handler: (frame: Frame) => void, memory?: PayloadMemory): void;
  /** Called once, with the reason in words. */
  onClose(handler: (reason: string) => void): void;
  /** Stops and restarts reading: backpressure towards the peer. */
  pause(): void;
  resume(): void;
  /** Drops the connection. `reason` goes to the log, not to the peer. */
  close(reason: string): void;
  readonly closed: boolean;
}

/** Who may stand at an end of a link: the first half of a certificate's common name. */
export const peerRoles = [
  "gateway",
  "server",
  "router",
  "depot",
  "recomputer",
  "publisher",
  "observer",
  "operator",
] as const;
export type PeerRole = (typeof peerRoles)[number];

export interface Peer {
  readonly role: PeerRole;
  readonly name: string;
}
