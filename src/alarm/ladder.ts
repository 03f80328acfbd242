/**
 * The ladder: from what stands against a server to the steps that the parties' policy asks for.
 * Pure; spec/policy.md, "What a threshold means" and "The steps".
 */
import {
  defaultRelease,
  ladderOf,
  type DueStep,
  type Ladder,
  type LadderRung,
  type Policy,
  type Standing,
} from "../format/policy.ts";

/** A statistic that reached a threshold. */
interface Reached {
  readonly step: LadderRung["step"];
  readonly epsilon: number | null;
  readonly words: string;
}

const nats = (value: number): string => value.toFixed(1);

/**
 * The ladder of a policy. `fleetLogE` is ln(2k/alpha), the threshold of both statistics for the whole
 * fleet (verification/fleet). Throws InvalidError `policy.field` when the ladder does not fit it.
 */
export function ladderFor(policy: Policy, fleetLogE: number): Ladder {
  const rungs = ladderOf(policy, fleetLogE);
  return {
    threshold: rungs.at(-1)?.logE ?? fleetLogE,
    limitBitsPerToken: policy.capacity.bitsPerToken,
    rungs,
    capacity: policy.capacity,
    release: policy.release ?? defaultRelease,
    fleet: policy.fleet,
    due: (standing) => {
      const due = reachedBy(standing, rungs, policy).filter(
        ({ step }) => !standing.taken.includes(step),
      );
      return due.map(({ step, epsilon, words }): DueStep => ({ step, epsilon, words }));
    },
    beyond: (standing) =>
      reachedBy(standing, rungs, policy).find(({ step }) => step === "shutdown")?.words ?? null,
  };
}

/** Every rule that holds, mildest first, each step once. */
function reachedBy(standing: Standing, rungs: readonly LadderRung[], policy: Policy): Reached[] {
  const capacity = capacityWords(standing, policy);
  const reached = rungs.flatMap(({ step, logE, epsilon }): Reached[] => {
    const words =
      evidenceWords(standing, logE) ?? (step === policy.capacity.step ? capacity : null);
    return words === null ? [] : [{ step, epsilon, words }];
  });
  const { step } = policy.capacity;
  if (capacity === null || rungs.some((rung) => rung.step === step)) return reached;
  // A step that the ladder itself leaves out; with it, raise-epsilon keeps everything.
  const epsilon = step === "raise-epsilon" ? 1 : null;
  return [{ step, epsilon, words: capacity }, ...reached];
}

function evidenceWords({ logE, logChange }: Standing, threshold: number): string | null {
  const at = `threshold ${nats(threshold)}`;
  if (logE >= threshold) return `log e-value since the evidence began: ${nats(logE)} nats, ${at}`;
  if (logChange >= threshold) return `log e-value of a change: ${nats(logChange)} nats, ${at}`;
  return null;
}

function capacityWords(standing: Standing, policy: Policy): string | null {
  const { bitsPerToken, bitsPerSecond, minTokens } = policy.capacity;
  if (standing.tokens < minTokens) return null;
  const { upperBitsPerToken, upperBitsPerSecond, tokens } = standing;
  if (upperBitsPerToken > bitsPerToken) {
    const bits = upperBitsPerToken.toFixed(4);
    return `covert capacity: up to ${bits} bits per token over ${tokens} tokens, limit ${bitsPerToken}`;
  }
  if (upperBitsPerSecond > bitsPerSecond) {
    const bits = upperBitsPerSecond.toFixed(0);
    return `covert capacity: up to ${bits} bits per second over ${tokens} tokens, limit ${bitsPerSecond}`;
  }
  return null;
}
