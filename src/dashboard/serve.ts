/**
 * The page over HTTP: fixed assets, `/api/status` and `/api/events` (server-sent events). Read-only:
 * nothing that a browser sends changes anything, and only GET and HEAD are answered.
 *
 * Trust: this process holds an observer's key. A thief of it can watch states and counters; it sees
 * no user's text and can give no orders.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { SiteStatus } from "./document.ts";

/** Documents go out at most this often, and a beat at least this often. */
export const eventGapMs = 250;
export const beatMs = 5000;
/** Open event streams; one more gets a 503. */
export const streamsMax = 64;
/** A reader with this many unread bytes skips documents until it has read them. */
const backlogMax = 1_048_576;

/** Nothing but our own files; scripts may not write markup (Trusted Types). */
const securityHeaders: Readonly<Record<string, string>> = {
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; "),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
};

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
}

export interface ServeOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  /** By URL path. */
  readonly assets: ReadonlyMap<string, Asset>;
  readonly document: () => SiteStatus;
  readonly clock: Clock;
}

export interface PageServer {
  readonly port: number;
  /** The document may have changed. */
  changed(): void;
  close(): Promise<void>;
}

/** Serves the page. Rejects with UnavailableError `page.listen` when the port cannot be had. */
export function servePage(options: ServeOptions): Promise<PageServer> {
  const streams = new Streams(options);
  const server = createServer((request, response) => {
    answer(options, streams, request, response);
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 15_000;
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const where = `${options.host}:${options.port}`;
      const why = `cannot listen on ${where}: ${error.message}`;
      reject(new UnavailableError("page.listen", why, "none"));
    });
    server.listen(options.port, options.host, () => {
      resolve({
        port: (server.address() as AddressInfo).port,
        changed: () => {
          streams.changed();
        },
        close: () => closeServer(server, streams),
      });
    });
  });
}

function closeServer(server: Server, streams: Streams): Promise<void> {
  streams.close();
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeAllConnections();
  });
}

function plain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { ...securityHeaders, "Content-Type": "text/plain; charset=utf-8" });
  response.end(`${text}\n`);
}

const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i;

/** A page on loopback answers only to loopback's names, so that no website can rebind to it. */
function misnamed(options: ServeOptions, request: IncomingMessage): boolean {
  const bound = options.host.includes(":") ? `[${options.host}]` : options.host;
  return loopback.test(bound) && !loopback.test(request.headers.host ?? "");
}

function answer(
  options: ServeOptions,
  streams: Streams,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  request.resume();
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  if (misnamed(options, request)) {
    plain(response, 421, "this page answers to localhost only");
  } else if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("Allow", "GET, HEAD");
    plain(response, 405, "this page is read-only");
  } else if (path === "/api/status") {
    response.writeHead(200, { ...securityHeaders, "Content-Type": "application/json" });
    response.end(JSON.stringify(options.document()));
  } else if (path === "/api/events") {
    streams.open(request, response);
  } else {
    const asset = options.assets.get(path);
    if (asset === undefined) {
      plain(response, 404, "there is no such page");
      return;
    }
    const { type, body } = asset;
    response.writeHead(200, {
      ...securityHeaders,
      "Content-Type": type,
      "Content-Length": body.length,
    });
    response.end(body);
  }
}

/** Everybody who listens to /api/events. Each event is the whole document, so none needs another. */
class Streams {
  readonly #options: ServeOptions;
  readonly #open = new Set<ServerResponse>();
  readonly #beat: { cancel(): void };
  #gap: { cancel(): void } | null = null;
  #dirty = false;
  #number = 0;
  /** What was last sent, without its time. */
  #sent = "";

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#beat = options.clock.every(beatMs, () => {
      const data = JSON.stringify({ atMs: options.clock.wallMs() });
      this.#send(`: still here\nevent: beat\ndata: ${data}\n\n`);
    });
  }

  open(request: IncomingMessage, response: ServerResponse): void {
    if (this.#open.size >= streamsMax) {
      response.setHeader("Retry-After", "5");
      plain(response, 503, "too many readers");
      return;
    }
    response.writeHead(200, { ...securityHeaders, "Content-Type": "text/event-stream" });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    this.#open.add(response);
    response.once("close", () => this.#open.delete(response));
    // Last-Event-ID is not read: the first event is always the whole document.
    response.write(`retry: 1000\n\n${this.#event(JSON.stringify(this.#options.document()))}`);
  }

  #event(json: string): string {
    this.#number++;
    return `id: ${this.#number}\nevent: status\ndata: ${json}\n\n`;
  }

  #send(text: string): void {
    for (const response of this.#open) {
      if (response.writableLength <= backlogMax) response.write(text);
    }
  }

  /** Sends at once, or at the end of the gap that follows each send. */
  changed(): void {
    this.#dirty = true;
    if (this.#gap !== null || this.#open.size === 0) return;
    this.#flush();
    this.#gap = this.#options.clock.after(eventGapMs, () => {
      this.#gap = null;
      if (this.#dirty) this.changed();
    });
  }

  #flush(): void {
    this.#dirty = false;
    const document = this.#options.document();
    const content = JSON.stringify({ ...document, atMs: 0 });
    if (content === this.#sent) return;
    this.#sent = content;
    this.#send(this.#event(JSON.stringify(document)));
  }

  close(): void {
    this.#beat.cancel();
    this.#gap?.cancel();
    for (const response of this.#open) response.end();
  }
}
