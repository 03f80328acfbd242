/**
 * The pair path, end to end, on a real model: router -> gateway -> server -> gateway -> ring, log
 * -> router; then the coin -> recomputer -> verdict -> and, for a cheat, an order -> power off.
 *
 * Everything here is the real code: the engine, the storage, the recomputer. Only the wires are
 * in memory, and the "router" is the test, so that each frame can be looked at.
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../../src/adapter/clock.ts";
import { diskWeights } from "../../src/adapter/disk-weights.ts";
import { describeModel } from "../../src/adapter/llama/describe.ts";
import { openServingEngine } from "../../src/adapter/llama/engine.ts";
import { openReplayEngine } from "../../src/adapter/llama/replay.ts";
import { systemRandom } from "../../src/adapter/random.ts";
import { openRecomputerDb } from "../../src/adapter/sqlite/verdicts.ts";
import { openWeightsFile } from "../../src/adapter/weights-file.ts";
import { Alarms } from "../../src/alarm/raise.ts";
import { Shutdowns } from "../../src/alarm/shutdown.ts";
import { verifyInclusion } from "../../src/base/merkle.ts";
import { secretKey } from "../../src/base/hash.ts";
import { decodeLeaf, inputDigestOf } from "../../src/format/leaf.ts";
import { frameType } from "../../src/format/link.ts";
import { noiseLaw } from "../../src/format/noise.ts";
import { sealOrder } from "../../src/format/order.ts";
import { encodeInput, type Prompt, type SamplingParams } from "../../src/format/pair.ts";
import { decodeAdmitted, decodeOutputPart } from "../../src/format/router-link.ts";
import type { VerdictSummary } from "../../src/format/status.ts";
import { formatTag, type Tag } from "../../src/format/tag.ts";
import type { WhitelistEntry } from "../../src/format/whitelist.ts";
import type { Wire } from "../../src/format/wire.ts";
import { saltsOf } from "../../src/gateway/tag.ts";
import { Recomputer } from "../../src/recomputer/serve.ts";
import { runAgent, type AgentHooks } from "../../src/server/agent.ts";
import { testDepot } from "../sealing.ts";
import { quiet, signed, testProfile } from "../support.ts";
import { defaultLadder } from "../fake-recomputer.ts";
import { buildHouse, orderKeys, removeDirectory, temporaryDirectory, type House } from "./house.ts";

const model = "models/weir-tiny.gguf";

async function entryOf(path: string): Promise<WhitelistEntry> {
  const found = await describeModel(path);
  const { sizeBytes, chunkBytes, root, tokenizerDigest, templateDigest, engine, engineBuild } =
    found;
  const generation = {
    temperatureMax: 2,
    topPMin: 0,
    topKMax: 64,
    maxTokens: 200,
    contextTokens: 512,
  };
  const { entry } = signed({
    modelId: "weir-tiny",
    weights: { sizeBytes, chunkBytes, root },
    ...{ tokenizerDigest, templateDigest, engine, engineBuild, noiseLaw, generation },
    profile: testProfile.digest,
  });
  return entry;
}

interface Site {
  readonly house: House;
  readonly router: Wire;
  readonly recomputer: Recomputer;
  readonly verdicts: () => readonly VerdictSummary[];
}

/** A whole site around one server whose agent has these hooks (none: an honest one). */
async function withSite(
  t: TestContext,
  hooks: AgentHooks,
  story: (site: Site, entry: WhitelistEntry) => Promise<void>,
): Promise<void> {
  if (!existsSync(model)) {
    t.skip(`SKIPPED: ${model} is not there; models/README.md says how to make it`);
    return;
  }
  const entry = await entryOf(model);
  const dir = temporaryDirectory();
  const file = await openWeightsFile(model, "weir-tiny");
  const house = await buildHouse({
    entry,
    dir,
    server: (link) => {
      const weights = diskWeights(mkdtempSync(join(dir, "weights-")));
      void runAgent({
        wire: link,
        weights,
        logger: quiet,
        queueMax: 16,
        hooks,
        openEngine: (path, load) =>
          openServingEngine(path, {
            contextTokens: load.contextTokens,
            topK: load.topKMax,
            parallel: 4,
            threads: 1,
          }),
      });
    },
    depot: (link) => {
      testDepot([file]).attachGateway(link);
    },
  });
  const db = openRecomputerDb(join(dir, "verdicts.sqlite"));
  const common = { clock: systemClock, random: systemRandom, log: quiet, store: db.alarms };
  const alarms = new Alarms({ ...common, sinks: [] });
  const shutdown = new Shutdowns({ ...common, alarms, key: orderKeys.recomputer });
  const recomputer = new Recomputer({
    name: "c1",
    clock: systemClock,
    log: quiet,
    store: db.verdicts,
    entries: [entry],
    profiles: [testProfile],
    openEngine: (wanted) => openReplayEngine(wanted, model, { threads: 1 }),
    ladder: defaultLadder,
    alarms,
    shutdown,
    shownAlarms: () => alarms.shown(100),
    simulated: [],
  });
  recomputer.serveGateway(house.connectRecomputer());
  const router = house.connectRouter();
  const verdicts = (): readonly VerdictSummary[] => recomputer.status().recent;
  try {
    await house.until("serving", () => house.gateway.status().ready);
    await story({ house, router, recomputer, verdicts }, entry);
  } finally {
    await house.stop();
    shutdown.stop();
    alarms.stop();
    await recomputer.stop();
    db.close();
    await file.close();
    removeDirectory(dir);
  }
}

interface Reply {
  tag: Tag | null;
  text: string;
  tokens: number;
  over: boolean;
  aborted: boolean;
}

/** Asks as the router does and collects what the gateway lets out. */
function ask(router: Wire, requests: readonly [Prompt, SamplingParams][]): Reply[] {
  const replies = requests.map((): Reply => ({
    tag: null,
    text: "",
    tokens: 0,
    over: false,
    aborted: false,
  }));
  router.onFrame((frame) => {
    const reply = replies[Number(frame.id) - 1];
    if (reply === undefined) return;
    if (frame.type === frameType.admitted) reply.tag = decodeAdmitted(frame.payload);
    if (frame.type === frameType.abort) reply.aborted = true;
    if (frame.type !== frameType.output) return;
    assert.notEqual(reply.tag, null, "ADMITTED comes before any output");
    const part = decodeOutputPart(frame.payload);
    reply.text += part.text;
    if (part.final !== null) {
      reply.over = true;
      reply.tokens = part.final.completionTokens;
    }
  });
  requests.forEach(([prompt, params], i) => {
    const input = encodeInput({ modelId: "weir-tiny", params, prompt });
    router.send(frameType.input, BigInt(i + 1), input);
  });
  return replies;
}

const story: Prompt = {
  kind: "chat",
  messages: [{ role: "user", content: "Tell me a story about a fox." }],
};
const plain: SamplingParams = { maxTokens: 40, temperature: 1, topK: 64, topP: 1, stops: [] };

test("pair: honest requests of every kind -> released, logged, recomputed, passed", async (t) => {
  await withSite(t, {}, async ({ house, router, verdicts }) => {
    const replies = ask(router, [
      [story, plain],
      [story, { ...plain, temperature: 0 }],
      [story, { ...plain, temperature: 0.7, topP: 0.9 }],
      [story, { ...plain, topK: 5, stops: ["the"] }],
      [{ kind: "text", text: "Once upon a time" }, plain],
      [story, { ...plain, maxTokens: 1 }],
    ]);
    await house.until("all replies", () => replies.every((reply) => reply.over));
    assert.equal(new Set(replies.map((reply) => reply.tag)).size, replies.length);
    assert.equal(replies[3]?.text.includes("the"), false);

    // epsilon is 1 here: every pair is recomputed, token by token, from ids, seed and weights.
    await house.until("all verdicts", () => verdicts().length === replies.length);
    assert.deepEqual(
      verdicts().map((verdict) => [verdict.kind, verdict.findings]),
      replies.map(() => ["pass", []]),
    );
    const recomputed = verdicts().reduce((sum, verdict) => sum + (verdict.scores?.tokens ?? 0), 0);
    assert.equal(
      recomputed,
      replies.reduce((sum, reply) => sum + reply.tokens, 0),
    );

    await house.until("all settled", () => house.gateway.status().outbox.waiting === 0);
    // Anyone can ask later: the receipt leads from the tag to a leaf in the log.
    for (const reply of replies) {
      assert.ok(reply.tag !== null);
      const name = formatTag("g1", reply.tag);
      const receipt = await house.gateway.receipt(Buffer.from(name));
      assert.equal(receipt.state, "judged");
      const leaf = decodeLeaf(Buffer.from(receipt.leafHex ?? "", "hex"));
      assert.equal(leaf.tag, reply.tag);
      assert.equal(leaf.tokens, reply.tokens);
      verifyInclusion(
        Buffer.from(receipt.leafHash ?? "", "hex"),
        receipt.leafIndex ?? -1,
        receipt.logSize,
        receipt.proof.map((hash) => Buffer.from(hash, "hex")),
        Buffer.from(receipt.logRoot, "hex"),
      );
    }
  });
});

test("pair: the leaf commits to the very input", async (t) => {
  await withSite(t, {}, async ({ house, router }) => {
    const [reply] = ask(router, [[story, plain]]);
    await house.until("the reply", () => reply?.over === true);
    const receipt = await house.gateway.receipt(Buffer.from(formatTag("g1", reply!.tag!)));
    const leaf = decodeLeaf(Buffer.from(receipt.leafHex ?? "", "hex"));
    const input = encodeInput({ modelId: "weir-tiny", params: plain, prompt: story });
    const rootKey = secretKey(Buffer.alloc(32, 0x5e));
    assert.deepEqual(leaf.inputDigest, inputDigestOf(saltsOf(rootKey)(leaf.tag), input));
  });
});

test("pair: the client leaves in the middle -> cut off, logged, and still recomputed", async (t) => {
  await withSite(t, {}, async ({ house, router, verdicts }) => {
    const [reply] = ask(router, [[story, { ...plain, maxTokens: 200, temperature: 1.3 }]]);
    await house.until("some output", () => (reply?.text.length ?? 0) > 5);
    router.send(frameType.withdraw, 1n);
    await house.until("a verdict", () => verdicts().length === 1);
    assert.equal(verdicts()[0]?.kind, "pass");
    assert.equal(house.gateway.status().pairs.cutOff, 1);
    assert.equal(house.gateway.status().inflight, 0);
  });
});

/** Each cheat, and the finding that must bring it down. */
const cheats: readonly { what: string; hooks: AgentHooks; finding: RegExp }[] = [
  {
    what: "draws with another seed",
    hooks: { seed: (seed) => seed ^ 1n },
    finding: /token\.(margin|outside-support)|margin\.mean/,
  },
  {
    what: "puts a hidden instruction before the prompt",
    hooks: {
      request: (request) => ({
        ...request,
        promptIds: [...request.promptIds.slice(0, 1), 300, ...request.promptIds.slice(1)],
      }),
    },
    finding: /prompt\.mismatch/,
  },
];

for (const { what, hooks, finding } of cheats) {
  test(`pair: a server that ${what} -> FAIL, alarm, power off, halted until released`, async (t) => {
    await withSite(t, hooks, async ({ house, router, recomputer, verdicts }) => {
      const [reply] = ask(router, [[story, plain]]);
      await house.until("a FAIL", () => verdicts().some((verdict) => verdict.kind === "fail"));
      assert.match(verdicts()[0]?.findings.join(" ") ?? "", finding);
      await house.until("the halt", () => house.gateway.status().mode === "KILLED");
      assert.equal(house.powerLog.at(-1), "kill");
      assert.ok(reply?.over === true || reply?.aborted === true);
      assert.ok(recomputer.status().alarms.some((alarm) => alarm.kind === "verdict.fail"));

      // Nothing but a signed release of this very halt brings it back.
      const halt = house.gateway.status().halted;
      assert.ok(halt !== null);
      const order = (digest: string): Buffer =>
        sealOrder(
          {
            action: "release",
            gateway: "g1",
            halt: digest,
            reason: "tested",
            issuedMs: 0,
            nonce: "00".repeat(16),
          },
          orderKeys.operator,
        );
      const answers: string[] = [];
      const operator = house.connectRecomputer(); // any link that may carry an order
      operator.onFrame((frame) => {
        if (frame.type === frameType.orderResult) answers.push(frame.payload.toString());
      });
      operator.send(frameType.order, 1n, order("11".repeat(32)));
      await house.until("an answer", () => answers.length === 1);
      assert.match(answers[0] ?? "", /refused: the release names another halt/);
      operator.send(frameType.order, 2n, order(halt.digest));
      await house.until("serving again", () => house.gateway.status().ready);
      assert.equal(answers[1], "obeyed");
      assert.equal(house.gateway.status().halted, null);
      assert.equal(house.gateway.status().boots, 2);
    });
  });
}
