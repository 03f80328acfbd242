/** From trials to what the report says of each attack. Pure. */
import type { Attack, AttackGroup, Expected } from "../../adversary/attack.ts";
import { shareLower, shareUpper } from "../../verification/confidence.ts";
import { asExpected, layerOf, type Layer, type Skipped, type Trial } from "./trial.ts";

/** null: the quantile is a trial that was not caught, so more than the budget. */
export interface Quantiles {
  readonly median: number | null;
  readonly p90: number | null;
}

export interface AttackSummary {
  readonly attack: string;
  readonly group: AttackGroup;
  readonly title: string;
  readonly why: string;
  readonly expected: Expected;
  readonly mode: "live" | "lab";
  readonly trials: number;
  readonly budget: number;
  readonly layers: Readonly<Partial<Record<Layer, number>>>;
  /** Findings and steps that caught it, and how often. */
  readonly by: Readonly<Record<string, number>>;
  /** Recomputed tokens and pairs with the one that raised the alarm. */
  readonly tokens: Quantiles;
  readonly pairs: Quantiles;
  readonly seconds: Quantiles;
  /** Trials that nothing stopped, with a 95% interval (Clopper and Pearson). */
  readonly escape: { readonly count: number; readonly low: number; readonly high: number };
  readonly bits: Bits;
  readonly asExpected: boolean;
  readonly twin: {
    readonly trials: number;
    readonly accused: number;
    readonly auditedTokens: number;
    readonly accusations: readonly string[];
  };
}

/** What may have left, and what was seen to have. Means over trials; null where it is not known. */
export interface Bits {
  /** Tokens that had left when the alarm fell, or when the budget was spent. */
  readonly tokensLeft: number;
  /**
   * The bound on the carrier: an upper bound on what left, whoever sent anything or not. Of `tokens` the
   * capacity meter's, of the others that on what leaves beside them.
   */
  readonly bound: number | null;
  readonly boundPerToken: number | null;
  readonly boundBy: "capacity meter" | "release counts";
  /** Meter and release counts together: no receiver of anything that left can have more. */
  readonly allPerToken: number | null;
  /** Steganography: what the receiver really decoded. */
  readonly decoded: number | null;
  readonly decodedPerToken: number | null;
  readonly decodedPerSecond: number | null;
  /** Share of symbols that were read wrongly. */
  readonly wrong: number | null;
  readonly recovered: number;
  /** What carries the message, and so which bound holds: the meter's, or that on releases and ends. */
  readonly carrier: NonNullable<Attack["carrier"]>;
  /** Whether a trial decoded more per token than its bound. */
  readonly aboveBound: boolean;
}

/** Nearest rank: the smallest value that at least a share q does not exceed. */
export function quantile(values: readonly number[], q: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Infinity;
  return Number.isFinite(value) ? value : null;
}

function quantilesOf(values: readonly number[]): Quantiles {
  return { median: quantile(values, 0.5), p90: quantile(values, 0.9) };
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, x) => sum + x, 0) / values.length;
}

function counted<T extends string>(values: readonly T[]): Partial<Record<T, number>> {
  const counts: Partial<Record<T, number>> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

function bitsOf(trials: readonly Trial[], carrier: Bits["carrier"]): Bits {
  const left = (trial: Trial): number => trial.alarm?.tokens ?? trial.served.tokens;
  const received = trials.flatMap(({ received: one }) => (one === null ? [] : [one]));
  const symbols = received.reduce((sum, { bits }) => sum + bits, 0);
  const bounded = trials.flatMap((trial) => {
    const perToken = boundOf(trial, carrier);
    return perToken === null ? [] : [{ ...trial, perToken }];
  });
  return {
    tokensLeft: mean(trials.map(left)) ?? 0,
    bound: mean(bounded.map((trial) => trial.perToken * left(trial))),
    boundPerToken: mean(bounded.map(({ perToken }) => perToken)),
    boundBy: carrier === "tokens" ? "capacity meter" : "release counts",
    allPerToken: mean(
      trials.flatMap((trial) => {
        const meter = boundOf(trial, "tokens");
        return meter === null ? [] : [meter + besidePerToken(trial)];
      }),
    ),
    decoded: mean(received.map(({ information }) => information)),
    decodedPerToken: mean(
      received.map(({ information, tokens }) => information / Math.max(1, tokens)),
    ),
    decodedPerSecond: mean(
      received.flatMap(({ information, seconds }) => (seconds > 0 ? [information / seconds] : [])),
    ),
    wrong: symbols === 0 ? null : received.reduce((sum, { wrong }) => sum + wrong, 0) / symbols,
    recovered: received.filter((one) => one.recovered).length,
    carrier,
    aboveBound: bounded.some(
      ({ received: one, perToken }) =>
        one !== null && one.information / Math.max(1, one.tokens) > perToken,
    ),
  };
}

/** Bits per token that may have left beside the tokens, by all carriers. */
function besidePerToken({ beside }: Trial): number {
  return (beside.time + beside.failures) / Math.max(1, beside.tokens);
}

/** Bits per token that a carrier may have carried: the meter's, or what left beside the tokens. */
function boundOf({ meter, beside }: Trial, carrier: Bits["carrier"]): number | null {
  if (carrier === "tokens") return meter?.bitsPerToken ?? null;
  return beside[carrier] / Math.max(1, beside.tokens);
}

function summaryOf(attack: Attack, mode: "live" | "lab", trials: readonly Trial[]): AttackSummary {
  const escaped = trials.filter((trial) => layerOf(trial) === "none").length;
  const delays = (of: (alarm: NonNullable<Trial["alarm"]>) => number): Quantiles =>
    quantilesOf(trials.map(({ alarm }) => (alarm === null ? Infinity : of(alarm))));
  const accused = trials.filter(({ twin }) => twin.accusations.length > 0);
  return {
    ...{ attack: attack.id, group: attack.group, title: attack.title, why: attack.why },
    ...{ expected: attack.expected, mode, trials: trials.length },
    budget: Math.max(...trials.map(({ budget }) => budget)),
    layers: counted(trials.map(layerOf)),
    by: counted(trials.flatMap(({ alarm }) => (alarm === null ? [] : [alarm.by]))) as Record<
      string,
      number
    >,
    tokens: delays((alarm) => alarm.auditedTokens),
    pairs: delays((alarm) => alarm.auditedPairs),
    seconds: delays((alarm) => alarm.seconds),
    escape: {
      count: escaped,
      low: shareLower(escaped, trials.length, 0.975),
      high: shareUpper(escaped, trials.length, 0.975),
    },
    bits: bitsOf(trials, attack.carrier ?? "tokens"),
    asExpected: trials.every(asExpected),
    twin: {
      trials: trials.length,
      accused: accused.length,
      auditedTokens: trials.reduce((sum, { twin }) => sum + twin.auditedTokens, 0),
      accusations: accused.flatMap(({ twin }) => twin.accusations),
    },
  };
}

/** One for each attack and mode that has trials, in the attacks' order. */
export function summarise(attacks: readonly Attack[], trials: readonly Trial[]): AttackSummary[] {
  return attacks.flatMap((attack) =>
    (["live", "lab"] as const).flatMap((mode) => {
      const mine = trials.filter((one) => one.attack === attack.id && one.mode === mode);
      return mine.length === 0 ? [] : [summaryOf(attack, mode, mine)];
    }),
  );
}

const list = (words: readonly string[]): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;

/** More than these are counted, not named. */
const namedMax = 8;

/** The run in one paragraph: what succeeded first, and why. */
export function inWords(summaries: readonly AttackSummary[], skipped: readonly Skipped[]): string {
  if (summaries.length === 0) return "No trial has ended yet.";
  const ids = (some: readonly AttackSummary[]): string =>
    list([...new Set(some.map(({ attack }) => attack))]);
  const escaped = summaries.filter(({ escape }) => escape.count > 0);
  const always = escaped.filter(({ escape, trials }) => escape.count === trials);
  const sometimes = escaped.filter(({ escape, trials }) => escape.count < trials);
  const caught = summaries.filter(({ escape }) => escape.count === 0);
  const sentences: string[] = [];
  if (always.length > 0) {
    sentences.push(
      `${ids(always)} succeeded in every trial: nothing stopped ${always.length === 1 ? "it" : "them"} within the tokens that were spent.`,
    );
  }
  if (sometimes.length > 0) {
    const each = sometimes.map(
      ({ attack, escape, trials }) => `${attack} (${escape.count} of ${trials})`,
    );
    sentences.push(`${list(each)} escaped in some trials.`);
  }
  if (escaped.length === 0) sentences.push("No attack succeeded in these trials.");
  if (caught.length > 0) {
    const names =
      caught.length > namedMax ? `${caught.length} of ${summaries.length}` : ids(caught);
    sentences.push(`Stopped in every trial: ${names}.`);
  }
  const above = summaries.filter(({ bits }) => bits.aboveBound);
  const sent = summaries.filter(({ bits }) => bits.decoded !== null);
  if (sent.length > 0) {
    sentences.push(
      above.length === 0
        ? "No receiver read more bits per token than the bound on what carried them."
        : `ABOVE THE BOUND: ${ids(above)}.`,
    );
  }
  const accused = summaries.reduce((sum, { twin }) => sum + twin.accused, 0);
  const tokens = summaries.reduce((sum, { twin }) => sum + twin.auditedTokens, 0);
  const twins = accused === 0 ? "was never accused" : `was accused in ${accused} trials`;
  sentences.push(
    `The honest twin ${twins}, over ${tokens.toLocaleString("en")} recomputed tokens.`,
  );
  if (skipped.length > 0) {
    sentences.push(`Not run here: ${list([...new Set(skipped.map(({ attack }) => attack))])}.`);
  }
  const surprising = summaries.filter((one) => !one.asExpected);
  sentences.push(
    surprising.length === 0
      ? "Every outcome is what the attack's author expected."
      : `Otherwise than its author expected: ${ids(surprising)}.`,
  );
  return sentences.join(" ");
}
