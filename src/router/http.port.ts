/** HTTP as the router sees it: whole requests in, replies out. adapter/http implements it. */

/** What can go wrong below the level of a request; the router words the reply. */
export type HttpFault =
  | "malformed"
  | "headers-too-large"
  | "body-too-large"
  | "bodies-full"
  | "too-slow"
  | "too-many-connections";

export interface HttpReply {
  readonly status: number;
  /** Names and values in turn. Content-Length is added. */
  readonly headers: readonly string[];
  readonly body: string;
}

export interface HttpHead {
  readonly method: string;
  /** The path as sent, without its query. */
  readonly path: string;
  /** "" when absent. */
  readonly contentType: string;
}

/** Told once when the client goes away, or is cut off by `reset`, before its reply was complete. */
export interface ExchangeListener {
  onGone(): void;
}

/** One request and its reply. After `reply`, `end`, `cut` or `reset` nothing more may be sent. */
export interface HttpExchange extends HttpHead {
  readonly body: Buffer;
  listener: ExchangeListener | null;
  /** Bytes of this reply that the client has not taken yet; 0 once it is gone. */
  readonly backlog: number;
  /** Sends a whole reply. */
  reply(reply: HttpReply): void;
  /** Starts a reply of unknown length, with its first bytes. */
  start(status: number, headers: readonly string[], text: string): void;
  write(text: string): void;
  /** Ends the reply that `start` began, cleanly. */
  end(text: string): void;
  /** Sends `text` and then breaks the connection, so that nobody takes the reply for complete. */
  cut(text: string): void;
  /** Breaks the connection at once and frees its memory. */
  reset(): void;
}

export interface HttpHandler {
  /** Called before the body is read: a reply refuses the request, null asks for its body. */
  onHead(head: HttpHead): HttpReply | null;
  /** Called with the whole request. Must not throw. */
  onRequest(exchange: HttpExchange): void;
  onFault(fault: HttpFault): HttpReply;
}

/** Calls `action` after everything that has already arrived was handled. */
export type Soon = (action: () => void) => void;
