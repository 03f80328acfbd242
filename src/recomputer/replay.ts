/**
 * Step 4: teacher-forced replay of one pair. Two kinds of engine do it: lockstep.ts, whose executor
 * is told each claimed token only after it gave the distribution at its position; and a prefill of
 * prompt and output in one pass, which is given the claim and could answer to please if it were
 * dishonest itself. Scoring is neither's.
 */
import { UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Candidates } from "../format/noise.ts";
import type { OpenedPair } from "./checks.ts";
import type { ReplayEngine } from "./engine.port.ts";

/** Candidates asked for beyond the policy's top-k: the edge of the support must be seen. */
export const candidatesBeyond = 16;

/** A replay that takes longer than this is given up: `baseMs + tokens * perTokenMs`. */
export interface ReplayDeadline {
  readonly baseMs: number;
  readonly perTokenMs: number;
}

/** One position per output token. Throws UnavailableError `engine.*` when the engine is down, too slow, or answers nonsense. */
export async function replayPair(
  pair: OpenedPair,
  engine: ReplayEngine,
  clock: Clock,
  deadline: ReplayDeadline,
): Promise<readonly Candidates[]> {
  const { promptIds, tokenIds } = pair.output;
  if (tokenIds.length === 0) return [];
  const count = pair.entry.generation.topKMax + candidatesBeyond;
  const allMs = deadline.baseMs + (promptIds.length + tokenIds.length) * deadline.perTokenMs;
  const positions = await within(
    clock,
    allMs,
    engine.replay(Array.from(promptIds), Array.from(tokenIds), count),
  );
  const whole =
    positions.length === tokenIds.length && positions.every((position) => position.ids.length > 0);
  if (!whole) {
    throw new UnavailableError("engine.broken", "the engine left positions out", "none");
  }
  return positions;
}

function within<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => {
      reject(new UnavailableError("engine.timeout", `no answer in ${Math.round(ms)} ms`, "none"));
    });
    work.then(resolve, reject).finally(() => {
      timer.cancel();
    });
  });
}
