/** All noise laws. To add one: a file here, a section and vectors in spec/noise-laws.md. */
import { InvalidError } from "../../base/assert.ts";
import type { NoiseLaw } from "../law.ts";
import { greedy } from "./greedy.ts";
import { gumbelPhilox } from "./gumbel-philox.ts";
import { llamaMt19937 } from "./llama-mt19937.ts";
import { sglangHash, sglangHashSorted, sglangMurmur, sglangMurmurSorted } from "./sglang-hash.ts";
import { vllmPhilox } from "./vllm-philox.ts";

export const laws: readonly NoiseLaw[] = [
  gumbelPhilox,
  llamaMt19937,
  vllmPhilox,
  sglangHash,
  sglangHashSorted,
  sglangMurmur,
  sglangMurmurSorted,
  greedy,
];

/** The law that an entry or an option names. Throws InvalidError `law.unknown`. */
export function lawOf(name: string): NoiseLaw {
  const law = laws.find((each) => each.name === name);
  if (law !== undefined) return law;
  const known = laws.map((each) => each.name).join(", ");
  throw new InvalidError("law.unknown", `there is no noise law "${name}"; there are ${known}`);
}

/** The position that `law` gives to output token `index` (from 0) after a prompt of `promptTokens`. */
export function positionOf(law: NoiseLaw, promptTokens: number, index: number): number {
  return law.counts === "fed" ? promptTokens - 1 + index : index;
}
