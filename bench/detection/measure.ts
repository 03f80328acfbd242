/** Servers of one model, honest and not, and what the recomputer's own code makes of their pairs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../src/base/assert.ts";
import {
  openNativeEngine,
  type NativeServingOptions,
} from "../../src/adapter/llama/native-engine.ts";
import { openReplayEngine } from "../../src/adapter/llama/replay.ts";
import { scored } from "../../src/adversary/draws.ts";
import { requantise } from "../../src/adversary/requantise.ts";
import { traffic, type TrafficKind } from "../../src/bin/redteam/traffic.ts";
import type { Ask } from "../../src/bin/redteam/left.ts";
import type { RedteamModel } from "../../src/bin/redteam/model.ts";
import { drawToken } from "../../src/format/noise.ts";
import { candidatesBeyond } from "../../src/recomputer/replay.ts";
import type { ReplayEngine } from "../../src/recomputer/engine.port.ts";
import type { Engine } from "../../src/server/engine.port.ts";
import type { Detector } from "../../src/verification/detector.ts";
import { betting, detectorsFor } from "../../src/verification/detectors/index.ts";
import { tokenFacts, type TokenFacts } from "../../src/verification/facts.ts";
import { lawOf } from "../../src/verification/laws/index.ts";
import { seededUniform } from "../../src/verification/seeded.ts";
import type { DetectorEvidence } from "../../src/verification/sequential.ts";
import { marginFindings } from "../../src/verification/threshold.ts";
import { isFatal } from "../../src/format/verdict.ts";

/** How a server differs from the honest one. */
export interface Server {
  readonly name: string;
  readonly quantise?: "Q4_0" | "Q8_0";
  readonly kvType?: NativeServingOptions["kvType"];
  /** Draws at this times the temperature. */
  readonly heat?: number;
  readonly wrongSeed?: boolean;
  /** Takes the runner-up wherever it is nearer than this to the winner; nats. */
  readonly gap?: number;
  /** Share of tokens that are drawn with another seed. */
  readonly faults?: number;
}

export const honest: Server = { name: "honest" };
export const cheats: readonly Server[] = [
  { name: "Q4_0", quantise: "Q4_0" },
  { name: "Q8_0", quantise: "Q8_0" },
  { name: "temperature 1.1", heat: 1.1 },
  { name: "KV keys Q8_0", kvType: "q8_0" },
  { name: "KV keys Q4_0", kvType: "q4_0" },
  { name: "wrong seed", wrongSeed: true },
  { name: "runner-up within 0.02", gap: 0.02 },
  { name: "runner-up within 0.005", gap: 0.005 },
  { name: "1% other noise", faults: 0.01 },
];

/** One pair as the detectors saw it. */
export interface ScoredPair {
  readonly tokens: number;
  /** Clipped margin of each token. */
  readonly margins: Float32Array;
  readonly mismatches: number;
  /** A finding that fails the pair by itself. */
  readonly hard: boolean;
  readonly evidence: readonly DetectorEvidence[];
}

const parallel = 8;

/** A reference and its profile: what scores the pairs of all servers. */
export class Scorer {
  readonly model: RedteamModel;
  readonly detectors: readonly Detector[];
  /** Those of them that bet. */
  readonly betting: readonly Detector[];
  readonly #replay: ReplayEngine;
  readonly #folder = mkdtempSync(join(tmpdir(), "weir-detection-"));

  private constructor(model: RedteamModel, replay: ReplayEngine) {
    this.model = model;
    this.#replay = replay;
    const calibrated = model.profile.profile.detectors;
    const law = lawOf(model.entry.noiseLaw);
    const known = ({ id }: Detector): boolean => calibrated.some((one) => one.id === id);
    this.detectors = detectorsFor(law).filter(known);
    this.betting = betting(law).filter(known);
  }

  static async open(model: RedteamModel): Promise<Scorer> {
    const options = { threads: 1, binding: "native" } as const;
    return new Scorer(model, await openReplayEngine(model.entry, model.path, options));
  }

  get vocabularySize(): number {
    return this.#replay.vocabularySize;
  }

  async close(): Promise<void> {
    await this.#replay.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #open(server: Server): Promise<Engine> {
    const { contextTokens, topKMax: topK } = this.model.entry.generation;
    const { kvType } = server;
    const options = {
      ...{ contextTokens, topK, parallel, threads: 1 },
      ...(kvType === undefined ? {} : { kvType }),
    };
    if (server.quantise === undefined) return openNativeEngine(this.model.path, options);
    const path = join(this.#folder, `${server.quantise}.gguf`);
    writeFileSync(path, requantise(readFileSync(this.model.path), server.quantise));
    return openNativeEngine(path, options);
  }

  /** Pairs of at least `tokens` tokens in all, each given to `onPair` as it is scored. */
  async run(
    server: Server,
    options: { readonly seed: number; readonly tokens: number; readonly traffic: TrafficKind },
    onPair: (pair: ScoredPair, facts: readonly TokenFacts[]) => void,
  ): Promise<void> {
    const engine = await this.#open(server);
    const next = traffic(options.seed, options.traffic, this.model.entry.generation.topKMax);
    let served = 0;
    const lane = async (): Promise<void> => {
      while (served < options.tokens) {
        const ask = next();
        const seed = (BigInt(options.seed) << 32n) + BigInt(ask.index) * 0x9e3779b97f4an;
        const { promptIds, ids } = await serve(engine, server, ask, seed);
        served += ids.length;
        const facts = await this.#facts(ask, promptIds, ids, seed);
        onPair(this.#score(facts, ids), facts);
      }
    };
    try {
      await Promise.all(Array.from({ length: parallel }, lane));
    } finally {
      await engine.close();
    }
  }

  async #facts(
    { params }: Ask,
    promptIds: readonly number[],
    ids: readonly number[],
    seed: bigint,
  ): Promise<TokenFacts[]> {
    const { entry, profile } = this.model;
    const count = entry.generation.topKMax + candidatesBeyond;
    const positions = await this.#replay.replay(promptIds, ids, count);
    const law = lawOf(entry.noiseLaw);
    return positions.map((candidates, index) =>
      tokenFacts(law, { candidates, params, seed, index }, ids[index] ?? 0, profile.profile.edge),
    );
  }

  #score(facts: readonly TokenFacts[], ids: readonly number[]): ScoredPair {
    const { profile } = this.model.profile;
    const { clip, sigma } = profile;
    const findings = marginFindings(facts, ids, profile);
    return {
      tokens: facts.length,
      margins: Float32Array.from(facts, ({ margin }) => Math.min(margin, clip)),
      mismatches: facts.filter(({ agrees }) => !agrees).length,
      hard: findings.some(({ id }) => isFatal(id)),
      evidence: this.detectors.map((detector) => {
        return { id: detector.id, evidence: detector.evidence({ tokens: facts }, { clip, sigma }) };
      }),
    };
  }
}

async function serve(
  engine: Engine,
  server: Server,
  { prompt, params }: Ask,
  seed: bigint,
): Promise<{ readonly promptIds: number[]; readonly ids: number[] }> {
  const promptIds = engine.promptIds(prompt);
  const drawn = { ...params, temperature: params.temperature * (server.heat ?? 1) };
  const faulty = seededUniform(Number(seed & 0x7fffffffn));
  const draw = server.gap === undefined ? drawToken : runnerUp(server.gap);
  const sequence = await engine.open();
  const ids: number[] = [];
  try {
    let next: readonly number[] = promptIds;
    while (ids.length < params.maxTokens) {
      const other = server.wrongSeed === true || faulty() < (server.faults ?? 0);
      const id = draw(await sequence.next(next), drawn, other ? seed ^ 0x5eedn : seed, ids.length);
      ids.push(id);
      if (engine.isEndOfGeneration(id)) break;
      next = [id];
    }
  } finally {
    sequence.dispose();
  }
  return { promptIds, ids };
}

/** Draws the second best token wherever it lies within `gap` nats of the best. */
function runnerUp(gap: number): typeof drawToken {
  return (candidates, params, seed, position) => {
    const [best, second] = scored(candidates, params, seed, position);
    assert(best !== undefined, "there is a candidate");
    return second !== undefined && second.gap < gap ? second.id : best.id;
  };
}
