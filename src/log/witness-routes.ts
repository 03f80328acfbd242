/**
 * Further POST routes of a party's witness process, beside add-checkpoint: the hook by which the party's draw shares
 * (share.ts) are asked for. bin/witness.ts gives the routes to the HTTP adapter; whoever posts is the publisher,
 * which is trusted with nothing, so a route believes only what is signed in the body.
 *
 *   const routes: WitnessRoute[] = [
 *     { path: "/draw/open", bodyMax: 4096, handle: async (body) => routeOk(await share.open(body)) },
 *     { path: "/draw/secret", bodyMax: 65_536, handle: async (body) => routeOk(await share.secret(body)) },
 *   ];
 *
 * A route that throws InvalidError is answered 400, UnavailableError 503, each with the message as text; a route that
 * answers must have made durable what it may not forget BEFORE its promise resolves. Calls of one route never overlap:
 * the witness process runs them one after the other.
 */

/** What a route answers. `body` goes back through the publisher to the gateway, as it is. */
export interface RouteReply {
  readonly status: number;
  readonly body: Buffer;
}

export interface WitnessRoute {
  /** Absolute path, as `/draw/open`. */
  readonly path: string;
  /** A longer body is answered 413 and never read. Bytes. */
  readonly bodyMax: number;
  handle(body: Buffer): Promise<RouteReply>;
}

/** 200 with these bytes. */
export function routeOk(body: Buffer): RouteReply {
  return { status: 200, body };
}

/** A log that this witness mirrors, as a route may look at it. Read-only. */
export interface WitnessedLog {
  readonly origin: string;
  /** The gateway whose log it is, as the witness's operator configured it. */
  readonly gateway: string;
  /** The log's C2SP verifier key (format/note.ts#parseVkey). */
  readonly vkey: string;
  /** Public key of the gateway's device key, 64 hex digits; "" when the operator gave none. */
  readonly deviceKey: string;
  /** Size and root of the newest tree that this witness cosigned; size 0 before the first. */
  latest(): { readonly size: number; readonly root: Buffer };
  /** The entry from the witness's own mirror; null where it holds none. */
  entry(index: number): Promise<Buffer | null>;
}

/** The witness as routes see it; bin/witness.ts makes one. */
export interface WitnessView {
  readonly party: string;
  readonly logs: readonly WitnessedLog[];
}
