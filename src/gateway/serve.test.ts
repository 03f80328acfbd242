/** When bytes leave a gateway, and what must be durable before: the store is held in hand here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settled } from "../../tests/fake-recomputer.ts";
import { quiet, whitelisted, wirePair } from "../../tests/support.ts";
import { secretKey } from "../base/hash.ts";
import { frameType, type Frame } from "../format/link.ts";
import { encodeInput } from "../format/pair.ts";
import { decodeOutputPart } from "../format/router-link.ts";
import { encodeEnd, encodePrompt, encodeTokens } from "../format/server-link.ts";
import { Sampler } from "./sample.ts";
import { PairPath } from "./serve.ts";
import type { GatewayStore, OutboxItem } from "./store.port.ts";
import { Tagger } from "./tag.ts";

const { entry } = whitelisted("m", Buffer.alloc(8192, 1), 4096);

/** A store whose commits wait to be let through, and tell their order. */
class HandStore {
  readonly done: string[] = [];
  readonly kept: OutboxItem[] = [];
  held: PromiseWithResolvers<undefined> | null = null;
  leaves = 0n;
  coins = 0;

  #commit = async (what: string): Promise<void> => {
    if (what === "ring") await this.held?.promise;
    this.done.push(what);
  };

  readonly store = {
    ring: {
      pending: 0,
      add: (kind: string) => {
        if (kind === "coin") this.coins++;
      },
      commit: () => this.#commit("ring"),
      status: () => ({ bytes: 0, capacity: 1e9, pairsForgotten: 0, forgottenThrough: null }),
    },
    log: { append: () => this.leaves++, commit: () => this.#commit("log"), find: () => null },
    outbox: { capacity: 1000, waiting: 0, put: (items: OutboxItem[]) => this.kept.push(...items) },
  } as unknown as GatewayStore;
}

function gateway() {
  const clock = new FakeClock();
  const hand = new HandStore();
  const fail = (why: unknown): void => assert.fail(String(why));
  const path = new PairPath({
    ...{ entry, store: hand.store, clock, logger: quiet, tickMs: 20, pairDeadlineMs: 1e6 },
    tagger: new Tagger(1, secretKey(Buffer.alloc(32, 7))),
    sampler: new Sampler(1, { fill: (target) => void target.fill(9) }),
    ...{ onMisbehaviour: fail, onServerFails: fail, onFatal: fail, onKept: () => undefined },
  });
  const routers = wirePair({ role: "router", name: "r" }, { role: "gateway", name: "g" });
  const servers = wirePair({ role: "server", name: "s" }, { role: "gateway", name: "g" });
  const out: { type: number; text: string }[] = [];
  routers.right.onFrame((frame: Frame) => {
    const text = frame.type === frameType.output ? decodeOutputPart(frame.payload).text : "";
    out.push({ type: frame.type, text });
  });
  let tag = 0n;
  servers.right.onFrame((frame: Frame) => (tag = frame.id));
  path.attach(servers.left);
  const params = { maxTokens: 50, temperature: 1, topK: 4, topP: 1, stops: [] };
  const payload = encodeInput({ modelId: "m", params, prompt: { kind: "text", text: "hi" } });
  const ask = async (): Promise<void> => {
    path.onInput(routers.left, { type: frameType.input, id: 1n, payload }, "yes");
    await arrived();
  };
  const say = (type: number, bytes: Buffer): void => {
    path.onServerFrame({ type, id: tag, payload: bytes });
  };
  const texts = (): string[] =>
    out.filter(({ type }) => type === frameType.output).map((o) => o.text);
  return { clock, hand, path, out, texts, ask, say };
}

/** Resolves when what was written into a link in memory has come out of it. */
async function arrived(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await settled();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("release: text made durable before the point and at it -> one part, on the point", async () => {
  const { clock, hand, out, texts, ask, say } = gateway();
  await clock.advance(1);
  await ask();
  say(frameType.prompt, encodePrompt([1, 2]));
  say(frameType.tokens, encodeTokens([3], "un"));
  await clock.advance(15);
  assert.deepEqual(hand.done, ["ring"], "the early commit ran");
  say(frameType.tokens, encodeTokens([4], "divided"));
  await clock.advance(3);
  await arrived();
  assert.deepEqual(out, [], "nothing leaves off the grid, durable or not");
  await clock.advance(1);
  await arrived();
  assert.deepEqual(hand.done, ["ring", "ring"]);
  assert.deepEqual(texts(), ["undivided"]);
});

test("release: a ring that is not durable yet -> nothing leaves until it is", async () => {
  const { clock, hand, out, texts, ask, say } = gateway();
  hand.held = Promise.withResolvers();
  await clock.advance(1);
  await ask();
  say(frameType.prompt, encodePrompt([1]));
  say(frameType.tokens, encodeTokens([3], "late"));
  say(frameType.end, encodeEnd("stop"));
  await clock.advance(300);
  await arrived();
  assert.deepEqual(out, []);
  assert.deepEqual(hand.done, []);
  hand.held.resolve(undefined);
  await arrived();
  assert.deepEqual(texts(), ["late"]);
});

test("log: a released pair -> leaf durable within 100 ms, and only then its coin", async () => {
  const { clock, hand, path, texts, ask, say } = gateway();
  await clock.advance(1);
  await ask();
  say(frameType.prompt, encodePrompt([1]));
  say(frameType.tokens, encodeTokens([3], "x"));
  say(frameType.end, encodeEnd("length"));
  await clock.advance(20);
  await arrived();
  assert.deepEqual(texts(), ["x"]);
  assert.deepEqual([hand.done.includes("log"), hand.coins, hand.leaves], [false, 0, 1n]);
  await clock.advance(120);
  await arrived();
  assert.deepEqual([hand.done.at(-1), hand.coins], ["log", 1]);
  await clock.advance(100);
  assert.equal(hand.kept.length, 1);
  assert.equal(path.inflight, 0);
});
