/**
 * Clients that misbehave, on purpose or by accident. During each attack an honest client keeps
 * asking: it must keep getting its answers, and the router's memory must stay bounded.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { connect, type Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { startRouter, type RouterStart, type RunningRouter } from "../../src/bin/router.ts";
import { demoModel, demoWhitelist, FakeGateway, sayHello, silent } from "../fake-gateway.ts";

interface Site {
  readonly port: number;
  readonly gateway: FakeGateway;
  readonly router: RunningRouter;
  /** Runs `attack` while an honest client asks; checks it, the memory, and that nothing is left. */
  readonly during: (attack: () => Promise<void>) => Promise<void>;
}

const mebibyte = 1_048_576;
const rssGrowthMax = 700 * mebibyte;
const quickly = { headersMs: 400, bodyMs: 400 };

async function site(t: TestContext, start: Partial<RouterStart> = {}): Promise<Site> {
  const gateway = new FakeGateway("g1");
  const router = await startRouter({
    name: "r1",
    host: "127.0.0.1",
    port: 0,
    whitelist: demoWhitelist,
    gateways: ["g1"],
    dial: () => gateway.dial(),
    logger: silent,
    ...start,
  });
  t.after(() => router.close(0));
  const { port } = router;
  const during = async (attack: () => Promise<void>): Promise<void> => {
    const before = process.memoryUsage.rss();
    await honest(port);
    let attacking = true;
    let answers = 0;
    const asking = (async (): Promise<void> => {
      while (attacking) {
        await honest(port);
        answers++;
        await pause(10);
      }
    })();
    try {
      await Promise.race([attack(), asking]);
    } finally {
      attacking = false;
    }
    await asking;
    await honest(port);
    assert.ok(answers > 0, "the honest client was served meanwhile");
    const grown = process.memoryUsage.rss() - before;
    assert.ok(grown < rssGrowthMax, `memory grew by ${Math.round(grown / mebibyte)} MiB`);
    await gateway.until(() => gateway.open === 0);
    assert.equal(router.status().inflight, 0);
  };
  return { port, gateway, router, during };
}

function body(more: object = {}): string {
  return JSON.stringify({ model: demoModel, messages: [{ role: "user", content: "hi" }], ...more });
}

async function honest(port: number): Promise<void> {
  const reply = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: body({ user: "honest" }),
    signal: AbortSignal.timeout(15_000),
  });
  assert.equal(reply.status, 200);
  assert.ok((await reply.text()).includes('"content":"Hello there."'));
}

const head = (length: number | string, more = ""): string =>
  "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" +
  `content-length: ${length}\r\n${more}\r\n`;
const request = (more: object = {}): string => {
  const text = body(more);
  return head(Buffer.byteLength(text)) + text;
};

interface Raw {
  readonly socket: Socket;
  /** Everything received, once the connection has closed, however it did. */
  readonly closed: Promise<string>;
  /** Resolves when something has been received. */
  readonly heard: Promise<unknown>;
}

function open(port: number, bytes: string | Uint8Array = ""): Raw {
  const socket = connect({ port, host: "127.0.0.1" });
  let text = "";
  const heard = Promise.withResolvers<undefined>();
  socket.on("data", (part: Buffer) => {
    text += part.toString("latin1");
    heard.resolve(undefined);
  });
  // A reset is one of the ways to be turned away.
  socket.on("error", () => undefined);
  const closed = new Promise<string>((resolve) => {
    socket.on("close", () => {
      resolve(text);
    });
  });
  if (bytes.length > 0) socket.write(bytes);
  return { socket, closed, heard: heard.promise };
}

/** For states of the router that no event tells of. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(10);
}

const statusOf = (reply: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(reply)?.[1] ?? 0);

test("abuse: clients leave at every stage -> their pairs are withdrawn, nothing stays", async (t) => {
  const { port, gateway, router, during } = await site(t);
  gateway.behave = (call): void => {
    if (call.lastText === "never") call.admit();
    else if (call.lastText === "begin") call.admit().text("first");
    else sayHello(call);
  };
  const asks = (content: string, stream: boolean): string =>
    request({ stream, messages: [{ role: "user", content }] });
  const whole = request();
  const cuts = [0, 3, 30, head(9).length - 1, head(9).length, whole.length - 1, whole.length];
  await during(async () => {
    for (let round = 0; round < 10; round++) {
      for (const cut of cuts) {
        const { socket, closed } = open(port, whole.slice(0, cut));
        await new Promise((resolve) => socket.once("connect", resolve));
        if (round % 2 === 0) socket.resetAndDestroy();
        else socket.end();
        await closed;
      }
      const unanswered = [asks("never", false), asks("never", true)].map((text) =>
        open(port, text),
      );
      const withdrawn = gateway.calls.length;
      await gateway.until(
        () => gateway.calls.slice(withdrawn).filter((c) => c.lastText === "never").length >= 2,
      );
      for (const { socket } of unanswered) socket.destroy();
      const begun = open(port, asks("begin", true));
      await begun.heard;
      begun.socket.destroy();
    }
    const left = gateway.calls.filter((call) => call.lastText !== "hi");
    await Promise.all(left.map((call) => call.withdrawn));
    assert.equal(left.length, 30);
  });
  await until(() => router.status().connections <= 4);
});

const garbage: readonly [string, string | Uint8Array][] = [
  ["binary", Uint8Array.from([0, 255, 1, 254, 13, 10, 13, 10])],
  ["a TLS hello", Uint8Array.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3])],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["no host", "GET /health HTTP/1.1\r\n\r\n"],
  ["both lengths", head(5, "transfer-encoding: chunked\r\n") + "0\r\n\r\n"],
  ["two lengths", head(5, "content-length: 6\r\n")],
  ["a negative length", head(-1)],
  ["a hexadecimal length", head("0x10")],
  ["a folded header", "GET /health HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n"],
  ["a NUL", "GET /health HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n"],
  ["bare line feeds", "GET /health HTTP/1.1\nhost: x\n\n"],
  ["spaces before a colon", "GET /health HTTP/1.1\r\nhost : x\r\n\r\n"],
  ["huge headers", `GET /health HTTP/1.1\r\nhost: x\r\na: ${"x".repeat(20_000)}\r\n\r\n`],
  [
    "a bad chunk",
    head("").replace("content-length: \r\n", "transfer-encoding: chunked\r\n") + "zz\r\n",
  ],
  ["an unknown expectation", head(5, "expect: money\r\n")],
  ["CONNECT", "CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n"],
];

test("abuse: bytes that are no request -> a 4xx or a closed connection, never an answer", async (t) => {
  const { port, gateway, during } = await site(t, { httpLimits: quickly });
  await during(async () => {
    for (const [name, bytes] of garbage) {
      const reply = await open(port, bytes).closed;
      const status = statusOf(reply);
      assert.ok(reply === "" || (status >= 400 && status < 500), `${name}: ${reply.slice(0, 80)}`);
      if (name === "huge headers") assert.equal(status, 431);
    }
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (bytes) => {
        const raw = open(port, bytes);
        raw.socket.end();
        const status = statusOf(await raw.closed);
        assert.ok(status === 0 || (status >= 400 && status < 500));
      }),
      { numRuns: 100 },
    );
  });
  assert.ok(gateway.calls.every((call) => call.lastText === "hi"));
});

test("abuse: bodies beyond the limit, declared or not -> 413, and no memory for them", async (t) => {
  const { port, gateway, during } = await site(t);
  await during(async () => {
    const declared = open(port, head(10_000_000_000));
    await declared.heard;
    declared.socket.destroy();
    assert.equal(statusOf(await declared.closed), 413);

    const asked = open(port, head(10_000_000_000, "expect: 100-continue\r\n"));
    await asked.heard;
    asked.socket.destroy();
    assert.equal(statusOf(await asked.closed), 413);

    const endless = open(
      port,
      head("").replace("content-length: \r\n", "transfer-encoding: chunked\r\n"),
    );
    const chunk = Buffer.from(`10000\r\n${"x".repeat(0x10000)}\r\n`);
    const pour = (): void => {
      while (!endless.socket.destroyed && endless.socket.write(chunk));
    };
    endless.socket.on("drain", pour);
    pour();
    assert.equal(statusOf(await endless.closed), 413);

    const large = JSON.stringify({ model: demoModel, messages: [], user: "x".repeat(mebibyte) });
    const reply = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: large,
    });
    assert.equal(reply.status, 413);
    assert.match(await reply.text(), /"code":"body_too_large"/);
  });
  assert.ok(gateway.calls.every((call) => call.lastText === "hi"));
});

test("abuse: headers and bodies that dribble in -> 408 and closed at the deadline", async (t) => {
  const { port, during } = await site(t, { httpLimits: quickly });
  await during(async () => {
    const text = request();
    const slow = [0, 10, head(9).length - 3, head(9).length + 5].map((cut) => {
      const raw = open(port, text.slice(0, cut));
      const drip = setInterval(() => raw.socket.write("x"), 50);
      void raw.closed.then(() => {
        clearInterval(drip);
      });
      if (cut === 0) clearInterval(drip);
      return raw;
    });
    const replies = await Promise.all(slow.map((raw) => raw.closed));
    for (const reply of replies.slice(1)) assert.ok([0, 400, 408].includes(statusOf(reply)), reply);
    assert.equal(statusOf(replies.at(-1) ?? ""), 408);
    assert.match(replies.at(-1) ?? "", /"code":"request_timeout"/);
  });
});

test("abuse: wrong types and invalid UTF-8 -> 400 that names the fault, connection kept", async (t) => {
  const { port, during } = await site(t);
  await during(async () => {
    const post = async (bytes: string | Uint8Array<ArrayBuffer>): Promise<string> => {
      const reply = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: bytes,
      });
      assert.equal(reply.status, 400);
      return reply.text();
    };
    assert.match(await post(Uint8Array.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x7d])), /invalid_utf8/);
    assert.match(
      await post(body({ messages: [{ role: "user", content: 1 }] })),
      /messages\[0\]\.content/,
    );
    assert.match(await post(body({ temperature: {} })), /"param":"temperature"/);
    assert.match(await post("[".repeat(500_000)), /invalid_json/);
    assert.match(await post(`{"model":"${"m".repeat(400_000)}"`), /invalid_json/);
  });
});

test("abuse: pipelined requests -> answered in order, up to a limit", async (t) => {
  const { port, gateway, during } = await site(t);
  await during(async () => {
    const few = open(port, request().repeat(8));
    let ids: string[] = [];
    let seen = "";
    few.socket.on("data", (part: Buffer) => {
      seen += part.toString();
      ids = [...seen.matchAll(/"tag":"g1\.(\w{16})"/g)].map((match) => match[1] ?? "");
      if (ids.length === 8) few.socket.destroy();
    });
    await few.closed;
    assert.deepEqual(ids, ids.toSorted());
    gateway.behave = (call): void => {
      if (call.lastText === "never") call.admit();
      else sayHello(call);
    };
    const never = request({ messages: [{ role: "user", content: "never" }] });
    const many = open(port, never.repeat(200));
    assert.equal(await many.closed, "");
    const stuck = gateway.calls.filter((call) => call.lastText === "never");
    assert.ok(stuck.length <= 9);
    await Promise.all(stuck.map((call) => call.withdrawn));
  });
});

test("abuse: more connections than allowed -> 503 and closed; the others are served", async (t) => {
  const { port, router, during } = await site(t, { httpLimits: { connections: 40 } });
  await during(async () => {
    const held = Array.from({ length: 37 }, () => open(port, "GET /health HTTP/1.1\r\n"));
    await until(() => router.status().connections >= 38);
    const over = Array.from({ length: 20 }, () => open(port));
    const replies = await Promise.all(over.slice(5).map((raw) => raw.closed));
    for (const reply of replies) assert.match(reply, /^HTTP\/1\.1 503[\s\S]*too_many_connections/);
    for (const { socket } of [...held, ...over]) socket.destroy();
  });
});

const manyClients = `
const { connect } = require("node:net");
const [port, count] = process.argv.slice(1).map(Number);
const bytes = "POST /v1/chat/completions HTTP/1.1\\r\\nhost: x\\r\\n";
let up = 0;
let started = 0;
const next = () => {
  if (started === count) return;
  started++;
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("connect", () => {
    if (up % 2 === 0) socket.write(bytes);
    if (++up === count) process.stdout.write("up\\n");
    next();
  });
  socket.on("error", (error) => { process.stderr.write(error.message); process.exit(1); });
};
for (let i = 0; i < 64; i++) next();
process.stdin.on("end", () => process.exit(0)).resume();
`;

test("abuse: 10,000 connections, half of them mid-header -> honest clients are served", async (t) => {
  const count = 10_000;
  const files = Number(spawnSync("sh", ["-c", "ulimit -n"]).stdout.toString().trim());
  if (files < count + 500) {
    t.skip(`SKIPPED: only ${files} open files are allowed (ulimit -n), ${count + 500} are needed`);
    return;
  }
  const patient = { headersMs: 60_000 };
  const { port, router, during } = await site(t, { httpLimits: patient });
  await during(async () => {
    const args = ["-e", manyClients, String(port), String(count)];
    const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    await Promise.race([new Promise((resolve) => child.stdout.once("data", resolve)), exited]);
    await until(() => router.status().connections >= count);
    for (let i = 0; i < 20; i++) await honest(port);
    child.stdin.end();
    assert.equal(await exited, 0);
  });
  await until(() => router.status().connections <= 4);
});

test("abuse: clients that never read a finished reply -> cut off when they stall", async (t) => {
  const { port, gateway, router, during } = await site(t, {
    httpLimits: { stallMs: 400 },
    limits: { clientBacklog: 2 ** 28 },
  });
  gateway.behave = (call): void => {
    call.admit();
    // More than the kernel's buffers take, so that part of it stays in the router.
    if (call.lastText === "pour") for (let i = 0; i < 130; i++) call.text("x".repeat(60_000));
    else call.text("Hello there.");
    call.finish();
  };
  await during(async () => {
    const messages = [{ role: "user", content: "pour" }];
    const raws = Array.from({ length: 6 }, () => open(port, request({ stream: true, messages })));
    for (const { socket } of raws) socket.pause();
    await until(() => router.status().connections >= 6);
    await gateway.until(() => gateway.calls.filter((c) => c.lastText === "pour").length === 6);
    await until(() => router.status().connections <= 4);
    for (const { socket } of raws) socket.destroy();
  });
});

test("abuse: clients that never read huge streams -> cut off, their pairs withdrawn", async (t) => {
  const { port, gateway, during } = await site(t, { limits: { clientBacklog: mebibyte } });
  const text = "x".repeat(60_000);
  gateway.behave = (call): void => {
    if (call.lastText !== "pour") {
      sayHello(call);
      return;
    }
    call.admit();
    // Far more than the kernel's buffers take: only being cut off ends this before it is all sent.
    let left = 65;
    const pour = (): void => {
      if (call.isWithdrawn) return;
      for (let i = 0; i < 2; i++) call.text(text);
      if (--left > 0) setImmediate(pour);
    };
    pour();
  };
  await during(async () => {
    const content = "pour";
    const slow = Array.from({ length: 8 }, () => {
      const raw = open(port, request({ stream: true, messages: [{ role: "user", content }] }));
      raw.socket.pause();
      return raw;
    });
    await gateway.until(
      () => gateway.calls.filter((call) => call.lastText === content).length === 8,
    );
    const calls = gateway.calls.filter((call) => call.lastText === content);
    await Promise.all(calls.map((call) => call.withdrawn));
    for (const { socket } of slow) socket.destroy();
  });
});
