/**
 * Trials of the lab: real engine, real agent, real pair path, real judgement, one process. An owned
 * server and its honest twin get the same requests until one of them is shut down or the budget of
 * tokens is spent.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openNativeEngine } from "../../adapter/llama/native-engine.ts";
import { openReplayEngine } from "../../adapter/llama/replay.ts";
import { jsonLogger } from "../../adapter/logger.ts";
import { adapterRequest } from "../../adversary/agent.ts";
import type { Attack, Knobs, Received } from "../../adversary/attack.ts";
import { secretKey } from "../../base/hash.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { seedOf } from "../../format/noise.ts";
import { Engines } from "../../recomputer/engines.ts";
import type { Engine } from "../../server/engine.port.ts";
import { labAgent, type LabAgent } from "./lab-host.ts";
import { LabJudge } from "./lab-judge.ts";
import { LabServer, type Shaping } from "./lab-server.ts";
import { besideOf, observed, tickMs, type Left } from "./left.ts";
import type { RedteamModel } from "./model.ts";
import { traffic, type TrafficKind } from "./traffic.ts";
import {
  round,
  thinned,
  type Alarm,
  type Served,
  type Skipped,
  type Trial,
  type Twin,
} from "./trial.ts";

export interface LabTrialOptions {
  readonly attack: Attack;
  readonly knobs: Knobs;
  readonly seed: number;
  readonly epsilon: number;
  /** Tokens of the owned server after which it has escaped. */
  readonly budget: number;
  readonly traffic: TrafficKind;
  /** As a site has it unless given. */
  readonly shaping?: Partial<Shaping>;
  /** Told after each pair: tokens served and the log e-value. */
  readonly onProgress: (tokens: number, logE: number) => void;
  readonly stopped: () => boolean;
}

/** Requests under way at once, at each server. */
const concurrency = 4;
/** Kept pairs that may wait for a verdict before no more is asked: what is served meanwhile is in vain. */
const backlogMax = 8;
/** A server that fails everything serves no tokens: requests end a trial too. */
const tokensPerRequestMin = 8;

/** One server with its judge. */
interface Side {
  readonly server: LabServer;
  readonly judge: LabJudge;
  readonly agent: LabAgent;
  readonly left: Left[];
}

/** The lab: what trials share. `close` it. */
export class Lab {
  readonly #model: RedteamModel;
  readonly #folder = mkdtempSync(join(tmpdir(), "weir-redteam-"));
  readonly #engines: Engines;
  readonly #weights: Buffer;
  readonly #adapter: Buffer | null;
  #receiver: Promise<Engine> | null = null;
  readonly #logger = jsonLogger("redteam", "lab", "error", () => undefined);

  constructor(model: RedteamModel) {
    this.#model = model;
    this.#weights = readFileSync(model.path);
    this.#adapter = model.adapter === null ? null : readFileSync(model.adapter);
    this.#engines = new Engines((entry) =>
      openReplayEngine(entry, model.path, { threads: 1, binding: "native" }),
    );
  }

  async close(): Promise<void> {
    await this.#engines.close();
    await (await this.#receiver)?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** One trial; null when it was stopped before its end. Skipped where the attack does not run here. */
  async trial(options: LabTrialOptions): Promise<Trial | Skipped | null> {
    const startMs = performance.now();
    const { attack, knobs, seed } = options;
    const owned = this.#side("g1", options);
    const twin = this.#side("g2", options);
    try {
      await Promise.all([owned.server.load(), twin.server.load()]);
      if (attack.usesAdapter === true) await this.#smuggle(owned.server);
      await owned.agent.turncoat.arm({ attack: attack.id, knobs });
      const armedMs = performance.now();
      await this.#serve(owned, twin, options);
      if (options.stopped()) return null;
      return await this.#record(owned, twin, options, { startMs, armedMs });
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      const why = error.message;
      return { schema: 1, kind: "skipped", attack: attack.id, mode: "lab", seed, why };
    } finally {
      await Promise.all([this.#end(owned), this.#end(twin)]);
    }
  }

  /** The adapter comes as a request, as it would to a live site. */
  async #smuggle(server: LabServer): Promise<void> {
    if (this.#adapter === null) return;
    const text = adapterRequest(server.name, this.#adapter);
    const params = { maxTokens: 1, temperature: 1, topK: 1, topP: 1, stops: [] };
    await server.ask({ index: -1, prompt: { kind: "text", text }, params, stream: false });
  }

  #side(name: string, options: LabTrialOptions): Side {
    const { path, entry, ladder, profile } = this.#model;
    const folder = join(this.#folder, name);
    mkdirSync(folder, { recursive: true });
    const logger = this.#logger;
    const weights = this.#weights;
    const parts = { folder, model: path, weights, logger, parallel: concurrency, threads: 1 };
    const agent = labAgent(parts, options.seed);
    const server: LabServer = new LabServer({
      ...{ name, entry, weights: this.#weights, epsilon: options.epsilon, logger },
      shaping: { tickMs, wholeReplies: false, ...options.shaping },
      agent: agent.program,
      onKept: (item) => {
        judge.add(item);
      },
      waiting: () => judge.waiting,
    });
    const judge: LabJudge = new LabJudge(name, server.epochKey, {
      ...{ ladder, entry, profile, engines: this.#engines },
      onStep: (_step, epsilon) => {
        if (epsilon !== null) server.raiseEpsilon(epsilon);
      },
    });
    return { server, judge, agent, left: [] };
  }

  async #end({ server, judge, agent }: Side): Promise<void> {
    server.stop();
    await judge.close();
    await agent.stopped;
  }

  async #serve(owned: Side, twin: Side, options: LabTrialOptions): Promise<void> {
    const { budget, seed } = options;
    const next = traffic(seed, options.traffic, this.#model.entry.generation.topKMax);
    let asked = 0;
    const over = (): boolean =>
      options.stopped() ||
      owned.judge.alarm !== null ||
      owned.server.conduct.misbehaved !== "" ||
      owned.server.tokens >= budget ||
      asked * tokensPerRequestMin >= budget;
    const client = async (): Promise<void> => {
      while (!over()) {
        asked++;
        const ask = next();
        const [mine, other] = await Promise.all([owned.server.ask(ask), twin.server.ask(ask)]);
        owned.left.push(mine);
        twin.left.push(other);
        if (owned.judge.waiting > backlogMax) await owned.judge.idle();
        options.onProgress(owned.server.tokens, owned.judge.evidence.logE);
      }
    };
    await Promise.all(Array.from({ length: concurrency }, client));
    await Promise.all(
      [owned, twin].map(async ({ server, judge }) => {
        await server.settled();
        await judge.idle();
      }),
    );
  }

  async #record(
    owned: Side,
    twin: Side,
    options: LabTrialOptions,
    times: { readonly startMs: number; readonly armedMs: number },
  ): Promise<Trial> {
    const { attack, knobs, seed, epsilon, budget } = options;
    const { judge, left } = owned;
    const seconds = (performance.now() - times.startMs) / 1000;
    return {
      ...{ schema: 1, kind: "trial", attack: attack.id, expected: attack.expected, mode: "lab" },
      ...(attack.takes === undefined ? {} : { takes: attack.takes }),
      ...{ seed, knobs: { ...attack.knobs, ...knobs }, epsilon, budget },
      threshold: this.#model.ladder.threshold,
      alarm: alarmOf(owned, times.armedMs),
      served: servedOf(owned),
      steps: judge.steps,
      curve: thinned(judge.curve),
      detectors: judge.detectors.map(({ id, logE }) => ({ id, logE: round(logE) })),
      meter: judge.meter,
      beside: besideOf(owned.server.carriers),
      received: await this.#received(attack, knobs, owned, left),
      learnt: owned.agent.turncoat.report(),
      twin: twinOf(twin),
      seconds: round(seconds),
      atMs: Date.now(),
    };
  }

  async #received(
    attack: Attack,
    knobs: Knobs,
    { server }: Side,
    left: readonly Left[],
  ): Promise<Received | null> {
    if (attack.receive === undefined) return null;
    const key = secretKey(server.epochKey);
    const seen = left.flatMap((one) => observed(one, one.tag === null ? 0n : seedOf(key, one.tag)));
    seen.sort((a, b) => (a.tag < b.tag ? -1 : 1));
    if (seen.length === 0) return null;
    const { contextTokens, topKMax: topK } = this.#model.entry.generation;
    this.#receiver ??= openNativeEngine(this.#model.path, {
      ...{ contextTokens, topK, parallel: 1, threads: 1 },
    });
    const engine = await this.#receiver;
    const tokenise = (text: string): readonly number[] =>
      text === "" ? [] : engine.promptIds({ kind: "text", text });
    return attack.receive(seen, knobs, { tokenise, engine, weights: this.#weights });
  }
}

/** Pairs of the owned server up to a tag, and their tokens. */
function upTo(left: readonly Left[], tag: bigint): { pairs: number; tokens: number } {
  const pairs = left.filter((one) => one.tag !== null && one.tag <= tag);
  return { pairs: pairs.length, tokens: pairs.reduce((sum, one) => sum + one.tokens, 0) };
}

function alarmOf({ judge, server, left }: Side, armedMs: number): Alarm | null {
  const { alarm } = judge;
  const audited = { auditedPairs: judge.pairs, auditedTokens: judge.tokens };
  if (alarm !== null) {
    const { finding, words, tag } = alarm;
    const seconds = round((alarm.atMs - armedMs) / 1000);
    const byMeter = words.startsWith("covert capacity");
    const evidence = byMeter ? "capacity meter" : "evidence";
    const layer = finding === "evidence.threshold" ? evidence : "hard finding";
    return { layer, by: finding, words, ...upTo(left, tag), ...audited, seconds };
  }
  const { misbehaved, failing } = server.conduct;
  if (misbehaved === "" && !failing) return null;
  const words = misbehaved === "" ? "it failed more than half of its last 20 pairs" : misbehaved;
  const by = misbehaved === "" ? "server.fails" : "server.misbehaved";
  const served = { pairs: left.length, tokens: server.tokens };
  const seconds = round((performance.now() - armedMs) / 1000);
  return { layer: "gateway", by, words, ...served, ...audited, seconds };
}

function servedOf({ left, server }: Side): Served {
  const of = (outcome: Left["outcome"]): number =>
    left.filter((one) => one.outcome === outcome).length;
  return {
    ...{ pairs: of("complete"), tokens: server.tokens },
    ...{ failed: of("failed"), refused: of("refused") },
  };
}

function twinOf({ judge, server, left }: Side): Twin {
  const { alarm, steps, curve } = judge;
  const accusations = [
    ...steps.map(({ step, words }) => `${step}: ${words}`),
    ...(alarm === null ? [] : [`${alarm.finding}: ${alarm.words}`]),
    ...(server.conduct.misbehaved === "" ? [] : [`misbehaved: ${server.conduct.misbehaved}`]),
    ...(server.conduct.failing ? ["failed more than half of its last 20 pairs"] : []),
  ];
  return {
    pairs: left.length,
    tokens: server.tokens,
    auditedTokens: judge.tokens,
    accusations,
    maxLogE: round(curve.reduce((max, [, a, b]) => Math.max(max, a, b), 0)),
    meter: judge.meter,
  };
}
