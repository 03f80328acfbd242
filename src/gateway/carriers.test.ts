/** What the gateway counts, held against everything that a router can tell apart. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settled } from "../../tests/fake-recomputer.ts";
import { quiet, whitelisted, wirePair } from "../../tests/support.ts";
import { secretKey } from "../base/hash.ts";
import type { CarrierCounts } from "../format/carriers.ts";
import { frameType, type Frame } from "../format/link.ts";
import { encodeInput } from "../format/pair.ts";
import { decodeOutputPart } from "../format/router-link.ts";
import { encodeEnd, encodeFailed, encodePrompt, encodeTokens } from "../format/server-link.ts";
import { Sampler } from "./sample.ts";
import { PairPath } from "./serve.ts";
import type { GatewayStore } from "./store.port.ts";
import { Tagger } from "./tag.ts";

const { entry } = whitelisted("m", Buffer.alloc(8192, 1), 4096);
const tickMs = 20;

const store = {
  ring: {
    ...{ pending: 0, add: () => undefined, commit: () => Promise.resolve() },
    status: () => ({ bytes: 0, capacity: 1e9, pairsForgotten: 0, forgottenThrough: null }),
  },
  log: { append: () => 0n, commit: () => Promise.resolve(), find: () => null },
  outbox: { capacity: 1000, waiting: 0, put: () => undefined },
} as unknown as GatewayStore;

/** What a server says of pair 0, 1 ...: at which tick, which frame. */
interface Say {
  readonly tick: number;
  readonly pair: number;
  readonly type: number;
  readonly bytes: Buffer;
}

interface Seen {
  /** Everything that a router sees, with its ticks. */
  readonly history: string;
  /** Requests in the order in which they left, by tick. */
  readonly order: readonly string[];
  readonly counts: CarrierCounts;
}

/** Asks for `pairs` replies at tick 0, lets the server say its frames, and watches the router's link. */
async function run(pairs: number, says: readonly Say[], wholeReplies = false): Promise<Seen> {
  const clock = new FakeClock();
  const fail = (why: unknown): void => assert.fail(String(why));
  const path = new PairPath({
    ...{ entry, store, clock, logger: quiet, tickMs, wholeReplies, pairDeadlineMs: 1e6 },
    tagger: new Tagger(1, secretKey(Buffer.alloc(32, 7))),
    sampler: new Sampler(0, { fill: (target) => void target.fill(9) }),
    ...{ onMisbehaviour: fail, onServerFails: fail, onFatal: fail, onKept: () => undefined },
  });
  const routers = wirePair({ role: "router", name: "r" }, { role: "gateway", name: "g" });
  const servers = wirePair({ role: "server", name: "s" }, { role: "gateway", name: "g" });
  const seen: string[] = [];
  const order: string[] = [];
  let tick = 0;
  routers.right.onFrame(({ type, id, payload }: Frame) => {
    const part = type === frameType.output ? decodeOutputPart(payload) : null;
    const what =
      part === null ? payload.toString("hex") : `${part.text}${part.final?.finish ?? ""}`;
    seen.push(`${tick}: ${id} ${type} ${what}`);
    order.push(`${tick} ${id}`);
  });
  const tags: bigint[] = [];
  servers.right.onFrame((frame: Frame) => tags.push(frame.id));
  path.attach(servers.left);
  await clock.advance(1);
  const params = { maxTokens: 50, temperature: 1, topK: 4, topP: 1, stops: [] };
  const payload = encodeInput({ modelId: "m", params, prompt: { kind: "text", text: "hi" } });
  for (let id = 0n; id < pairs; id++) {
    path.onInput(routers.left, { type: frameType.input, id, payload }, "yes");
    await arrived();
  }
  const last = Math.max(...says.map((say) => say.tick));
  for (tick = 1; tick <= last; tick++) {
    for (const { pair, type, bytes } of says.filter((say) => say.tick === tick)) {
      path.onServerFrame({ type, id: tags[pair] ?? 0n, payload: bytes });
    }
    await clock.advance(tickMs);
    await arrived();
  }
  return { history: seen.join("\n"), order, counts: path.carriers };
}

async function arrived(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await settled();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const say = (tick: number, pair: number, type: number, bytes: Buffer): Say => {
  return { tick, pair, type, bytes };
};

/** A reply "ab" of two tokens that says its four frames at these ticks, however its text is cut. */
function reply(ticks: readonly number[], cut: number): Say[] {
  const [prompt = 1, first = 1, second = 1, end = 1] = ticks;
  return [
    say(prompt, 0, frameType.prompt, encodePrompt([1])),
    say(first, 0, frameType.tokens, encodeTokens([3], "ab".slice(0, cut))),
    say(second, 0, frameType.tokens, encodeTokens([4], "ab".slice(cut))),
    say(end, 0, frameType.end, encodeEnd("stop")),
  ];
}

/** All rising schedules of `frames` frames within `ticks` ticks. */
function schedules(frames: number, ticks: number, from = 1): number[][] {
  if (frames === 0) return [[]];
  return Array.from({ length: ticks - from + 1 }, (_, i) => from + i).flatMap((tick) =>
    schedules(frames - 1, ticks, tick).map((rest) => [tick, ...rest]),
  );
}

/** n over k. */
const choose = (n: number, k: number): number => (k === 0 ? 1 : (n / k) * choose(n - 1, k - 1));

for (const whole of [false, true]) {
  const how = whole ? "whole replies" : "streams";
  test(`carriers: every schedule and cut of a short reply, ${how} -> no more histories than the counts allow`, async () => {
    const ticksMax = 3;
    const histories = new Map<string, CarrierCounts>();
    for (const cut of [0, 1, 2]) {
      for (const ticks of schedules(3, ticksMax)) {
        const { history, counts } = await run(1, reply([1, ...ticks], cut), whole);
        histories.set(history, counts);
      }
    }
    const places = whole ? 1 : 4;
    for (const counts of histories.values()) assert.equal(counts.places, places);
    for (let most = 1; most <= ticksMax; most++) {
      const within = [...histories.values()].filter(({ ticks }) => ticks <= most).length;
      assert.ok(within >= most, "there is something to count");
      const allowed = choose(places + most, most);
      assert.ok(within <= allowed, `${within} histories, ${allowed} allowed`);
    }
  });
}

test("carriers: two pairs, one failed after text -> ticks, bytes, tokens and failures as they left", async () => {
  const { counts } = await run(2, [
    ...reply([1, 2, 4, 5], 1),
    say(1, 1, frameType.prompt, encodePrompt([1])),
    say(3, 1, frameType.tokens, encodeTokens([5, 6], "xyz")),
    say(6, 1, frameType.failed, encodeFailed("internal")),
  ]);
  assert.deepEqual(
    { ...counts, ms: 0 },
    {
      ...{ ms: 0, ticks: 5 + 6, places: 2 + 2 + 3 + 2, pairs: 2, tokens: 4 },
      ...{ ended: 1, endedTokens: 2, failed: 1, failedBytes: 3 },
    },
  );
  assert.equal(counts.ms, 121);
});

test("carriers: whole replies, one fails after text -> nothing of its text leaves", async () => {
  const says = [
    say(1, 0, frameType.prompt, encodePrompt([1])),
    say(1, 0, frameType.tokens, encodeTokens([5, 6], "xyz")),
    say(3, 0, frameType.failed, encodeFailed("internal")),
  ];
  const whole = await run(1, says, true);
  assert.doesNotMatch(whole.history, /xyz/);
  assert.deepEqual([whole.counts.failedBytes, whole.counts.places, whole.counts.ticks], [0, 1, 3]);
  assert.match((await run(1, says)).history, /xyz/);
});

test("release: replies that a server speaks of in another order -> leave a tick in the order of their tags", async () => {
  const talk = (pairs: readonly number[]): Say[] =>
    pairs.flatMap((pair) => [
      say(1, pair, frameType.prompt, encodePrompt([1])),
      say(1, pair, frameType.tokens, encodeTokens([5], "x")),
      say(1, pair, frameType.end, encodeEnd("stop")),
    ]);
  const forth = await run(3, talk([0, 1, 2]));
  const back = await run(3, talk([2, 0, 1]));
  assert.deepEqual([...new Set(forth.order)], ["1 0", "1 1", "1 2"]);
  assert.equal(back.history, forth.history);
});
