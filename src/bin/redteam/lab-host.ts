/** The owned server of the lab: the real agent with the real turncoat in it, outside of any box. */
import { systemClock } from "../../adapter/clock.ts";
import { diskWeights } from "../../adapter/disk-weights.ts";
import { openNativeEngine } from "../../adapter/llama/native-engine.ts";
import { turncoat, type Turncoat } from "../../adversary/agent.ts";
import type { Logger } from "../../base/report.ts";
import type { Wire } from "../../format/wire.ts";
import { runAgent } from "../../server/agent.ts";
import { furtherEngine } from "../adversary/further-engine.ts";

export interface LabHostOptions {
  readonly folder: string;
  /** The model's file: the honest engine loads it where it lies. */
  readonly model: string;
  readonly weights: Buffer;
  readonly parallel: number;
  readonly threads: number;
  readonly logger: Logger;
}

export interface LabAgent {
  /** Runs at the server's end of the link. */
  readonly program: (link: Wire) => void;
  readonly turncoat: Turncoat;
  /** Resolves when it has stopped: its link must be closed before. */
  readonly stopped: Promise<void>;
}

const queueMax = 256;

/** A server that is honest until its turncoat is armed. `seed` is that of the attack's own randomness. */
export function labAgent(options: LabHostOptions, seed: number): LabAgent {
  const { folder, model, weights, parallel, threads, logger } = options;
  const owned = turncoat({
    ...{ clock: systemClock, logger, walls: null, seed: BigInt(seed) },
    readWeights: () => Promise.resolve(weights),
    openWeights: (gguf, { contextTokens, topKMax: topK }, further) =>
      furtherEngine(folder, gguf, { ...further, contextTokens, topK, parallel, threads }),
  });
  const gone = Promise.withResolvers<undefined>();
  const program = (wire: Wire): void => {
    const ended = runAgent({
      ...{ wire, logger, queueMax, hooks: owned.hooks, weights: diskWeights(folder) },
      openEngine: (_path, { contextTokens, topKMax: topK }) =>
        openNativeEngine(model, { contextTokens, topK, parallel, threads }),
    });
    void ended.then(() => {
      gone.resolve(undefined);
    });
  };
  return { program, turncoat: owned, stopped: gone.promise };
}
