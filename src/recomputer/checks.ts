/**
 * Step 3: everything that can be told without the model's arithmetic (spec/verdict.md section 1).
 * A finding here is hard: no honest server under any rounding gives rise to it.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { secretKey } from "../base/hash.ts";
import { decodeLeaf, inputDigestOf, outputDigestOf, saltOf, type Leaf } from "../format/leaf.ts";
import { seedOf } from "../format/noise.ts";
import { expectedOutput } from "../format/output-rules.ts";
import { decodeInput, decodeOutput, type Input, type Output } from "../format/pair.ts";
import { decodeProofRequest, type ProofRequest } from "../format/proof-request.ts";
import type { Tag } from "../format/tag.ts";
import type { Finding, FindingId } from "../format/verdict.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import { laws } from "../verification/laws/index.ts";
import type { ReplayEngine } from "./engine.port.ts";

/** A proof request that parsed, together with the whitelist entry it was served under. */
export interface OpenedPair {
  readonly tag: Tag;
  readonly leafIndex: bigint;
  /** Sent by a recheck order, not kept by its coin. */
  readonly rechecked: boolean;
  readonly leaf: Leaf;
  readonly input: Input;
  readonly output: Output;
  readonly entry: WhitelistEntry;
}

export type Opening =
  | { readonly pair: OpenedPair; readonly findings: readonly [] }
  | { readonly pair: null; readonly leaf: Leaf | null; readonly findings: readonly Finding[] };

const finding = (id: FindingId, evidence: string): Finding => ({ id, evidence });

/**
 * Parses a request and ties it together: salted digests of input and output against the leaf, tag,
 * entry, model. `entries` are the whitelist's; `epochKeyOf` gives the key of the tag's epoch, or throws
 * that it is unavailable. Nothing is thrown for bad bytes: they are a finding. Throws UnavailableError
 * `recomputer.no-entry` for a pair that was served under an entry unknown here.
 */
export function openPair(
  request: Uint8Array,
  tag: Tag,
  entries: readonly WhitelistEntry[],
  epochKeyOf: (tag: Tag) => Uint8Array,
): Opening {
  let parts: ProofRequest;
  let leaf: Leaf;
  try {
    parts = decodeProofRequest(request);
    leaf = decodeLeaf(parts.leaf);
  } catch (error) {
    return { pair: null, leaf: null, findings: [invalid(error)] };
  }
  const fail = (id: FindingId, evidence: string): Opening => ({
    pair: null,
    leaf,
    findings: [finding(id, evidence)],
  });
  if (leaf.tag !== tag) return fail("leaf.mismatch", "the leaf is of another tag");
  const salt = saltOf(secretKey(epochKeyOf(tag)), tag);
  if (!inputDigestOf(salt, parts.input).equals(leaf.inputDigest)) {
    return fail("leaf.mismatch", "the input does not hash to the leaf's input digest");
  }
  if (!outputDigestOf(salt, parts.output).equals(leaf.outputDigest)) {
    return fail("leaf.mismatch", "the output does not hash to the leaf's output digest");
  }
  const entry = entries.find((candidate) => candidate.digest.equals(leaf.entryDigest));
  if (entry === undefined) {
    // Our whitelist may be another than the gateway's was: that is no finding about the server.
    const text = `no whitelist entry has the digest ${leaf.entryDigest.toString("hex")}`;
    throw new UnavailableError("recomputer.no-entry", text, "none");
  }
  try {
    const input = decodeInput(parts.input);
    const output = decodeOutput(parts.output);
    const { leafIndex, rechecked = false } = parts;
    const pair = { tag, leafIndex, rechecked, leaf, input, output, entry };
    const wrong = checkPolicy(pair);
    return wrong === null ? { pair, findings: [] } : { pair: null, leaf, findings: [wrong] };
  } catch (error) {
    return { pair: null, leaf, findings: [invalid(error)] };
  }
}

/** An InvalidError as a finding; anything else is a bug and is thrown on. */
function invalid(error: unknown): Finding {
  if (!(error instanceof InvalidError)) throw error;
  return finding("request.invalid", `${error.code}: ${error.message}`);
}

/** What the leaf and the entry's policy say against a pair that parsed; null: nothing. */
export function checkPolicy({ leaf, input, output, entry }: OpenedPair): Finding | null {
  const { params } = input;
  const policy = entry.generation;
  if (leaf.finish !== output.finish) {
    return finding("leaf.mismatch", `the leaf says ${leaf.finish}, the output ${output.finish}`);
  }
  if (leaf.tokens !== output.tokenIds.length) {
    const counts = `${leaf.tokens} tokens, the output ${output.tokenIds.length}`;
    return finding("leaf.mismatch", `the leaf says ${counts}`);
  }
  const outside = (name: string, value: number, min: number, max: number): string | null =>
    value >= min && value <= max ? null : `${name} is ${value}, allowed is ${min} to ${max}`;
  const broken =
    (input.modelId === entry.modelId ? null : `the input asks for the model ${input.modelId}`) ??
    outside("temperature", params.temperature, 0, policy.temperatureMax) ??
    outside("topP", params.topP, policy.topPMin, 1) ??
    outside("topK", params.topK, 1, policy.topKMax) ??
    outside("maxTokens", params.maxTokens, 1, policy.maxTokens) ??
    outside(
      "prompt and output tokens",
      output.promptIds.length + output.tokenIds.length,
      0,
      policy.contextTokens,
    );
  return broken === null ? null : finding("request.invalid", broken);
}

/** Why this recomputer cannot replay pairs of an entry at all, in words; null when it can. */
export function unsupported(entry: WhitelistEntry): string | null {
  if (laws.some(({ name }) => name === entry.noiseLaw)) return null;
  return `the noise law ${entry.noiseLaw} is not known here`;
}

/** The seed law: seed = first 8 bytes of HMAC-SHA256(epoch key, tag). */
export function checkSeed(leaf: Leaf, epochKey: Uint8Array): Finding[] {
  if (seedOf(secretKey(epochKey), leaf.tag) === leaf.seed) return [];
  return [finding("seed.law", "the leaf's seed is not what the epoch key gives for its tag")];
}

/** What template, tokenizer and output rules say about a pair. Throws nothing of its own. */
export function checkAgainstModel(pair: OpenedPair, engine: ReplayEngine): Finding[] {
  const { output } = pair;
  // Cut off before the server named its prompt: nothing came out, so nothing is claimed.
  const nothing = output.promptIds.length === 0 && output.tokenIds.length === 0;
  if (output.finish === "cut-off" && nothing && output.text === "") return [];
  const prompt = checkPrompt(pair, engine);
  try {
    return [...prompt, ...checkOutput(pair, engine)];
  } catch (error) {
    // An id that the vocabulary does not have spells nothing and can be drawn by nobody.
    if (!(error instanceof InvalidError)) throw error;
    return [...prompt, finding("token.outside-support", `${error.code}: ${error.message}`)];
  }
}

function checkPrompt({ input, output }: OpenedPair, engine: ReplayEngine): Finding[] {
  let expected: number[];
  try {
    expected = engine.promptIds(input.prompt);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return [finding("prompt.mismatch", `the prompt has no ids: ${error.message}`)];
  }
  const claimed = output.promptIds;
  const length = Math.max(expected.length, claimed.length);
  for (let i = 0; i < length; i++) {
    if (expected[i] === claimed[i]) continue;
    const what = `prompt id ${i} is ${claimed[i] ?? "missing"}, the template gives ${expected[i] ?? "no id"}`;
    return [finding("prompt.mismatch", what)];
  }
  return [];
}

function checkOutput({ input, output, entry }: OpenedPair, engine: ReplayEngine): Finding[] {
  const expected = expectedOutput({
    ids: output.tokenIds,
    speller: engine.speller(),
    isEnd: (id) => engine.isEndOfGeneration(id),
    stops: input.params.stops,
    maxTokens: input.params.maxTokens,
    promptTokens: output.promptIds.length,
    contextTokens: entry.generation.contextTokens,
  });
  const findings: Finding[] = [];
  const cutOff = output.finish === "cut-off";
  // Of a pair that was cut off, some text may not have left the server yet.
  const textHolds = cutOff ? expected.text.startsWith(output.text) : expected.text === output.text;
  if (!textHolds) {
    const at = firstDifference(expected.text, output.text);
    findings.push(
      finding("text.mismatch", `the text leaves what its ids spell at character ${at}`),
    );
  }
  if (expected.idsUsed !== output.tokenIds.length) {
    const counts = `${output.tokenIds.length} ids although the output ends after ${expected.idsUsed}`;
    findings.push(finding("finish.mismatch", `there are ${counts}`));
  } else if (!cutOff && expected.finish !== output.finish) {
    const words = `${output.finish}, by the ids it is ${expected.finish}`;
    findings.push(finding("finish.mismatch", `the finish reason is ${words}`));
  }
  return findings;
}

function firstDifference(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at;
}
