/**
 * kill -9 of a whole gateway process, at random moments, many times, on one data directory. The test
 * plays router, depot and recomputer over real mutual TLS and remembers what it was given. After
 * each kill the gateway starts again; at the end its storage is opened and held against that memory:
 *
 *   - every byte that the router received is in the ring, under its tag
 *   - tags never repeat, and boot epochs rise
 *   - every pair has exactly one leaf; a pair whose end was never recorded is logged as cut off
 *   - every logged pair (epsilon is 1) reached the recomputer, and none has two verdicts
 *
 * The server is a stub in an unisolated process group: it is the gateway that is tested here.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { openGatewayStore } from "../../src/adapter/disk/store.ts";
import { createAuthority, issue } from "../../src/adapter/pki.ts";
import { systemRandom } from "../../src/adapter/random.ts";
import { dialTls, listenTls, readIdentity, type Listener } from "../../src/adapter/tls.ts";
import { secretKey } from "../../src/base/hash.ts";
import { publicKeyHex } from "../../src/base/sign.ts";
import { decodeLeaf, inputDigestOf, outputDigestOf, type Leaf } from "../../src/format/leaf.ts";
import { frameType } from "../../src/format/link.ts";
import { decodeOutput, encodeInput } from "../../src/format/pair.ts";
import { decodeProofRequest } from "../../src/format/proof-request.ts";
import { decodeAdmitted, decodeOutputPart, decodeState } from "../../src/format/router-link.ts";
import { decodeTokens } from "../../src/format/server-link.ts";
import { tagEpoch, type Tag } from "../../src/format/tag.ts";
import type { Wire } from "../../src/format/wire.ts";
import { testDepot } from "../sealing.ts";
import { chunked, rootAnchor, rootFile, whitelisted } from "../support.ts";
import { saltsOf } from "../../src/gateway/tag.ts";
import { orderKeys, removeDirectory, temporaryDirectory, until } from "../path/house.ts";

const saltOf = saltsOf(secretKey(Buffer.alloc(32, 0x5e)));
const rounds = 10;
const seed = Number(process.env["WEIR_CRASH_SEED"] ?? Date.now() % 1_000_000);

/** A small reproducible generator (mulberry32), for the moments of the kills. */
function random(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const weights = Buffer.alloc(10_000, 7);
const { file, entry } = whitelisted("stub", weights, 4096);
const { chunks, tree } = chunked(weights, 4096);

interface Memory {
  /** Text received by the router, per tag. */
  readonly received: Map<Tag, string>;
  readonly finished: Set<Tag>;
  /** Proof requests by tag, and how often each came. */
  readonly proofs: Map<Tag, { leaf: Leaf; output: Buffer }>;
  readonly leafIndexes: Map<Tag, bigint>;
}

interface Surroundings {
  readonly dir: string;
  readonly depot: Listener;
  readonly recomputer: Listener;
  readonly memory: Memory;
  readonly children: ChildProcess[];
}

async function prepare(dir: string): Promise<void> {
  const authority = await createAuthority("test site", Date.now());
  mkdirSync(join(dir, "keys"));
  writeFileSync(join(dir, "keys", "ca.crt"), authority.cert);
  for (const role of ["gateway/g1", "router/r1", "depot/d1", "recomputer/c1"] as const) {
    const [kind, name] = role.split("/") as ["gateway" | "router" | "depot" | "recomputer", string];
    const { cert, key } = await issue(authority, kind, name, Date.now());
    writeFileSync(join(dir, "keys", `${kind}-${name}.crt`), cert);
    writeFileSync(join(dir, "keys", `${kind}-${name}.key`), key);
  }
  writeFileSync(join(dir, "keys", "ring.key"), "5e".repeat(32));
  writeFileSync(join(dir, "whitelist.json"), file);
  writeFileSync(join(dir, "root.jsonl"), rootFile);
}

async function surround(dir: string): Promise<Surroundings> {
  const memory: Memory = {
    received: new Map(),
    finished: new Set(),
    proofs: new Map(),
    leafIndexes: new Map(),
  };
  const depot = testDepot([
    {
      modelId: "stub",
      sizeBytes: weights.length,
      chunkBytes: 4096,
      root: tree.root,
      chunk: (i) => Promise.resolve({ data: chunks[i] ?? Buffer.alloc(0), proof: tree.proof(i) }),
      close: () => Promise.resolve(),
    },
  ]);
  const keys = join(dir, "keys");
  const common = { host: "127.0.0.1", port: 0, accept: ["gateway"] as const };
  return {
    dir,
    memory,
    children: [],
    depot: await listenTls({
      ...common,
      identity: readIdentity(keys, "depot-d1"),
      onWire: (wire) => {
        depot.attachGateway(wire);
      },
    }),
    recomputer: await listenTls({
      ...common,
      identity: readIdentity(keys, "recomputer-c1"),
      onWire: (wire) => {
        judgeAll(wire, memory);
      },
    }),
  };
}

/** A recomputer that notes each proof request and passes it. */
function judgeAll(wire: Wire, memory: Memory): void {
  wire.onFrame((frame) => {
    if (frame.type !== frameType.proofRequest) return;
    const request = decodeProofRequest(frame.payload);
    const leaf = decodeLeaf(request.leaf);
    const salt = saltOf(leaf.tag);
    assert.deepEqual(leaf.inputDigest, inputDigestOf(salt, request.input));
    assert.deepEqual(leaf.outputDigest, outputDigestOf(salt, request.output));
    const before = memory.leafIndexes.get(leaf.tag);
    assert.ok(before === undefined || before === request.leafIndex, "one pair, one leaf");
    memory.leafIndexes.set(leaf.tag, request.leafIndex);
    memory.proofs.set(leaf.tag, { leaf, output: request.output });
    wire.send(frameType.verdict, frame.id, Buffer.from("pass"));
  });
}

async function startGateway(around: Surroundings): Promise<{ child: ChildProcess; port: number }> {
  const { dir, depot, recomputer } = around;
  const config = {
    name: "g1",
    listen: "127.0.0.1:0",
    identity: join(dir, "keys"),
    data: join(dir, "data"),
    ringKey: join(dir, "keys", "ring.key"),
    whitelist: join(dir, "whitelist.json"),
    trustRoot: join(dir, "root.jsonl"),
    rootAnchor,
    model: "stub",
    depot: `127.0.0.1:${depot.port}`,
    recomputer: `127.0.0.1:${recomputer.port}`,
    shutdownKeys: [publicKeyHex(orderKeys.recomputer)],
    releaseKeys: [publicKeyHex(orderKeys.operator)],
    epsilon: 1,
    tickMs: 5,
    ringBytes: 32 * 1_048_576,
    segments: 4,
    outboxPairs: 100_000,
    eraseBytes: 0,
    power: { kind: "sandbox", sandbox: "off", agent: `${process.cwd()}/bench/stub-agent.ts` },
    logLevel: "warn",
  };
  writeFileSync(join(dir, "gateway.json"), JSON.stringify(config));
  const script =
    "import('./src/bin/gateway.ts').then(async (m) => process.exit(await m.runGateway(process.argv.slice(1))))";
  const args = ["--input-type=module", "-e", script, "--", "--config", join(dir, "gateway.json")];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  around.children.push(child);
  let said = "";
  child.stderr.on("data", (text: Buffer) => (said = (said + text.toString()).slice(-4000)));
  const lines = createInterface({ input: child.stdout });
  const ready = await Promise.race([
    once(lines, "line").then(([line]) => JSON.parse(String(line)) as { port: number }),
    once(child, "exit").then(() => null),
  ]);
  assert.ok(ready !== null, `the gateway did not start: ${said}`);
  return { child, port: ready.port };
}

/** Keeps asking until the link breaks; notes all that is let out. */
async function useGateway(port: number, dir: string, memory: Memory): Promise<() => number> {
  const identity = readIdentity(join(dir, "keys"), "router-r1");
  const wire = await dialTls({ host: "127.0.0.1", port, identity, expect: "gateway" });
  const tags = new Map<bigint, Tag>();
  let [next, answered, accepting] = [1n, 0, false];
  const askOne = (): void => {
    const kinds = ["json ", "burst ", "paced "];
    const text = `${kinds[Number(next) % 3] ?? ""}${next}`;
    const params = { maxTokens: 600, temperature: 1, topK: 1, topP: 1, stops: [] };
    const input = encodeInput({ modelId: "stub", params, prompt: { kind: "text", text } });
    wire.send(frameType.input, next++, input);
  };
  wire.onFrame((frame) => {
    if (frame.type === frameType.state && !accepting && decodeState(frame.payload).accepting) {
      accepting = true;
      for (let i = 0; i < 12; i++) askOne();
    }
    if (frame.type === frameType.admitted) {
      const tag = decodeAdmitted(frame.payload);
      assert.equal(memory.received.has(tag), false, `tag ${tag.toString(16)} came twice`);
      tags.set(frame.id, tag);
      memory.received.set(tag, "");
    }
    if (frame.type !== frameType.output) return;
    const tag = tags.get(frame.id);
    assert.ok(tag !== undefined);
    const part = decodeOutputPart(frame.payload);
    memory.received.set(tag, (memory.received.get(tag) ?? "") + part.text);
    answered++;
    if (part.final === null) return;
    memory.finished.add(tag);
    askOne();
  });
  wire.onClose(() => undefined);
  return () => answered;
}

test("gateway: killed with SIGKILL at random moments -> nothing that left is lost", async (t) => {
  t.diagnostic(`seed ${seed} (WEIR_CRASH_SEED), ${rounds} kills`);
  const next = random(seed);
  const dir = temporaryDirectory();
  await prepare(dir);
  const around = await surround(dir);
  const { memory } = around;
  try {
    for (let round = 0; round < rounds; round++) {
      const { child, port } = await startGateway(around);
      const answered = await useGateway(port, dir, memory);
      const enough = Math.floor(next() * 150) + 1;
      await until("output before the kill", () => answered() >= enough);
      await new Promise((resolve) => setTimeout(resolve, next() * 30));
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    // One last start and an orderly stop: recovery runs, and the outbox drains.
    const { child } = await startGateway(around);
    const opened = (): number =>
      [...memory.received.keys()].filter((tag) => !memory.proofs.has(tag)).length;
    await until("every pair at the recomputer", () => opened() === 0);
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number | null];
    assert.equal(code, 0, "an orderly stop ends with 0");
    await holdAgainst(dir, memory);
    t.diagnostic(`${memory.received.size} pairs, ${memory.finished.size} finished before a kill`);
    assert.ok(memory.finished.size > 0 && memory.finished.size < memory.received.size);
  } finally {
    for (const child of around.children) child.kill("SIGKILL");
    await around.depot.close();
    await around.recomputer.close();
    removeDirectory(dir);
  }
});

async function holdAgainst(dir: string, memory: Memory): Promise<void> {
  const { store, epoch, close } = await openGatewayStore({
    dir: join(dir, "data"),
    rootKey: secretKey(Buffer.from("5e".repeat(32), "hex")),
    entry,
    random: systemRandom,
    ringBytes: 32 * 1_048_576,
    segments: 4,
    outboxPairs: 100_000,
  });
  try {
    const recorded = new Map<Tag, string>();
    for await (const { kind, tag, payload } of store.ring.read()) {
      if (kind === "input") {
        assert.equal(recorded.has(tag), false, "an input is recorded once");
        recorded.set(tag, "");
      }
      if (kind === "tokens")
        recorded.set(tag, (recorded.get(tag) ?? "") + decodeTokens(payload).text);
    }
    assert.equal(store.ring.status().pairsForgotten, 0, "the ring is large enough for this test");
    for (const [tag, text] of memory.received) {
      assert.ok(
        (recorded.get(tag) ?? "").startsWith(text),
        `bytes of ${tag.toString(16)} are lost`,
      );
      assert.ok(tagEpoch(tag) < epoch);
    }
    const leaves = new Set<Tag>();
    const marks = new Set(store.log.marks.map(({ index }) => index));
    for (let index = 0n; index < store.log.size; index++) {
      if (marks.has(index)) continue;
      const leaf = await store.log.read(index);
      assert.equal(leaves.has(leaf.tag), false, "a pair has one leaf");
      leaves.add(leaf.tag);
      const proof = memory.proofs.get(leaf.tag);
      assert.ok(proof !== undefined, "epsilon is 1: every leaf was proved");
      const output = decodeOutput(proof.output);
      assert.ok(output.text.startsWith(memory.received.get(leaf.tag) ?? ""));
      if (memory.finished.has(leaf.tag)) assert.equal(leaf.finish, "stop");
      assert.equal(store.outbox.verdictOf(leaf.tag), "pass");
    }
    for (const tag of recorded.keys()) assert.ok(leaves.has(tag), "every recorded pair has a leaf");
    assert.equal(store.outbox.waiting, 0);
  } finally {
    await close();
  }
}
