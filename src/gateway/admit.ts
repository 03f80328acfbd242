/** Step 1 of the pair path: whether an input may become a pair at all. Pure. */
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { checkInput, type InputHead } from "../format/pair.ts";
import type { Refusal } from "../format/router-link.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";

export type Admission =
  | { readonly kind: "admitted"; readonly input: InputHead }
  | { readonly kind: "refused"; readonly code: Refusal; readonly detail: string };

/** The first parameter that the entry does not allow, in words; null when all are allowed. */
export function policyBreach(input: InputHead, entry: WhitelistEntry): string | null {
  const { params } = input;
  const policy = entry.generation;
  if (params.temperature < 0 || params.temperature > policy.temperatureMax) {
    return `temperature must be from 0 to ${policy.temperatureMax}`;
  }
  if (params.topP < policy.topPMin || params.topP > 1 || params.topP <= 0) {
    return `top_p must be from ${policy.topPMin} to 1`;
  }
  if (params.topK < 1 || params.topK > policy.topKMax) {
    return `top_k must be from 1 to ${policy.topKMax}`;
  }
  if (params.maxTokens < 1 || params.maxTokens > policy.maxTokens) {
    return `max_tokens must be from 1 to ${policy.maxTokens}`;
  }
  return null;
}

/** Parses and checks one INPUT payload against the entry that is being served. */
export function admit(payload: Uint8Array, entry: WhitelistEntry): Admission {
  let input: InputHead;
  try {
    if (payload.length > limits.input) {
      return { kind: "refused", code: "invalid", detail: "the input is too long" };
    }
    input = checkInput(payload);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return { kind: "refused", code: "invalid", detail: error.message };
  }
  if (input.modelId !== entry.modelId) return { kind: "refused", code: "model", detail: "" };
  const breach = policyBreach(input, entry);
  if (breach !== null) return { kind: "refused", code: "parameters", detail: breach };
  return { kind: "admitted", input };
}
