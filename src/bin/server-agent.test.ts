/** The agent as a process: its link is an inherited socket, it needs no environment and no home. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { wireOver } from "../adapter/link.ts";
import { fixtureModel, smallShape } from "../adapter/llama/fixture.ts";
import { frameType } from "../format/link.ts";
import { encodeInput } from "../format/pair.ts";
import { encodeGenerate, encodeLoadBegin } from "../format/server-link.ts";

const program = join(import.meta.dirname, "server-agent.ts");

test("server-agent: started with an empty environment -> loads, answers, ends with its link", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "weir-agent-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const child = spawn(process.execPath, [program, "--fd", "3", "--weights-dir", directory], {
    env: {},
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  const exit = once(child, "exit");
  assert.ok(child.stdout !== null && child.stderr !== null);
  const out = text(child.stdout);
  const log = text(child.stderr);
  const link = child.stdio[3];
  assert.ok(link instanceof Socket);
  const wire = wireOver(link, { role: "server", name: "s1" });
  const closed = new Promise<void>((resolve) => wire.onClose(() => resolve()));
  const ended = new Promise<boolean>((resolve) => {
    void closed.then(() => resolve(false));
    wire.onFrame((frame) => {
      if (frame.type === frameType.loadReady) {
        const params = { maxTokens: 5, temperature: 1, topK: 10, topP: 1, stops: [] };
        const prompt = { kind: "text", text: "the weir" } as const;
        const input = encodeInput({ modelId: "fixture", params, prompt });
        wire.send(frameType.generate, 1n, encodeGenerate(9n, input));
      }
      if (frame.type === frameType.end) resolve(true);
    });
  });
  const model = fixtureModel(smallShape);
  const begin = { gateway: "g1", modelId: "fixture", sizeBytes: BigInt(model.length) };
  const sizes = { topKMax: 20, contextTokens: 64 };
  wire.send(frameType.loadBegin, 0n, encodeLoadBegin({ ...begin, ...sizes }));
  wire.send(frameType.loadChunk, 0n, model);
  wire.send(frameType.loadEnd, 0n);

  assert.ok(await ended, await Promise.race([log, Promise.resolve("no answer came")]));
  assert.deepEqual(readdirSync(directory), []);
  wire.close("done");
  assert.deepEqual(await exit, [0, null]);
  assert.equal(await out, "", "nothing but the log, and that on standard error");
  for (const line of (await log).trim().split("\n")) {
    assert.equal((JSON.parse(line) as { role: string }).role, "server");
  }
});

test("server-agent: no weights directory -> usage error, exit code 2", async () => {
  const child = spawn(process.execPath, [program], {
    env: {},
    stdio: ["ignore", "ignore", "pipe"],
  });
  const log = text(child.stderr);
  assert.deepEqual(await once(child, "exit"), [2, null]);
  assert.match(await log, /weights-dir/);
});
