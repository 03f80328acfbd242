/**
 * What a gateway does with the orders of the ladder: keep more pairs, recheck the ring, hold replies
 * back until they have passed; across restarts, until a signed release; and how the recomputer hears
 * of that release. The server is a stub; storage, links and orders are the real ones.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frameType, type Frame } from "../../src/format/link.ts";
import { openOrder, sealOrder, type Order } from "../../src/format/order.ts";
import { encodeInput } from "../../src/format/pair.ts";
import { decodeProofRequest } from "../../src/format/proof-request.ts";
import { decodeAbort, decodeOutputPart, decodeState } from "../../src/format/router-link.ts";
import { encodeEnd, encodePrompt, encodeTokens } from "../../src/format/server-link.ts";
import type { Wire } from "../../src/format/wire.ts";
import { publicKeyHex } from "../../src/base/sign.ts";
import { testDepot } from "../sealing.ts";
import { chunked, whitelisted } from "../support.ts";
import {
  buildHouse,
  orderKeys,
  removeDirectory,
  temporaryDirectory,
  type House,
  type HouseOptions,
} from "./house.ts";

const weights = Buffer.alloc(5000, 9);
const { entry } = whitelisted("m", weights, 4096);
const { chunks, tree } = chunked(weights, 4096);

function depot(link: Wire): void {
  const model = {
    ...{ modelId: "m", sizeBytes: weights.length, chunkBytes: 4096, root: tree.root },
    chunk: (i: number) =>
      Promise.resolve({ data: chunks[i] ?? Buffer.alloc(0), proof: tree.proof(i) }),
    close: () => Promise.resolve(),
  };
  testDepot([model]).attachGateway(link);
}

function server(link: Wire): void {
  link.onFrame((frame) => {
    if (frame.type === frameType.loadEnd) link.send(frameType.loadReady, 0n);
    if (frame.type !== frameType.generate) return;
    link.send(frameType.prompt, frame.id, encodePrompt([1, 2, 3]));
    link.send(frameType.tokens, frame.id, encodeTokens([4, 5], "hello "));
    link.send(frameType.tokens, frame.id, encodeTokens([6], "you"));
    link.send(frameType.end, frame.id, encodeEnd("stop"));
  });
}

const params = { maxTokens: 5, temperature: 1, topK: 4, topP: 1, stops: [] };
const hello = encodeInput({ modelId: "m", params, prompt: { kind: "text", text: "hi" } });

/** A recomputer's end of the link: notes what comes, answers when it is told to. */
class Desk {
  readonly wire: Wire;
  readonly frames: { type: number; id: bigint; payload: Buffer }[] = [];
  /** The verdict that each proof request gets at once; null: none. */
  verdict: "pass" | "fail" | null;

  constructor(house: House, verdict: "pass" | "fail" | null = "pass") {
    this.verdict = verdict;
    this.wire = house.connectRecomputer();
    this.wire.onFrame((frame: Frame) => {
      this.frames.push({ ...frame, payload: Buffer.from(frame.payload) });
      if (frame.type === frameType.proofRequest && this.verdict !== null) {
        this.wire.send(frameType.verdict, frame.id, Buffer.from(this.verdict));
      }
    });
  }

  of(type: number): { type: number; id: bigint; payload: Buffer }[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  get proofs(): number {
    return new Set(this.of(frameType.proofRequest).map(({ id }) => id)).size;
  }

  results(): string[] {
    return this.of(frameType.orderResult).map(({ payload }) => payload.toString());
  }
}

let nonce = 0;
function sealed(
  order: { action: "sample"; epsilon: number } | { action: "recheck" | "quarantine" | "shutdown" },
): { bytes: Buffer; digest: string } {
  const common = { gateway: "g1", reason: "a test", issuedMs: 1 };
  const whole: Order = { ...order, ...common, nonce: (++nonce).toString(16).padStart(32, "0") };
  const bytes = sealOrder(whole, orderKeys.recomputer);
  const allowed = { shutdown: [publicKeyHex(orderKeys.recomputer)], release: [] };
  return { bytes, digest: openOrder(bytes, allowed).digest };
}

function releaseOf(halt: string): Buffer {
  const common = { gateway: "g1", reason: "looked at", issuedMs: 2 };
  const order: Order = { action: "release", ...common, nonce: "ee".repeat(16), halt };
  return sealOrder(order, orderKeys.operator);
}

interface Scene {
  readonly house: House;
  readonly router: Wire;
  /** What the router saw of its requests: `admitted`, `output:text`, `final`, `abort:code`. */
  readonly seen: string[];
  readonly states: boolean[];
  readonly ask: () => void;
}

let requests = 0n;

async function scene(
  options: Partial<HouseOptions>,
  play: (scene: Scene) => Promise<void>,
): Promise<void> {
  const house = await buildHouse({ entry, depot, server, ...options });
  const router = house.connectRouter();
  const seen: string[] = [];
  const states: boolean[] = [];
  router.onFrame((frame) => {
    if (frame.type === frameType.state) states.push(decodeState(frame.payload).quarantined);
    if (frame.type === frameType.admitted) seen.push("admitted");
    if (frame.type === frameType.abort) seen.push(`abort:${decodeAbort(frame.payload)}`);
    if (frame.type !== frameType.output) return;
    const part = decodeOutputPart(frame.payload);
    if (part.text !== "") seen.push(`output:${part.text}`);
    if (part.final !== null) seen.push("final");
  });
  const ask = (): void => void router.send(frameType.input, ++requests, hello);
  try {
    await house.until("serving", () => house.gateway.status().ready);
    await play({ house, router, seen, states, ask });
  } finally {
    await house.stop();
    if (options.dir === undefined) removeDirectory(house.dir);
  }
}

async function inTwoRuns(
  epsilon: number,
  first: (scene: Scene) => Promise<void>,
  second: (scene: Scene) => Promise<void>,
): Promise<void> {
  const dir = temporaryDirectory();
  try {
    await scene({ dir, overrides: { epsilon } }, first);
    await scene({ dir, overrides: { epsilon } }, second);
  } finally {
    removeDirectory(dir);
  }
}

test("orders: quarantine -> nothing of a reply leaves before its pair has passed, then all at once", async () => {
  const order = sealed({ action: "quarantine" });
  await inTwoRuns(
    0,
    async ({ house, seen, states, ask }) => {
      const desk = new Desk(house, null);
      desk.wire.send(frameType.order, 1n, order.bytes);
      desk.wire.send(frameType.order, 2n, order.bytes);
      await house.until("answers", () => desk.results().length === 2);
      assert.deepEqual(desk.results(), ["obeyed", "already-obeyed"]);
      ask();
      await house.until("the pair at the recomputer", () => desk.proofs === 1);
      const { quarantine, inflight, sampling } = house.gateway.status();
      assert.equal(quarantine?.held, 1);
      assert.equal(inflight, 1);
      assert.equal(sampling?.epsilon, 1);
      assert.equal(seen.length, 0);
      const id = desk.of(frameType.proofRequest)[0]?.id ?? 0n;
      desk.wire.send(frameType.verdict, id, Buffer.from("pass"));
      await house.until("the reply", () => seen.includes("final"));
      assert.deepEqual(seen, ["admitted", "output:hello you", "final"]);
      assert.equal(states.at(-1), true);
    },
    async ({ house, seen, ask }) => {
      // It stands after a restart. A FAIL: the client gets an error and not one word.
      const desk = new Desk(house, "fail");
      ask();
      await house.until("the end", () => seen.length === 2);
      assert.deepEqual(seen, ["admitted", "abort:server-misbehaved"]);
      assert.ok(house.gateway.status().alarms.some(({ kind }) => kind === "gateway.quarantined"));
      desk.wire.send(frameType.order, 3n, releaseOf(order.digest));
      await house.until("its end", () => house.gateway.status().quarantine === null);
      desk.verdict = null;
      ask();
      await house.until("the reply", () => seen.includes("final"));
      assert.equal(house.gateway.status().sampling?.epsilon, 0);
    },
  );
});

test("orders: quarantine without a verdict in time -> an error, and the pair is still proved", async () => {
  await scene({ overrides: { holdMs: 50 } }, async ({ house, seen, ask }) => {
    const desk = new Desk(house, null);
    desk.wire.send(frameType.order, 1n, sealed({ action: "quarantine" }).bytes);
    await house.until("its start", () => house.gateway.status().quarantine !== null);
    ask();
    await house.until("the end", () => seen.includes("abort:deadline"));
    assert.equal(house.gateway.status().quarantine?.withheld, 1);
    assert.equal(house.gateway.status().outbox.waiting, 1);
  });
});

test("orders: sample -> more pairs are kept, also after a restart, until a release", async () => {
  const order = sealed({ action: "sample", epsilon: 1 });
  await inTwoRuns(
    0,
    async ({ house, seen, ask }) => {
      const desk = new Desk(house);
      ask();
      await house.until("the first", () => seen.includes("final"));
      desk.wire.send(frameType.order, 1n, order.bytes);
      await house.until("its start", () => house.gateway.status().sampling?.epsilon === 1);
      assert.equal(house.gateway.status().sampling?.order, order.digest);
      ask();
      await house.until("a proof", () => desk.proofs > 0);
    },
    async ({ house, ask }) => {
      const desk = new Desk(house);
      ask();
      await house.until("another", () => desk.proofs > 0);
      desk.wire.send(frameType.order, 2n, releaseOf(order.digest));
      await house.until("its end", () => house.gateway.status().sampling?.epsilon === 0);
      // Sent again, as by a recomputer that has not heard: it stays ended.
      desk.wire.send(frameType.order, 3n, order.bytes);
      await house.until("the answer", () => desk.results().includes("already-released"));
      assert.equal(house.gateway.status().sampling?.epsilon, 0);
    },
  );
});

test("orders: recheck -> every pair in the ring that no coin kept, once, marked, also over a restart", async () => {
  const order = sealed({ action: "recheck" });
  const pairs = 40;
  await inTwoRuns(
    0,
    async ({ house, seen, ask }) => {
      for (let i = 0; i < pairs; i++) ask();
      await house.until("all", () => seen.filter((word) => word === "final").length === pairs);
      await house.until("leaves", () => house.gateway.status().pairs.logged === pairs);
      // Nobody judges: it goes as far as there is room.
      const desk = new Desk(house, null);
      desk.wire.send(frameType.order, 1n, order.bytes);
      await house.until("some", () => desk.proofs === 32);
      assert.equal(house.gateway.status().recheck?.of, pairs);
    },
    async ({ house }) => {
      const desk = new Desk(house);
      await house.until("the end", () => house.gateway.status().recheck?.done === true);
      await house.until("all judged", () => house.gateway.status().outbox.waiting === 0);
      assert.equal(desk.proofs, pairs);
      const { recheck } = house.gateway.status();
      assert.equal(recheck?.lost, 0);
      assert.equal(recheck?.sent, pairs);
      assert.equal(recheck.of, pairs, "counted before the restart, and kept");
      for (const { payload } of desk.of(frameType.proofRequest)) {
        assert.equal(decodeProofRequest(payload).rechecked, true);
      }
      desk.wire.send(frameType.order, 2n, order.bytes);
      await house.until("the answer", () => desk.results().includes("already-obeyed"));
    },
  );
});

test("orders: a release -> ends what is milder too, and the recomputer hears of it before any pair", async () => {
  await scene({ overrides: { epsilon: 1 } }, async ({ house, ask, seen }) => {
    const desk = new Desk(house);
    const shutdown = sealed({ action: "shutdown" });
    desk.wire.send(frameType.order, 1n, sealed({ action: "sample", epsilon: 0.5 }).bytes);
    desk.wire.send(frameType.order, 2n, sealed({ action: "quarantine" }).bytes);
    desk.wire.send(frameType.order, 3n, shutdown.bytes);
    await house.until("the halt", () => house.gateway.status().halted !== null);
    await house.until("power off", () => house.powerLog.at(-1) === "kill");
    desk.wire.send(frameType.order, 4n, releaseOf(shutdown.digest));
    await house.until("serving again", () => house.gateway.status().ready);
    const { halted, quarantine, sampling } = house.gateway.status();
    assert.deepEqual([halted, quarantine, sampling?.order], [null, null, ""]);
    ask();
    await house.until("the reply", () => seen.includes("final"));
    await house.until("the pair", () => desk.proofs === 1);
    const types = desk.frames.map(({ type }): number => type);
    assert.ok(types.indexOf(frameType.order) < types.indexOf(frameType.proofRequest));
    assert.deepEqual(desk.of(frameType.order)[0]?.payload, releaseOf(shutdown.digest));
    // Unanswered: told again on the next link, before everything else; once answered, never again.
    const second = new Desk(house);
    await house.until("again", () => second.of(frameType.order).length === 1);
    assert.equal(second.frames[0]?.type, frameType.order);
    second.wire.send(frameType.orderResult, second.frames[0]?.id ?? 0n, Buffer.from("obeyed"));
    ask();
    await house.until("another pair", () => second.proofs === 1);
    const third = new Desk(house);
    ask();
    await house.until("a third pair", () => third.proofs === 1);
    assert.deepEqual(third.of(frameType.order), []);
  });
});
