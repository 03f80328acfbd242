/**
 * The HTTP/1.1 listener of the router over node:http, whose strict parser refuses smuggling
 * (both lengths, bad chunks, obsolete line folding). Bounds what a client can make it hold.
 */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { UnavailableError } from "../../base/assert.ts";
import { limits } from "../../base/limits.ts";
import type { HttpFault, HttpHandler, HttpReply, Soon } from "../../router/http.port.ts";
import { Connection, Exchange, Request, type BodyReader } from "./exchange.ts";

/** Sizes in bytes, times in milliseconds; base/limits.ts explains each. */
export interface HttpLimits {
  readonly body: number;
  readonly bodyMs: number;
  readonly headersMs: number;
  readonly headers: number;
  readonly connections: number;
  readonly keepAliveMs: number;
  readonly pipelined: number;
  readonly bodiesTotal: number;
  readonly stallMs: number;
}

export const httpLimits: HttpLimits = {
  body: limits.httpBody,
  bodyMs: limits.httpBodyMs,
  headersMs: limits.httpHeadersMs,
  headers: limits.httpHeaders,
  connections: limits.httpConnections,
  keepAliveMs: limits.httpKeepAliveMs,
  pipelined: limits.httpPipelined,
  bodiesTotal: limits.httpBodiesTotal,
  stallMs: limits.httpStallMs,
};

export interface HttpOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly handler: HttpHandler;
  readonly limits?: HttpLimits;
}

export interface HttpListener {
  readonly port: number;
  readonly connections: number;
  /** Takes no new connection, lets requests finish for at most `graceMs`, then drops them. */
  close(graceMs: number): Promise<void>;
}

const noBody = Buffer.alloc(0);

/** After an early reply this much more of a body is read and dropped, so that the reply arrives. */
const dropMax = 8;

export const soon: Soon = (action) => {
  setImmediate(action);
};

/** Listens. Rejects with UnavailableError `http.listen` when the address cannot be had. */
export function listenHttp(options: HttpOptions): Promise<HttpListener> {
  const front = new Front(options.handler, options.limits ?? httpLimits);
  const where = `${options.host}:${options.port}`;
  return new Promise((resolve, reject) => {
    front.server.once("error", (error) => {
      const why = `cannot listen on ${where}: ${error.message}`;
      reject(new UnavailableError("http.listen", why, "none"));
    });
    front.server.listen({ port: options.port, host: options.host, backlog: 4096 }, () => {
      resolve(front);
    });
  });
}

function onData(this: Request, part: Buffer): void {
  const { exchange } = this;
  exchange?.connection.reader.receive(exchange, part);
}

function onEnd(this: Request): void {
  const { exchange } = this;
  exchange?.connection.reader.complete(exchange);
}

class Front implements HttpListener, BodyReader {
  readonly server: Server<typeof Request>;
  readonly #handler: HttpHandler;
  readonly #limits: HttpLimits;
  readonly #connections = new Map<Duplex, Connection>();
  /** Bytes of bodies that are held and not yet handed on. */
  #bodies = 0;
  closing = false;

  constructor(handler: HttpHandler, limits: HttpLimits) {
    this.#handler = handler;
    this.#limits = limits;
    this.server = createServer({
      IncomingMessage: Request,
      maxHeaderSize: limits.headers,
      headersTimeout: limits.headersMs,
      requestTimeout: limits.headersMs + limits.bodyMs,
      keepAliveTimeout: limits.keepAliveMs,
      connectionsCheckingInterval: Math.min(1000, limits.headersMs / 4),
      noDelay: true,
      requireHostHeader: true,
    });
    // Beyond the soft limit a connection gets a reply and is closed; beyond this not even that.
    this.server.maxConnections = limits.connections + 1000;
    // Nothing moved for this long: fine while a reply is being made, not while one lies unread.
    this.server.timeout = limits.stallMs;
    this.server.on("timeout", (socket: Socket) => {
      const waits = (this.#connections.get(socket)?.active.size ?? 0) > 0;
      if (!waits || socket.writableLength > 0) socket.resetAndDestroy();
    });
    this.server.on("connection", (socket) => {
      this.#open(socket);
    });
    this.server.on("request", (request, response) => {
      this.#head(request, response);
    });
    this.server.on("checkContinue", (request, response) => {
      this.#head(request, response);
      if (request.exchange?.answered === false) response.writeContinue();
    });
    this.server.on("clientError", (error, socket) => {
      this.#fault(error, socket);
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  #open(socket: Socket): void {
    if (this.#connections.size >= this.#limits.connections) {
      socket.end(rawReply(this.#handler.onFault("too-many-connections")));
      socket.destroySoon();
      return;
    }
    const connection = new Connection(socket, this);
    this.#connections.set(socket, connection);
    socket.once("close", () => {
      this.#connections.delete(socket);
      for (const exchange of connection.active) this.#release(exchange);
      connection.gone();
    });
  }

  /** A request's headers are here: refuse it, hand it on, or read its body. */
  #head(request: Request, response: ServerResponse<Request>): void {
    const connection = this.#connections.get(request.socket);
    if (connection === undefined) {
      request.socket.destroy();
      return;
    }
    if (connection.active.size > this.#limits.pipelined) {
      request.socket.resetAndDestroy();
      return;
    }
    const exchange = new Exchange(request, response, connection);
    request.exchange = exchange;
    connection.active.add(exchange);
    connection.reading = exchange;
    const early = this.#early(request, exchange);
    if (early !== null) exchange.reply(early);
    request.on("data", onData);
    request.on("end", onEnd);
  }

  #early(request: Request, exchange: Exchange): HttpReply | null {
    const refused = this.#handler.onHead(exchange);
    if (refused !== null) return refused;
    const length = Number(request.headers["content-length"] ?? 0);
    return length > this.#limits.body ? this.#handler.onFault("body-too-large") : null;
  }

  /** Takes one part of a body. */
  receive(exchange: Exchange, part: Buffer): void {
    exchange.size += part.length;
    if (exchange.answered) {
      if (exchange.size > dropMax * this.#limits.body) exchange.connection.socket.destroy();
      return;
    }
    const fault = this.#overfull(exchange.size, part.length);
    if (fault !== null) {
      this.#release(exchange);
      exchange.reply(this.#handler.onFault(fault));
      return;
    }
    this.#bodies += part.length;
    exchange.parts.push(part);
  }

  #overfull(size: number, more: number): HttpFault | null {
    if (size > this.#limits.body) return "body-too-large";
    return this.#bodies + more > this.#limits.bodiesTotal ? "bodies-full" : null;
  }

  #release(exchange: Exchange): void {
    for (const part of exchange.parts) this.#bodies -= part.length;
    exchange.parts = [];
  }

  /** The whole request is here: hands it on, and with it the memory of its body. */
  complete(exchange: Exchange): void {
    exchange.complete = true;
    exchange.connection.reading = null;
    if (exchange.answered) return;
    const { parts } = exchange;
    exchange.body = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
    this.#release(exchange);
    this.#handler.onRequest(exchange);
    exchange.body = noBody;
  }

  /** The parser gave up on a connection. Answers only where no reply is under way. */
  #fault(error: Error & { code?: string }, socket: Duplex): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined || !socket.writable || !mayAnswer(connection)) {
      socket.destroy();
      return;
    }
    socket.end(rawReply(this.#handler.onFault(faultOf(error.code))));
    connection.socket.destroySoon();
  }

  close(graceMs: number): Promise<void> {
    this.closing = true;
    return new Promise((resolve) => {
      const deadline = setTimeout(() => {
        this.server.closeAllConnections();
      }, graceMs);
      // Connections whose reply had begun before become idle one by one.
      const idle = setInterval(() => {
        this.server.closeIdleConnections();
        // Node does not count connections that never sent anything; clients keep such in reserve.
        for (const { socket } of this.#connections.values()) {
          if (socket.bytesRead === 0) socket.destroy();
        }
      }, 20);
      this.server.close(() => {
        clearTimeout(deadline);
        clearInterval(idle);
        resolve();
      });
    });
  }
}

/** A bare reply is right only where no other is under way, or was given before its body ended. */
function mayAnswer(connection: Connection): boolean {
  if (connection.reading?.answered === true) return false;
  for (const exchange of connection.active) if (exchange.complete) return false;
  return true;
}

function faultOf(code: string | undefined): HttpFault {
  if (code === "HPE_HEADER_OVERFLOW") return "headers-too-large";
  return code === "ERR_HTTP_REQUEST_TIMEOUT" ? "too-slow" : "malformed";
}

/** A reply for connections on which node:http has no request to answer. */
function rawReply(reply: HttpReply): string {
  let head = `HTTP/1.1 ${reply.status} ${reply.status < 500 ? "Refused" : "Unavailable"}\r\n`;
  for (let i = 0; i + 1 < reply.headers.length; i += 2) {
    head += `${reply.headers[i] ?? ""}: ${reply.headers[i + 1] ?? ""}\r\n`;
  }
  const length = Buffer.byteLength(reply.body);
  return `${head}content-length: ${length}\r\nconnection: close\r\n\r\n${reply.body}`;
}
