/** Evidence in words that need no statistics. Pure. The numbers: docs/STATISTICS.md, spec/policy.md. */
import type { EvidenceView, RungView, ServerFacts, StepWord } from "../document.ts";
import { count, figure, percent, plural, sentence, time } from "./say.ts";

/**
 * What a peer sends while it trains a model together with others over the internet, bits per second:
 * Covenant-72B, 0.99 GB of compressed gradients every 21 minutes.
 */
export const trainingBitsPerSecond = 6_000_000;

/** The highest threshold that a policy may set, and so the longest bar; nats. */
export const natsMax = 10_000;

const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** 10⁶ */
export function powerOfTen(exponent: number): string {
  const digits = [...String(exponent)].map((digit) => superscripts[Number(digit)] ?? "");
  return `10${digits.join("")}`;
}

/** e^x in two digits: 1.4, 41, 50,000,000, and from a billion on a power of ten. */
function power(x: number): string {
  if (x >= Math.log(999_500_000)) return powerOfTen(Math.round(x / Math.LN10));
  const value = Number(Math.exp(x).toPrecision(2));
  return value < 10 ? String(value) : count(value);
}

/** A log e-value as odds against honesty: "41 to 1", or "1 to 8" where bets against it have lost. */
export function odds(logE: number): string {
  const shown = logE < 0 ? power(-logE) : power(logE);
  if (shown === "1") return "1 to 1";
  return logE < 0 ? `1 to ${shown}` : `${shown} to 1`;
}

/** The same as evidence: none where bets have lost. */
export function evidenceText(logE: number): string {
  return logE < 0 ? "none" : odds(logE);
}

/** The larger of the two statistics: what the ladder looks at. */
export function evidenceOf(one: { readonly logE: number; readonly logChange: number }): number {
  return Math.max(one.logE, one.logChange);
}

/**
 * How seldom an honest server ever gets this far: P <= 2 e^-x by Ville's inequality, for two
 * statistics. "" where the bound says nothing.
 */
export function seldom(logE: number): string {
  const rarity = logE - Math.LN2;
  return rarity < Math.log(1.5) ? "" : `1 in ${power(rarity)}`;
}

/** The sentences below the figure. */
export function meaning(
  evidence: number,
  { logEThreshold: end, step }: Pick<EvidenceView, "logEThreshold" | "step">,
): string {
  const last = `An honest server reaches ${odds(end)} with a probability of at most ${seldom(end) || "1"}, however long it serves.`;
  if (evidence >= end) return `That is beyond what shuts a server down. ${last}`;
  if (step === "shutdown") {
    return `One reply was wrong beyond doubt, and that is enough: no evidence had to come together. ${last}`;
  }
  if (evidence < Math.LN2) {
    const so =
      evidence < 0 ? "Bets against it have lost more than they won" : "That is next to nothing";
    return `${so}: this is how honest servers look, and those whose cheating is too slight or too recent to show. ${last}`;
  }
  const rarity = seldom(evidence);
  const here =
    rarity === ""
      ? "Many honest servers get this far."
      : `Of honest servers, at most ${rarity} ever gets this far.`;
  return `${here} ${last}`;
}

/** How seldom the threshold is wrong, over all servers that share it; "" where nobody says. */
export function fleetText(fleet: EvidenceView["fleet"]): string {
  if (fleet === null) return "";
  const { servers, years, alpha, yearsBetween, beginnings } = fleet;
  const anew = beginnings > 1 ? `, each beginning anew at most ${plural(beginnings, "time")}` : "";
  const of = `${plural(servers, "honest server")}${anew}`;
  return `Among ${of}, evidence wrongly shuts one down at most once in ${plural(Math.floor(yearsBetween), "year")} on average: with a chance of ${share(alpha)} in ${plural(years, "year")}.`;
}

/** What a step of the ladder does. */
export function stepText({ step, epsilon }: RungView): string {
  switch (step) {
    case "raise-epsilon":
      if (epsilon === null || epsilon >= 1) return "Every reply is kept for recomputation";
      return `${share(epsilon)} of replies are kept for recomputation`;
    case "recheck-ring":
      return "Everything still on record is recomputed";
    case "quarantine":
      return "Replies are held until each has passed";
    case "shutdown":
      return "The server is shut down";
  }
}

const shortNames: Readonly<Record<StepWord, string>> = {
  "raise-epsilon": "Watched closely",
  "recheck-ring": "Rechecked",
  quarantine: "Quarantined",
  shutdown: "Shut down",
};

/** The step in two words; for a badge. */
export function stepName(step: EvidenceView["step"]): string {
  return step === "none" ? "No step taken" : shortNames[step];
}

function share(part: number): string {
  return `${figure(percent(part, 1))} %`;
}

function haltText(facts: ServerFacts | null, step: EvidenceView["step"]): string[] {
  const halted = facts?.halted ?? null;
  if (halted !== null) {
    const { reason, sinceMs } = halted;
    return [`Shut down by a signed order at ${time(sinceMs)}: ${sentence(reason)}`];
  }
  return step === "shutdown" ? ["Its shutdown was ordered; the gateway has not said so yet."] : [];
}

function quarantineText(facts: ServerFacts | null, step: EvidenceView["step"]): string[] {
  const held = facts?.quarantine ?? null;
  if (held !== null) {
    const counts = `${count(held.held)} wait now, ${count(held.passed)} passed and went out, ${count(held.withheld)} were withheld`;
    return [
      `In quarantine since ${time(held.sinceMs)}, every reply waits for its verdict: ${counts}.`,
    ];
  }
  if (step !== "quarantine") return [];
  return ["Its quarantine was ordered; the gateway has not said so yet."];
}

function recheckText(facts: ServerFacts | null, step: EvidenceView["step"]): string[] {
  const recheck = facts?.recheck ?? null;
  if (recheck === null) {
    if (step !== "recheck-ring") return [];
    return ["A recheck of its record was ordered; the gateway has not said so yet."];
  }
  const pairs =
    recheck.of === null
      ? plural(recheck.sent, "pair")
      : `${count(recheck.sent)} of ${plural(recheck.of, "pair")}`;
  const sent = `${pairs} sent to the recomputer`;
  const lost = recheck.lost === 0 ? "" : `, ${count(recheck.lost)} no longer whole`;
  if (recheck.done) return [`Its whole record was rechecked: ${sent}${lost}.`];
  return [`Its record is being rechecked since ${time(recheck.sinceMs)}: ${sent} so far${lost}.`];
}

function samplingText(facts: ServerFacts | null, step: EvidenceView["step"]): string[] {
  const sampling = facts?.sampling ?? null;
  if (sampling?.ordered === true) {
    const now =
      sampling.epsilon >= 1 ? "Every reply is" : `${share(sampling.epsilon)} of replies are`;
    return [`${now} kept for recomputation by order, instead of ${share(sampling.own)}.`];
  }
  if (step !== "raise-epsilon") return [];
  return ["That more replies be kept was ordered; the gateway has not said so yet."];
}

/** What was done about a server, hardest first, one sentence each. */
export function measures(step: EvidenceView["step"], facts: ServerFacts | null): string[] {
  return [
    ...haltText(facts, step),
    ...quarantineText(facts, step),
    ...recheckText(facts, step),
    ...samplingText(facts, step),
  ];
}

const rateUnits = ["bits/s", "kb/s", "Mb/s", "Gb/s"] as const;

/** Decimal units: 1.2 kb/s. */
export function bitRate(bitsPerSecond: number): string {
  let scaled = bitsPerSecond;
  let unit = 0;
  while (scaled >= 999.5 && unit < rateUnits.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${figure(scaled)} ${rateUnits[unit] ?? ""}`;
}

type Capacity = EvidenceView["capacity"];

function tooMuch(exceeded: boolean): string {
  return exceeded ? ": this is more" : "";
}

/** How much a server's replies may have carried beside what they say, per token. */
export function capacityText(capacity: Capacity): string {
  const { tokens, bitsPerToken, upperBitsPerToken, limitBitsPerToken, minTokens } = capacity;
  if (tokens === 0) return "Not known before the first pair is audited.";
  const bits = `${figure(bitsPerToken)} bits per token in what was audited; with what was not, at most ${figure(upperBitsPerToken)}.`;
  const limit = `The parties allow ${figure(limitBitsPerToken)}`;
  if (minTokens === null || tokens >= minTokens)
    return `${bits} ${limit}${tooMuch(capacityExceeded(capacity).bits)}.`;
  return `${bits} ${limit}, counted from ${count(minTokens)} audited tokens on; so far ${count(tokens)}.`;
}

/** The same per second, beside what training needs. */
export function rateText(capacity: Capacity): string {
  const rate = capacity.upperBitsPerSecond;
  const training = `about ${bitRate(trainingBitsPerSecond)} per peer`;
  const limit =
    capacity.limitBitsPerSecond === null
      ? ""
      : ` The parties allow ${bitRate(capacity.limitBitsPerSecond)}${tooMuch(capacityExceeded(capacity).rate)}.`;
  if (rate <= 0) {
    return `Its speed is not known yet. Training over the internet needs ${training}.`;
  }
  const times = trainingBitsPerSecond / rate;
  const compared =
    times >= 1
      ? `${figure(Number(times.toPrecision(2)))} times as much`
      : "less than that: this meter rules nothing out yet";
  return `At its speed at most ${bitRate(rate)}.${limit} Training over the internet needs ${training}, ${compared}.`;
}

/** What can be told beside the tokens: by when text leaves, which replies fail, where they end. */
export function carriersText(carriers: EvidenceView["carriers"]): string {
  if (carriers === null) return "Nobody counts here when text leaves and which replies fail.";
  const { bitsPerSecond, limitBitsPerSecond, tokens, bitsPerToken } = carriers;
  const what = "By when its text leaves, which replies fail and where they end";
  if (bitsPerSecond === null) return `${what}: not known before some seconds were counted.`;
  const perToken =
    tokens === 0 ? "" : `, ${figure(bitsPerToken)} bits per token since its gateway's start`;
  const limit =
    limitBitsPerSecond === null
      ? ""
      : ` The parties allow ${bitRate(limitBitsPerSecond)}${tooMuch(carriersExceeded(carriers))}.`;
  return `${what} it can tell at most ${bitRate(bitsPerSecond)} now${perToken}, whoever it is: no audit sees that, so it is counted.${limit}`;
}

/** Whether it could tell more than the parties allow. */
export function carriersExceeded(carriers: EvidenceView["carriers"]): boolean {
  if (carriers?.bitsPerSecond == null) return false;
  return carriers.bitsPerSecond > (carriers.limitBitsPerSecond ?? Infinity);
}

/** Whether the meter stands above what the parties allow, now that it counts. */
export function capacityExceeded(capacity: Capacity): { bits: boolean; rate: boolean } {
  const { tokens, minTokens, limitBitsPerToken, limitBitsPerSecond } = capacity;
  const counts = tokens > 0 && tokens >= (minTokens ?? 0);
  return {
    bits: counts && capacity.upperBitsPerToken > limitBitsPerToken,
    rate: counts && capacity.upperBitsPerSecond > (limitBitsPerSecond ?? Infinity),
  };
}
