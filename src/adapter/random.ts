/**
 * The operating system's generator. Trust: it must be unpredictable to the server and to both
 * parties; whoever predicts it knows which pairs will be checked (docs/TRUST.md).
 */
import { randomFillSync } from "node:crypto";
import type { RandomSource } from "../base/random.ts";

export const systemRandom: RandomSource = {
  fill(target: Uint8Array): void {
    randomFillSync(target);
  },
};
