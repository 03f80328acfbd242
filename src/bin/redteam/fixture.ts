/** For tests: trials as a run would have recorded them. */
import type { Alarm, Trial } from "./trial.ts";

export const alarm: Alarm = {
  ...{ layer: "hard finding", by: "token.margin", words: "token 5 loses by 2 nats" },
  ...{ pairs: 2, tokens: 100, auditedPairs: 1, auditedTokens: 64, seconds: 3 },
};

export function trialOf(changes: Partial<Trial> = {}): Trial {
  return {
    ...{ schema: 1, kind: "trial", attack: "wrong-seed", expected: "hard finding", mode: "lab" },
    ...{ seed: 1, knobs: {}, epsilon: 1, budget: 1000, threshold: 17.7, alarm },
    served: { pairs: 3, tokens: 150, failed: 0, refused: 0 },
    steps: [{ step: "quarantine", pairs: 1, tokens: 60, words: "12 nats" }],
    curve: [
      [30, 1, 0.5],
      [60, 12, 9],
    ],
    detectors: [{ id: "margin", logE: 14 }],
    meter: { bitsPerToken: 0.5, upperBitsPerToken: 12, choice: 0.1, tokens: 64 },
    beside: { time: 200, failures: 20, tokens: 150 },
    ...{ received: null, learnt: [] },
    twin: { pairs: 3, tokens: 140, auditedTokens: 140, accusations: [], maxLogE: 0, meter: null },
    ...{ seconds: 5, atMs: 1_700_000_000_000 },
    ...changes,
  };
}

/** What a receiver reads where nothing was sent to it. */
export const nothingReceived = {
  ...{ bits: 1000, wrong: 500, information: 0, tokens: 1000, replies: 10, seconds: 20 },
  ...{ recovered: false, message: { bits: 64, wrong: 32 } },
};
