/**
 * Bench 4: SIMULATION of the sequential verdicts (no model, no engine). Honest servers with known
 * means, dependent and heavy-tailed: how often they are accused, against the bound. Cheats: how long they last.
 */
import { simulateChoices, simulateRunLength } from "./false-alarms/choices.ts";
import { simulateDelay } from "./false-alarms/delay.ts";
import { simulateLevel, type Sizes } from "./false-alarms/level.ts";

export interface FalseAlarms {
  readonly level: object[];
  readonly runLength: object[];
  readonly delay: object[];
  readonly choices: object[];
}

/** Honest pairs before a change, where there is one. */
const honestPairs = 10_000;

/** Runs all parts. `runs` and `pairs` are those of the level; the others use a fifth and a tenth of the runs. */
export function benchFalseAlarms(sizes: Sizes, say: (text: string) => void): FalseAlarms {
  const { seed, runs, pairs } = sizes;
  say(`simulation: level, ${runs} runs of ${pairs} pairs for each stream`);
  const level = simulateLevel(sizes, say);
  say("simulation: run lengths");
  const runLength = simulateRunLength(seed, Math.ceil(runs / 5), 10 * pairs);
  say("simulation: detection delay");
  const delay = simulateDelay(seed, Math.ceil(runs / 10), honestPairs);
  say("simulation: choices");
  const choices = simulateChoices(seed, Math.ceil(runs / 20), honestPairs);
  return { level, runLength, delay, choices };
}
