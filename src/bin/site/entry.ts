/** What a whitelist entry says of a model file and of the engine installed here, and its generation policy. */
import { describeModel, type ModelDescription } from "../../adapter/llama/describe.ts";
import { InvalidError } from "../../base/assert.ts";
import { noiseLaw } from "../../format/noise.ts";
import type { GenerationPolicy, WhitelistEntry } from "../../format/whitelist.ts";

/** Contexts longer than this cost memory that a trial rarely wants; `contextTokens` raises it. */
const contextDefault = 4096;

/** Reads and digests a model file. Throws InvalidError that names it. */
export async function describeFile(model: string): Promise<ModelDescription> {
  return describeModel(model).catch((error: unknown) => {
    if (!(error instanceof InvalidError)) throw error;
    throw new InvalidError(error.code, `model ${model}: ${error.message}`);
  });
}

/** The fields of an entry that a machine finds out, and nobody chooses. */
export type MeasuredEntry = Omit<WhitelistEntry, "digest" | "profile" | "generation" | "modelId">;

export function measuredEntry(facts: ModelDescription): MeasuredEntry {
  return {
    weights: { sizeBytes: facts.sizeBytes, chunkBytes: facts.chunkBytes, root: facts.root },
    tokenizerDigest: facts.tokenizerDigest,
    templateDigest: facts.templateDigest,
    engine: facts.engine,
    engineBuild: facts.engineBuild,
    noiseLaw,
  };
}

/**
 * What clients may ask for: as chosen, the rest by default. `modelContext`: the context that the model was
 * trained on, tokens. Throws InvalidError `config.field` for a longer one.
 */
export function generationPolicy(
  asked: { readonly [K in keyof GenerationPolicy]?: number | undefined },
  modelContext: number,
): GenerationPolicy {
  const contextTokens = asked.contextTokens ?? Math.min(modelContext, contextDefault);
  if (contextTokens > modelContext) {
    throw new InvalidError(
      "config.field",
      `generation.contextTokens: the model's context is ${modelContext} tokens, not ${contextTokens}`,
    );
  }
  return {
    temperatureMax: asked.temperatureMax ?? 2,
    topPMin: asked.topPMin ?? 0.05,
    topKMax: asked.topKMax ?? 64,
    maxTokens: Math.min(asked.maxTokens ?? contextTokens, contextTokens),
    contextTokens,
  };
}
