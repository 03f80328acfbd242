/** The peer for streams: node:http in front, undici's Pool.dispatch behind, nothing else. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Pool, type Dispatcher } from "undici";

const pool = new Pool(`http://127.0.0.1:${process.argv[2] ?? ""}`, {
  connections: 1024,
  pipelining: 1,
  headersTimeout: 0,
  bodyTimeout: 0,
});

function handlerOf(response: ServerResponse): Dispatcher.DispatchHandler {
  return {
    onRequestStart(controller): void {
      response.on("close", () => {
        if (!response.writableFinished) controller.abort(new Error("client left"));
      });
    },
    onResponseStart(_controller, status, headers): void {
      response.writeHead(status, headers as Record<string, string>);
    },
    onResponseData(_controller, chunk): void {
      response.write(chunk);
    },
    onResponseEnd(): void {
      response.end();
    },
    onResponseError(): void {
      response.destroy();
    },
  };
}

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    pool.dispatch(
      {
        path: request.url ?? "/",
        method: "POST",
        headers: { "content-type": request.headers["content-type"] ?? "" },
        body: Buffer.concat(parts),
      },
      handlerOf(response),
    );
  });
});
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
});
process.stdin.on("end", () => process.exit(0)).resume();
