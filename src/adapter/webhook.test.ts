import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import type { Alarm } from "../format/status.ts";
import { postWebhook, webhookSink } from "./webhook.ts";

const alarm: Alarm = {
  ...{ id: "a1", atMs: 5, severity: "critical", kind: "verdict.fail" },
  ...{ subject: "g1", text: "it cheated" },
};

async function receiver(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
}

test("webhook: an alarm -> one POST of JSON", async (t) => {
  const bodies: string[] = [];
  const url = await receiver(t, (request, response) => {
    assert.equal(request.method, "POST");
    assert.equal(request.headers["content-type"], "application/json");
    let body = "";
    request.on("data", (part: Buffer) => (body += part.toString()));
    request.on("end", () => {
      bodies.push(body);
      response.writeHead(204).end();
    });
  });
  await webhookSink(url, "r1").send(alarm);
  assert.deepEqual(
    bodies.map((body) => JSON.parse(body) as unknown),
    [{ source: "r1", alarm }],
  );
});

test("webhook: an error status or a redirect -> refused, effect none", async (t) => {
  for (const status of [500, 302]) {
    const url = await receiver(t, (_request, response) => {
      response.writeHead(status, { location: "http://127.0.0.1:1/" }).end("no");
    });
    await assert.rejects(webhookSink(url, "r1").send(alarm), {
      code: "webhook.refused",
      effect: "none",
    });
  }
});

test("webhook: a receiver that does not answer -> down, effect unknown", async (t) => {
  const url = await receiver(t, () => undefined);
  const expected = { code: "webhook.down", effect: "unknown" };
  await assert.rejects(webhookSink(url, "r1", 50).send(alarm), expected);
});

test("webhook: no http URL -> InvalidError", () => {
  assert.throws(() => webhookSink("ftp://x/", "r1"), { code: "webhook.url" });
  assert.throws(() => webhookSink("hook", "r1"), { code: "webhook.url" });
});

test("postWebhook: a receiver that refuses at first -> tried again, then delivered", async (t) => {
  let requests = 0;
  const url = await receiver(t, (_request, response) => {
    requests++;
    response.writeHead(requests < 3 ? 503 : 200).end();
  });
  const levels: string[] = [];
  await postWebhook(url, alarm, { log: (level) => void levels.push(level) }, [1, 1, 1]);
  assert.equal(requests, 3);
  assert.deepEqual(levels, ["warn", "warn"]);
});

test("postWebhook: a receiver that always refuses -> given up and logged, no exception", async (t) => {
  const url = await receiver(t, (_request, response) => void response.writeHead(500).end());
  const levels: string[] = [];
  await postWebhook(url, alarm, { log: (level) => void levels.push(level) }, [1]);
  assert.deepEqual(levels, ["warn", "error"]);
});
