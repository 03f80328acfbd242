/** A worker's servers: outputs made as a server makes them, with what it saw kept beside. */
import { openServingEngine } from "../../adapter/llama/engine.ts";
import { openNativeEngine } from "../../adapter/llama/native-engine.ts";
import { secretKey, sha256 } from "../../base/hash.ts";
import { drawToken, seedOf, type Candidates } from "../../format/noise.ts";
import { makeTag } from "../../format/tag.ts";
import type { Engine } from "../../server/engine.port.ts";
import {
  siteBuild,
  type GenerateRequest,
  type Job,
  type MadePair,
  type OpenRequest,
  type ProbeRows,
  type Shape,
} from "./protocol.ts";

/** The seed of one pair of a run; `draw` tells the real one and further ones apart. */
export function pairSeed(seed: number, index: number, draw: string): bigint {
  const key = sha256(Buffer.from(`weir calibrate ${seed} ${draw}`));
  return seedOf(secretKey(key), makeTag(1, index + 1));
}

/** Servers of one CPU build, of several shapes, one at a time. */
export class Serving {
  readonly #from: OpenRequest;
  #held: { readonly shape: Shape; readonly engine: Engine } | null = null;

  constructor(from: OpenRequest) {
    this.#from = from;
  }

  async #under({ parallel, threads }: Shape): Promise<Engine> {
    const held = this.#held;
    if (held?.shape.parallel === parallel && held.shape.threads === threads) return held.engine;
    this.#held = null;
    await held?.engine.close();
    const { model, build, contextTokens, topK } = this.#from;
    const options = { parallel, threads, contextTokens, topK };
    const engine =
      build === siteBuild
        ? await openServingEngine(model, options)
        : await openNativeEngine(model, { ...options, cpuBuild: build });
    this.#held = { shape: { parallel, threads }, engine };
    return engine;
  }

  /** Makes all outputs, `parallel` at a time; each lane takes the next job when it is done. */
  async generate(request: GenerateRequest): Promise<MadePair[]> {
    const engine = await this.#under(request.shape);
    const made: MadePair[] = [];
    const jobs = [...request.jobs];
    const lane = async (): Promise<void> => {
      for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
        made.push(await this.#one(engine, job, request.seed));
      }
    };
    await Promise.all(Array.from({ length: request.shape.parallel }, lane));
    return made.sort((a, b) => a.index - b.index);
  }

  async #one(engine: Engine, job: Job, runSeed: number): Promise<MadePair> {
    const { index, params } = job;
    const seed = pairSeed(runSeed, index, "real");
    const drawn = { ...params, temperature: params.temperature * job.heat };
    // A long prompt is cut so that output fits: the beginning is what is kept, as text would be.
    const room = this.#from.contextTokens - job.outputMax;
    const promptIds = engine.promptIds(job.prompt).slice(0, room);
    const seen: Candidates[] = [];
    const ids: number[] = [];
    const sequence = await engine.open();
    try {
      let next: readonly number[] = promptIds;
      while (ids.length < job.outputMax) {
        const candidates = await sequence.next(next);
        seen.push(candidates);
        const id = drawToken(candidates, drawn, seed, ids.length);
        ids.push(id);
        if (engine.isEndOfGeneration(id)) break;
        next = [id];
      }
    } finally {
      sequence.dispose();
    }
    return packed(index, params, promptIds, ids, seen);
  }

  /** Known tokens by decode, one after the other, in `parallel` equal sequences at once. */
  async probe(pairs: readonly MadePair[], parallel: 1 | 4): Promise<ProbeRows> {
    const engine = await this.#under({ parallel, threads: 1 });
    const seen: Candidates[] = [];
    for (const pair of pairs) {
      const lanes = await Promise.all(Array.from({ length: parallel }, () => engine.open()));
      let next = Array.from(pair.promptIds);
      for (const id of pair.ids) {
        const [first] = await Promise.all(lanes.map((lane) => lane.next(next)));
        if (first !== undefined) seen.push(first);
        next = [id];
      }
      for (const lane of lanes) lane.dispose();
    }
    return { way: `decode ${parallel}`, ...rowsOf(seen) };
  }
}

/** Candidates of several positions in two flat arrays. */
export function rowsOf(seen: readonly Candidates[]): {
  readonly width: number;
  readonly ids: Uint32Array;
  readonly logits: Float32Array;
} {
  const width = seen[0]?.ids.length ?? 0;
  const ids = new Uint32Array(width * seen.length);
  const logits = new Float32Array(width * seen.length);
  seen.forEach((candidates, at) => {
    ids.set(Array.from(candidates.ids), at * width);
    logits.set(Array.from(candidates.logProbs), at * width);
  });
  return { width, ids, logits };
}

function packed(
  index: number,
  params: MadePair["params"],
  promptIds: readonly number[],
  ids: readonly number[],
  seen: readonly Candidates[],
): MadePair {
  const { width, ids: serverIds, logits: serverLogits } = rowsOf(seen);
  return {
    ...{ index, params, width, serverIds, serverLogits },
    promptIds: Uint32Array.from(promptIds),
    ids: Uint32Array.from(ids),
  };
}
