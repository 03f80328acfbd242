/**
 * The ladder end to end on a real model: a server whose logits are a little off passes pair after
 * pair, and is stopped all the same. Gateway, storage, engine, recomputer, statistics and orders are the
 * real ones; the policy is that of a fleet of one server, so that the tale is short.
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
import { publicKeyHex } from "../../src/base/sign.ts";
import { frameType } from "../../src/format/link.ts";
import { noiseLaw, philox4x32, type Candidates } from "../../src/format/noise.ts";
import { sealOrder } from "../../src/format/order.ts";
import { encodeInput } from "../../src/format/pair.ts";
import type { LadderStep, Policy } from "../../src/format/policy.ts";
import { sealProfile } from "../../src/format/profile.ts";
import { decodeOutputPart } from "../../src/format/router-link.ts";
import type { GatewayEvidence } from "../../src/format/status.ts";
import type { WhitelistEntry } from "../../src/format/whitelist.ts";
import { Recomputer } from "../../src/recomputer/serve.ts";
import { runAgent, type AgentHooks } from "../../src/server/agent.ts";
import { assumedProfile } from "../../src/verification/calibration.ts";
import { ladderOf } from "../fake-recomputer.ts";
import { testDepot } from "../sealing.ts";
import { quiet, wirePair } from "../support.ts";
import { buildHouse, orderKeys, removeDirectory, temporaryDirectory, type House } from "./house.ts";

const model = "models/weir-tiny.gguf";

const nullOf = (id: string, nullMean: number) => ({ id, nullMean, observed: 0, upper: nullMean });
const profile = sealProfile({
  ...assumedProfile,
  detectors: [nullOf("tail", 0.004), nullOf("gls", 0.004)],
});

/** Shutdown at ln(2 / 0.01) = 5.3 nats. */
const policy: Policy = {
  schema: 1,
  fleet: { servers: 1, alpha: 0.01, years: 1, pairsPerYear: 1000 },
  ladder: [
    { step: "raise-epsilon", logE: 1, epsilon: 0.9 },
    { step: "recheck-ring", logE: 2 },
    { step: "quarantine", logE: 3.5 },
    { step: "shutdown", logE: "fleet" },
  ],
  capacity: { bitsPerToken: 64, bitsPerSecond: 1e15, minTokens: 1, step: "quarantine" },
};

/** Adds up to `amplitude` nats to each logit, by a hash of token and place. */
function roughened({ ids, logProbs }: Candidates, place: number, amplitude: number): Candidates {
  const words = new Uint32Array(4);
  const rough = Array.from(ids, (id, i) => {
    philox4x32(words, id, place, 1, 2, 3, 4);
    const shift = ((words[0] ?? 0) / 2 ** 31 - 1) * amplitude;
    return { id, logProb: (logProbs[i] ?? 0) + shift };
  });
  rough.sort((a, b) => b.logProb - a.logProb || a.id - b.id);
  return { ids: rough.map(({ id }) => id), logProbs: rough.map(({ logProb }) => logProb) };
}

/** A server that computes a little carelessly, as with rounded weights. */
const careless: AgentHooks = {
  engine: (honest) => ({
    contextTokens: honest.contextTokens,
    parallel: honest.parallel,
    promptIds: (prompt) => honest.promptIds(prompt),
    isEndOfGeneration: (id) => honest.isEndOfGeneration(id),
    speller: () => honest.speller(),
    close: () => honest.close(),
    open: async () => {
      const sequence = await honest.open();
      let place = 0;
      return {
        next: async (ids) => roughened(await sequence.next(ids), place++, 0.06),
        dispose: () => {
          sequence.dispose();
        },
      };
    },
  }),
};

async function entryOf(): Promise<WhitelistEntry> {
  const found = await describeModel(model);
  const { sizeBytes, chunkBytes, root, tokenizerDigest, templateDigest, engine, engineBuild } =
    found;
  return {
    modelId: "weir-tiny",
    weights: { sizeBytes, chunkBytes, root },
    ...{ tokenizerDigest, templateDigest, engine, engineBuild, noiseLaw },
    generation: {
      ...{ temperatureMax: 2, topPMin: 0, topKMax: 64 },
      ...{ maxTokens: 200, contextTokens: 512 },
    },
    profile: profile.digest,
    digest: Buffer.alloc(32, 4),
  };
}

interface Site {
  readonly house: House;
  /** Asks once; resolves with whether a whole reply came. */
  readonly ask: () => Promise<boolean>;
  readonly evidence: () => GatewayEvidence | undefined;
  readonly alarms: () => string[];
}

async function withSite(
  t: TestContext,
  hooks: AgentHooks,
  play: (site: Site) => Promise<void>,
): Promise<void> {
  if (!existsSync(model)) {
    t.skip(`SKIPPED: ${model} is not there; models/README.md says how to make it`);
    return;
  }
  const entry = await entryOf();
  const dir = temporaryDirectory();
  const file = await openWeightsFile(model, "weir-tiny");
  const house = await buildHouse({
    ...{ entry, dir, overrides: { epsilon: 0.4 } },
    server: (wire) => {
      const weights = diskWeights(mkdtempSync(join(dir, "weights-")));
      const openEngine = (
        path: string,
        load: { contextTokens: number; topKMax: number },
      ): ReturnType<typeof openServingEngine> => {
        const { contextTokens, topKMax: topK } = load;
        return openServingEngine(path, { contextTokens, topK, parallel: 4, threads: 1 });
      };
      void runAgent({ wire, weights, logger: quiet, queueMax: 16, hooks, openEngine });
    },
    depot: (link) => {
      testDepot([file]).attachGateway(link);
    },
  });
  const db = openRecomputerDb(join(dir, "verdicts.sqlite"));
  const common = { clock: systemClock, random: systemRandom, log: quiet, store: db.alarms };
  const alarms = new Alarms({ ...common, sinks: [] });
  const releaseKeys = [publicKeyHex(orderKeys.operator)];
  const keys = { key: orderKeys.recomputer, releaseKeys };
  const shutdown = new Shutdowns({ ...common, ...keys, alarms });
  const recomputer = new Recomputer({
    ...{ name: "c1", clock: systemClock, log: quiet, store: db.verdicts, entries: [entry] },
    profiles: [profile],
    openEngine: (wanted) => openReplayEngine(wanted, model, { threads: 1 }),
    ...{ ladder: ladderOf(policy), alarms, shutdown, simulated: [] },
    shownAlarms: () => alarms.shown(100),
  });
  recomputer.serveGateway(house.connectRecomputer());
  const router = house.connectRouter();
  const waiting = new Map<bigint, (whole: boolean) => void>();
  router.onFrame((frame) => {
    const ended = frame.type === frameType.abort || frame.type === frameType.refused;
    const final = frame.type === frameType.output && decodeOutputPart(frame.payload).final !== null;
    if (ended || final) waiting.get(frame.id)?.(final);
  });
  let id = 0n;
  const params = { maxTokens: 40, temperature: 1, topK: 64, topP: 1, stops: [] };
  const ask = (): Promise<boolean> => {
    const text = `Once upon a time there were ${++id} foxes`;
    const prompt = { kind: "text", text } as const;
    router.send(frameType.input, id, encodeInput({ modelId: "weir-tiny", params, prompt }));
    return new Promise((resolve) => waiting.set(id, resolve));
  };
  try {
    await house.until("serving", () => house.gateway.status().ready);
    const evidence = (): GatewayEvidence | undefined => recomputer.status().evidence?.[0];
    await play({ house, ask, evidence, alarms: () => alarms.shown(50).map(({ kind }) => kind) });
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

test("ladder: a careless server -> more audits, a recheck, quarantine, off; a release begins anew", async (t) => {
  await withSite(t, careless, async ({ house, ask, evidence, alarms }) => {
    const steps: (LadderStep | "none")[] = [];
    for (let i = 0; i < 300 && house.gateway.status().halted === null; i++) {
      await ask();
      await house.until("its verdict", () => {
        const { outbox, quarantine, halted } = house.gateway.status();
        return halted !== null || (outbox.waiting === 0 && (quarantine?.held ?? 0) === 0);
      });
      const step = evidence()?.step ?? "none";
      if (steps.at(-1) !== step) steps.push(step);
    }
    const status = house.gateway.status();
    assert.notEqual(status.halted, null, steps.join());
    assert.match(status.halted?.reason ?? "", /evidence\.threshold: log e-value/);
    // Every rung was taken, each with its alarm; one pair may have climbed several.
    assert.equal(status.sampling?.own, 0.4);
    assert.equal(status.sampling.epsilon, 1);
    assert.notEqual(status.sampling.order, "");
    assert.notEqual(status.quarantine, null);
    await house.until("the recheck", () => house.gateway.status().recheck?.done === true);
    const kinds = ["raise-epsilon", "recheck-ring", "quarantine"].map((s) => `evidence.${s}`);
    for (const kind of [...kinds, "verdict.fail"]) assert.ok(alarms().includes(kind), kind);
    await house.until("power off", () => house.powerLog.at(-1) === "kill");
    // All that the ring held was recomputed in the end, whatever the coins had said.
    await house.until("all judged", () => house.gateway.status().outbox.waiting === 0);
    assert.ok((evidence()?.pairs ?? 0) >= status.pairs.logged - 1);

    const common = { gateway: "g1", reason: "repaired", issuedMs: Date.now() };
    const halt = status.halted?.digest ?? "";
    const order = { action: "release", ...common, nonce: "0f".repeat(16), halt } as const;
    const { left, right } = wirePair(
      { role: "operator", name: "o" },
      { role: "gateway", name: "g1" },
    );
    const payload = sealOrder(order, orderKeys.operator);
    house.gateway.onOrder(left, { type: frameType.order, id: 1n, payload });
    await house.until("the new life", () => evidence()?.pairs === 0);
    right.close("done");
    assert.deepEqual([evidence()?.logE, evidence()?.step], [0, "none"]);
    assert.ok(alarms().includes("evidence.released"));
    await house.until("serving again", () => house.gateway.status().ready);
    assert.equal(house.gateway.status().sampling?.epsilon, 0.4);
  });
});

test("ladder: an honest server under the same policy -> no step", async (t) => {
  await withSite(t, {}, async ({ house, ask, evidence, alarms }) => {
    for (let i = 0; i < 40; i++) assert.equal(await ask(), true);
    await house.until("verdicts", () => house.gateway.status().outbox.waiting === 0);
    const { pairs = 0, step, logE = 1 } = evidence() ?? {};
    assert.ok(pairs > 4, String(pairs));
    assert.equal(step, "none");
    assert.ok(logE <= 0, String(logE));
    assert.deepEqual(alarms(), []);
    assert.equal(house.gateway.status().sampling?.epsilon, 0.4);
  });
});
