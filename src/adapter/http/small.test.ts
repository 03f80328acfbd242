import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { smallClient } from "./small-client.ts";
import { listenSmall, type SmallHandler, type SmallListener } from "./small-server.ts";

const handler: SmallHandler = {
  bodyMax: (path) => (path === "/echo" ? 100 : 0),
  get: (path) => {
    if (path === "/invalid") return Promise.reject(new InvalidError("x", "wrong"));
    if (path === "/away") return Promise.reject(new UnavailableError("x", "away", "none"));
    return Promise.resolve({ status: 200, type: "text/x", body: Buffer.from(path) });
  },
  post: (_, body) => Promise.resolve({ status: 200, type: "a/b", body }),
  onBug: (error) => {
    throw error;
  },
};

async function withServer(
  run: (base: string, listener: SmallListener) => Promise<void>,
): Promise<void> {
  const listener = await listenSmall({ host: "127.0.0.1", port: 0, handler });
  try {
    await run(`http://127.0.0.1:${listener.port}`, listener);
  } finally {
    await listener.close();
  }
}

test("small http: GET and POST -> answered; a long body 413, another path 404, errors 400 and 503", async () => {
  await withServer(async (base) => {
    const client = smallClient(`${base}/`, 5000);
    const got = await client.get("/a/b", 100);
    assert.deepEqual([got.status, got.type, got.body.toString()], [200, "text/x", "/a/b"]);
    assert.deepEqual((await client.post("/echo", Buffer.from("hi"), 100)).body, Buffer.from("hi"));
    assert.equal((await client.post("/echo", Buffer.alloc(101), 100)).status, 413);
    assert.equal((await client.post("/other", Buffer.alloc(1), 100)).status, 404);
    assert.equal((await client.get("/invalid", 100)).status, 400);
    assert.equal((await client.get("/away", 100)).status, 503);
    await assert.rejects(client.get("/longer-than-four", 4), { code: "http.request" });
    client.close();
  });
});

test("small http: nobody there, another scheme, a taken port -> said in words", async () => {
  assert.throws(() => smallClient("https://localhost", 1000), { code: "http.url" });
  await withServer(async (base, { port }) => {
    await assert.rejects(listenSmall({ host: "127.0.0.1", port, handler }), {
      code: "http.listen",
    });
    assert.ok(base.length > 0);
  });
  const client = smallClient("http://127.0.0.1:1", 1000);
  await assert.rejects(client.get("/", 10), { code: "http.request" });
  client.close();
});

test("small http: another method, or no HTTP -> refused, and the server goes on", async () => {
  await withServer(async (base, { port }) => {
    for (const text of [
      "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "noise\r\n\r\n",
    ]) {
      const answer = await new Promise<string>((resolve) => {
        let all = "";
        const socket = connect(port, "127.0.0.1", () => socket.write(text));
        socket.on("data", (part: Buffer) => (all += part.toString()));
        socket.on("close", () => resolve(all));
      });
      assert.match(answer, /^HTTP\/1\.1 4(05|00) /);
    }
    const client = smallClient(base, 1000);
    assert.equal((await client.get("/x", 10)).status, 200);
    client.close();
  });
});
