/** One HTTP request and its reply over node:http. No policy: limits and texts come from outside. */
import { IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ExchangeListener, HttpExchange, HttpReply } from "../../router/http.port.ts";

/** Takes a request's body as it arrives. */
export interface BodyReader {
  receive(exchange: Exchange, part: Buffer): void;
  complete(exchange: Exchange): void;
  readonly closing: boolean;
}

/** An open connection and the requests on it that are not answered yet. */
export class Connection {
  readonly socket: Socket;
  readonly reader: BodyReader;
  readonly active = new Set<Exchange>();
  /** The request whose body is arriving. */
  reading: Exchange | null = null;
  closed = false;

  constructor(socket: Socket, reader: BodyReader) {
    this.socket = socket;
    this.reader = reader;
  }

  /** Tells everyone who still works for this client. */
  gone(): void {
    this.closed = true;
    for (const exchange of this.active) exchange.gone();
    this.active.clear();
  }
}

/** Carries its exchange, so that event handlers need no closure. */
export class Request extends IncomingMessage {
  exchange: Exchange | null = null;
}

const noBody = Buffer.alloc(0);

export class Exchange implements HttpExchange {
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  readonly connection: Connection;
  body: Buffer = noBody;
  listener: ExchangeListener | null = null;
  /** Parts of the body so far, and their length. */
  parts: Buffer[] = [];
  size = 0;
  /** The reply was sent before the body was read; what still comes of it is thrown away. */
  answered = false;
  /** The whole request is here. */
  complete = false;
  readonly #response: ServerResponse<Request>;
  readonly #oldHttp: boolean;

  constructor(request: Request, response: ServerResponse<Request>, connection: Connection) {
    const url = request.url ?? "/";
    const query = url.indexOf("?");
    this.method = request.method ?? "";
    this.path = query === -1 ? url : url.slice(0, query);
    this.contentType = request.headers["content-type"] ?? "";
    this.connection = connection;
    this.#response = response;
    this.#oldHttp = request.httpVersionMinor === 0;
  }

  get backlog(): number {
    return this.connection.closed ? 0 : this.#response.writableLength;
  }

  reply(reply: HttpReply): void {
    if (!this.#finish()) return;
    const length = Buffer.byteLength(reply.body);
    if (this.connection.reader.closing) this.#response.shouldKeepAlive = false;
    this.#response.writeHead(reply.status, [...reply.headers, "content-length", String(length)]);
    // As many bytes as characters: all ASCII, which goes out as it lies in memory.
    this.#response.end(reply.body, length === reply.body.length ? "latin1" : "utf8");
  }

  start(status: number, headers: readonly string[], text: string): void {
    if (this.answered) return;
    if (this.#oldHttp) {
      this.#response.writeHead(status, [...headers]);
    } else {
      this.#response.writeHead(status, [...headers, "transfer-encoding", "chunked"]);
      // From here on this class frames the chunks: one write each, where node:http makes four.
      this.#response.chunkedEncoding = false;
    }
    this.write(text);
  }

  write(text: string): void {
    if (!this.answered && text !== "") this.#response.write(this.#framed(text));
  }

  end(text: string): void {
    if (!this.#finish()) return;
    const last = text === "" ? "" : this.#framed(text);
    this.#response.end(this.#oldHttp ? last : `${last}0\r\n\r\n`);
  }

  /** A chunk of RFC 9112 section 7.1; an empty one would end the reply. */
  #framed(text: string): string {
    return this.#oldHttp ? text : `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
  }

  cut(text: string): void {
    if (!this.#finish()) return;
    const { socket } = this.connection;
    // Without chunks (HTTP/1.0) an end of the connection looks like the end of the reply: reset it.
    // With chunks the missing last one says it, and closing lets the error event through.
    this.#response.write(this.#framed(text), () => {
      if (this.#oldHttp) socket.resetAndDestroy();
      else socket.destroy();
    });
  }

  reset(): void {
    this.gone();
    this.connection.socket.resetAndDestroy();
  }

  gone(): void {
    const { listener } = this;
    if (this.#finish()) listener?.onGone();
  }

  /** Whether there is still anyone to answer; afterwards nobody is told of the client's leaving. */
  #finish(): boolean {
    if (this.answered) return false;
    this.answered = true;
    // node:http holds on to the last request of each connection: not to all that was made for it.
    this.listener = null;
    this.connection.active.delete(this);
    return true;
  }
}
