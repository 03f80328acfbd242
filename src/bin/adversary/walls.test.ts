/** The control: with no sandbox around it, what is tried gets through. Inside: `weir redteam`, live. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { sandboxWalls } from "./walls.ts";

async function listen(t: TestContext, where: { port: number; host: string } | { path: string }) {
  const server: Server = createServer((socket) => socket.destroy());
  t.after(() => server.close());
  server.listen(where);
  await once(server, "listening");
  return server;
}

function namespaceOf(kind: string): number {
  return Number(/\d+/.exec(readlinkSync(`/proc/self/ns/${kind}`))?.[0]);
}

test("walls: no sandbox -> every channel that listens is reached, every namespace is the host's", async (t) => {
  if (process.platform !== "linux") {
    t.skip("namespaces and abstract sockets are Linux's");
    return;
  }
  const socket = 100_000 + process.pid;
  const tcp = await listen(t, { port: 0, host: "127.0.0.1" });
  await listen(t, { path: `\0weir-channel-${socket}` });
  const udp = createSocket("udp4");
  t.after(() => udp.close());
  udp.on("message", (message, from) => {
    udp.send(message, from.port, from.address);
  });
  udp.bind(0, "127.0.0.1");
  await once(udp, "listening");
  const learnt = await sandboxWalls(() => "/nonexistent").channels({
    tcpPort: (tcp.address() as AddressInfo).port,
    udpPort: udp.address().port,
    socket,
    netNs: namespaceOf("net"),
    ipcNs: namespaceOf("ipc"),
    pidNs: namespaceOf("pid"),
  });
  const answers = new Map(learnt.map(({ what, answer }) => [what, answer]));
  const open = [...answers.entries()]
    .filter(([, answer]) => answer === "yes")
    .map(([what]) => what);
  for (const what of [
    "TCP to the host",
    "UDP to the host",
    "an abstract Unix socket of the host",
    "a named Unix socket in sight",
  ]) {
    assert.equal(answers.get(what), "yes", what);
  }
  assert.equal(open.filter((what) => what.includes("namespace")).length, 3);
  assert.equal(answers.get("a channel through shared caches, memory or power"), "cannot tell");
});

test("walls: nothing of an earlier life -> found as such", async (t) => {
  const weights = mkdtempSync(join(tmpdir(), "weir-walls-"));
  t.after(() => rmSync(weights, { recursive: true }));
  const learnt = await sandboxWalls(() => weights).find(`weir-note-none-${process.pid}`);
  const answers = new Map(learnt.map(({ what, answer }) => [what, answer]));
  assert.equal(answers.get("a file of an earlier life"), "no");
  assert.equal(answers.get("a process of an earlier life"), "no");
});
