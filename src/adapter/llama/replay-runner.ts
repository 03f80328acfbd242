/** How a replay is computed: two implementations, replay-native.ts and replay-library.ts. */
import type { Candidates } from "../../format/noise.ts";
import type { ModelText } from "./model-text.ts";

export interface Runner {
  readonly text: ModelText;
  /**
   * The `wanted` most probable candidates at each output position. The ids are known, fit the
   * context, and neither array is empty. One at a time. Throws UnavailableError `engine.*`.
   */
  positions(
    prompt: readonly number[],
    output: readonly number[],
    wanted: number,
  ): Promise<Candidates[]>;
  /** Called when nothing runs. */
  close(): Promise<void>;
}

/** Tokens evaluated at once; the same for both, since it may change how results round. */
export const replayBatch = 128;
