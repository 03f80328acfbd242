/** The upstream of the peers: the same answers as stub-agent.ts, over HTTP, ready-made. */
import { createServer } from "node:http";

const text = Array.from({ length: 500 }, (_, i) => `word${i % 97} `).join("");
const body = Buffer.from(
  JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    created: 1,
    model: "bench",
    choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
    usage: { prompt_tokens: 300, completion_tokens: 500, total_tokens: 800 },
  }),
);
const chunk = Buffer.from(
  `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "bench", choices: [{ index: 0, delta: { content: "token " }, finish_reason: null }] })}\n\n`,
);
const done = Buffer.from("data: [DONE]\n\n");

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on("data", (part: Buffer) => parts.push(part));
  request.on("end", () => {
    const asked = Buffer.concat(parts);
    if (asked.includes('"json')) {
      response.writeHead(200, {
        "content-type": "application/json",
        "content-length": body.length,
      });
      response.end(body);
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    const pace = asked.includes('"paced') ? 10 : 0;
    let left = 200;
    const next = (): void => {
      if (response.destroyed) return;
      response.write(chunk);
      left--;
      if (left === 0) response.end(done);
      else if (pace > 0) setTimeout(next, pace);
      else setImmediate(next);
    };
    next();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(
    `${JSON.stringify({ port: (server.address() as { port: number }).port })}\n`,
  );
});
process.stdin.on("end", () => process.exit(0)).resume();
