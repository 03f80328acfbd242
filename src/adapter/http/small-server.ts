/**
 * HTTP/1.1 for machines of the site and of the parties: short requests, short replies, GET and POST only, over
 * node:http's strict parser. For the publisher and for witnesses; what comes in here is trusted with nothing.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { InvalidError, UnavailableError } from "../../base/assert.ts";

export interface SmallReply {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

export interface SmallHandler {
  /** Most bytes of a body that is posted to a path; 0: none may be. */
  bodyMax(path: string): number;
  get(path: string): Promise<SmallReply>;
  post(path: string, body: Buffer): Promise<SmallReply>;
  /** A bug: neither InvalidError (400) nor UnavailableError (503). */
  onBug(error: unknown): void;
}

export interface SmallListener {
  readonly port: number;
  close(): Promise<void>;
}

export interface SmallOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly handler: SmallHandler;
}

const connectionsMax = 256;
const requestMs = 15_000;

function send(response: ServerResponse, { status, type, body }: SmallReply): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { "content-type": type, "content-length": body.length });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

function say(status: number, why: string): SmallReply {
  return { status, type: "text/plain; charset=utf-8", body: Buffer.from(`${why}\n`) };
}

/** The whole body, or null when it exceeds `max`. */
async function bodyOf(request: IncomingMessage, max: number): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > max) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

async function answer(handler: SmallHandler, request: IncomingMessage): Promise<SmallReply> {
  const path = request.url ?? "/";
  if (request.method === "GET" || request.method === "HEAD") return handler.get(path);
  if (request.method !== "POST") return say(405, "GET and POST only");
  const max = handler.bodyMax(path);
  if (max === 0) return say(404, "nothing is posted here");
  const body = await bodyOf(request, max);
  return body === null ? say(413, "the body is too long") : handler.post(path, body);
}

async function serve(
  handler: SmallHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const reply = await answer(handler, request);
    // What is left of a body that was refused would be read as the next request.
    if (!request.complete) response.shouldKeepAlive = false;
    send(response, reply);
  } catch (error) {
    if (error instanceof InvalidError) send(response, say(400, error.message));
    else if (error instanceof UnavailableError) send(response, say(503, error.message));
    else if (request.destroyed && !request.complete) response.destroy();
    else {
      handler.onBug(error);
      send(response, say(500, "a bug"));
    }
  }
}

/** Listens. Rejects with UnavailableError `http.listen` when the address cannot be had. */
export function listenSmall({ host, port, handler }: SmallOptions): Promise<SmallListener> {
  const server = createServer(
    {
      maxHeaderSize: 8192,
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      keepAliveTimeout: 60_000,
    },
    (request, response) => void serve(handler, request, response),
  );
  server.maxConnections = connectionsMax;
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const why = `cannot listen on ${host}:${port}: ${error.message}`;
      reject(new UnavailableError("http.listen", why, "none"));
    });
    server.listen(port, host, () => {
      const close = (): Promise<void> =>
        new Promise((done) => {
          server.close(() => {
            done();
          });
          server.closeAllConnections();
        });
      resolve({ port: (server.address() as AddressInfo).port, close });
    });
  });
}
