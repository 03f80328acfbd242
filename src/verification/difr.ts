/**
 * The JSON that the public DiFR code exchanges (github.com/adamkarvonen/difr, README and
 * difr/openrouter_api.py): prompts and outputs as token ids. `config` is free metadata.
 *
 *   {"config": {"model": NAME, "temperature": T, ...},
 *    "samples": [{"prompt_token_ids": [1, 2], "outputs": [{"token_ids": [3, 4]}]}]}
 */
import { InvalidError } from "../base/assert.ts";
import { Fields, parseJson, type Json, type JsonObject } from "../format/json.ts";

export interface DifrSample {
  readonly promptTokenIds: readonly number[];
  /** One list of token ids per output; an empty one where a provider answered nothing. */
  readonly outputs: readonly (readonly number[])[];
}

export interface DifrFile {
  readonly config: JsonObject;
  readonly samples: readonly DifrSample[];
}

/** Vocabularies have at most this many tokens. */
const idMax = 2 ** 31 - 1;

function tokenIds(from: Fields, key: string, path: string): number[] {
  const ids = from.numbers(key, 0, idMax);
  const wrong = ids.findIndex((id) => !Number.isInteger(id));
  if (wrong >= 0) {
    throw new InvalidError("json.shape", `${path}.${key}[${wrong}] must be a whole number`);
  }
  return ids;
}

function sampleOf(from: Fields, path: string): DifrSample {
  const promptTokenIds = tokenIds(from, "prompt_token_ids", path);
  if (promptTokenIds.length === 0) {
    throw new InvalidError("difr.prompt", `${path}.prompt_token_ids is empty`);
  }
  const outputs = from.objects("outputs").map((output, i) => {
    const ids = tokenIds(output, "token_ids", `${path}.outputs[${i}]`);
    output.end();
    return ids;
  });
  from.end();
  return { promptTokenIds, outputs };
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parses a file. Strict: unknown fields outside `config`, ids that are no whole numbers from 0 to
 * 2^31 - 1 and empty prompts are refused. Throws InvalidError `json.*` or `difr.*` that names the field.
 */
export function parseDifr(text: string): DifrFile {
  const json = parseJson(text);
  const fields = new Fields(json, "file");
  const config = isObject(json) ? json["config"] : undefined;
  fields.object("config");
  const samples = fields
    .objects("samples")
    .map((sample, i) => sampleOf(sample, `file.samples[${i}]`));
  fields.end();
  if (!isObject(config)) throw new InvalidError("json.shape", "file.config must be an object");
  if (samples.length === 0) throw new InvalidError("difr.samples", "file.samples is empty");
  return { config, samples };
}

/** The file's text, one sample a line; parseDifr reads it back. */
export function difrText({ config, samples }: DifrFile): string {
  const lines = samples.map(({ promptTokenIds, outputs }) =>
    JSON.stringify({
      prompt_token_ids: promptTokenIds,
      outputs: outputs.map((ids) => ({ token_ids: ids })),
    }),
  );
  return `{"config": ${JSON.stringify(config)}, "samples": [\n${lines.join(",\n")}\n]}\n`;
}

/** A number of the file's metadata, or null where it is absent. Throws InvalidError `difr.config`. */
export function configNumber(config: JsonObject, key: string): number | null {
  const value = Object.hasOwn(config, key) ? config[key] : null;
  if (value === null || value === undefined) return null;
  if (typeof value === "number") return value;
  throw new InvalidError("difr.config", `config.${key} is not a number`);
}
