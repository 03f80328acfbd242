/** Short HTTP requests with bounds on time and size, over node:http with kept connections. Plain HTTP only: what is fetched is checked by hash or signature. */
import { Agent, request, type IncomingMessage } from "node:http";
import { InvalidError, UnavailableError } from "../../base/assert.ts";

export interface SmallAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

export interface SmallClient {
  /** Throws UnavailableError `http.*`: unreachable, too slow, or an answer that is too long. */
  get(path: string, max: number): Promise<SmallAnswer>;
  post(path: string, body: Buffer, max: number): Promise<SmallAnswer>;
  close(): void;
}

async function read(response: IncomingMessage, max: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > max) throw new Error(`the answer is longer than ${max} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** `base`: `http://HOST:PORT` and a path that every request begins with. Throws InvalidError `http.url`. */
export function smallClient(base: string, timeoutMs: number): SmallClient {
  const url = URL.parse(base);
  if (url?.protocol !== "http:" || url.search !== "" || url.hash !== "") {
    throw new InvalidError("http.url", `"${base}" is not an http:// address`);
  }
  const prefix = url.pathname.replace(/\/$/, "");
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const ask = (
    method: string,
    path: string,
    body: Buffer | null,
    max: number,
  ): Promise<SmallAnswer> =>
    new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        const text = `${method} ${base}${path}: ${why}`;
        reject(new UnavailableError("http.request", text, body === null ? "none" : "unknown"));
      };
      const outgoing = request({
        agent,
        method,
        host: url.hostname.replace(/^\[|\]$/g, ""),
        port: url.port === "" ? 80 : Number(url.port),
        path: `${prefix}${path}`,
        signal: AbortSignal.timeout(timeoutMs),
        headers: body === null ? {} : { "content-length": body.length },
      });
      outgoing.on("error", (error) => {
        fail(error.message);
      });
      outgoing.on("response", (response) => {
        const type = response.headers["content-type"] ?? "";
        read(response, max).then(
          (bytes) => {
            resolve({ status: response.statusCode ?? 0, type, body: bytes });
          },
          (error: unknown) => {
            outgoing.destroy();
            fail(error instanceof Error ? error.message : String(error));
          },
        );
      });
      outgoing.end(body ?? undefined);
    });
  return {
    get: (path, max) => ask("GET", path, null, max),
    post: (path, body, max) => ask("POST", path, body, max),
    close: () => {
      agent.destroy();
    },
  };
}
