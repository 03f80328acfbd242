/** Power of one server as a port. Here: a sandboxed process group; in a rack: a PDU or BMC. */
import type { IsolationStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";

export interface PoweredServer {
  /** The only link to the server. Its peer role is "server". */
  readonly wire: Wire;
  readonly isolation: IsolationStatus;
  /** Resolves, with the reason in words, when the server is no longer running. Never rejects. */
  readonly gone: Promise<string>;
  /**
   * Cuts power. Resolves once no process of the server is left and its memory is gone.
   * Idempotent. Rejects with UnavailableError when that cannot be established.
   */
  kill(): Promise<void>;
}

export interface Power {
  /** Starts the server from nothing. Throws UnavailableError when it cannot be started. */
  on(): Promise<PoweredServer>;
  /**
   * Makes sure that nothing is powered that an earlier run, or an `on` that failed, may have left so; asked
   * for before the first `on` and after each that failed.
   * Absent where nothing outlives this process. Rejects with UnavailableError when it cannot be told.
   */
  off?(): Promise<void>;
  /** Whether this is a stand-in, in words; "" for real power control. */
  readonly simulated: string;
}
