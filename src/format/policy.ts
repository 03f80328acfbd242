/**
 * The alarm policy, spec/policy.md: one file in which the parties set how much evidence leads to
 * which step. Thresholds are natural logs of e-values.
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { Fields, parseJson } from "./json.ts";

/** From the mildest to the hardest. */
export const ladderSteps = ["raise-epsilon", "recheck-ring", "quarantine", "shutdown"] as const;
export type LadderStep = (typeof ladderSteps)[number];

export interface LadderRule {
  readonly step: LadderStep;
  /**
   * Reached when the evidence against a server is at least this; `fleet`: the policy's own threshold
   * (spec/policy.md, "What a threshold means").
   */
  readonly logE: number | "fleet";
  /** raise-epsilon only: the new share of pairs to keep. */
  readonly epsilon?: number;
}

export interface FleetPolicy {
  readonly servers: number;
  readonly alpha: number;
  readonly years: number;
  /** Audited pairs per server and year: turns the budget into rates per pair. */
  readonly pairsPerYear: number;
  /** How often a server's evidence begins in these years, at most; each life spends alpha anew. 1 unless given. */
  readonly beginnings?: number;
}

export interface CapacityRule {
  /** The upper confidence bound of the meter may not exceed these once `minTokens` were audited. */
  readonly bitsPerToken: number;
  readonly bitsPerSecond: number;
  readonly minTokens: number;
  readonly step: LadderStep;
}

/** Held against what leaves beside the tokens (verification/release.ts). */
export interface ReleaseRule {
  /** Bits that release times, failures and ends of one server's replies may carry a second, at most. */
  readonly bitsPerSecond: number;
}

export interface Policy {
  readonly schema: 1;
  /** P(any honest server of the fleet is ever shut down by evidence) <= alpha, over `years`. */
  readonly fleet: FleetPolicy;
  /** In rising order of evidence; the last is `shutdown`. */
  readonly ladder: readonly LadderRule[];
  readonly capacity: CapacityRule;
  /** `defaultRelease` unless given. */
  readonly release?: ReleaseRule;
}

/** A rule with its threshold as a number. */
export interface LadderRung {
  readonly step: LadderStep;
  readonly logE: number;
  /** null for every step but raise-epsilon. */
  readonly epsilon: number | null;
}

/** What has come together against one server, as the ladder looks at it. Logs are natural. */
export interface Standing {
  readonly logE: number;
  readonly logChange: number;
  /** Audited tokens under the capacity meter, and its upper bounds. */
  readonly tokens: number;
  readonly upperBitsPerToken: number;
  readonly upperBitsPerSecond: number;
  /** Steps that were ordered in this life of the evidence. */
  readonly taken: readonly LadderStep[];
}

/** A step that the policy asks for now. */
export interface DueStep {
  readonly step: LadderStep;
  /** null for every step but raise-epsilon. */
  readonly epsilon: number | null;
  /** Which statistic reached what: at most 300 characters for people. */
  readonly words: string;
}

/** A policy, ready to be asked. alarm/ladder makes it. */
export interface Ladder {
  /** Of both statistics, for shutdown; nats. */
  readonly threshold: number;
  readonly limitBitsPerToken: number;
  /** The rules themselves, for observers: the ladder with the fleet's threshold as a number. */
  readonly rungs: readonly LadderRung[];
  readonly capacity: CapacityRule;
  readonly release: ReleaseRule;
  readonly fleet: FleetPolicy;
  /** Steps to take now, mildest first; none that was taken. Pure. */
  due(standing: Standing): DueStep[];
  /** Whether, taken or not, the evidence stands at or beyond what shuts a server down; in words, or null. */
  beyond(standing: Standing): string | null;
}

/** What a policy file may have at most; bytes. */
const policyBytesMax = 65_536;
/** Above every log e-value that anybody would wait for; nats. */
const logEMax = 10_000;

/** A sixtieth of what a peer sends that trains with others over the internet, about 6 Mb/s. */
export const defaultRelease: ReleaseRule = { bitsPerSecond: 100_000 };

/**
 * The policy of spec/policy.md section "The default": a fleet of 250,000 servers that in ten years
 * shuts down an honest one with a probability of at most one in a hundred.
 */
export const defaultPolicy: Policy = {
  schema: 1,
  fleet: { servers: 250_000, alpha: 0.01, years: 10, pairsPerYear: 100_000 },
  ladder: [
    { step: "raise-epsilon", logE: 5, epsilon: 1 },
    { step: "recheck-ring", logE: 8 },
    { step: "quarantine", logE: 12 },
    { step: "shutdown", logE: "fleet" },
  ],
  capacity: {
    ...{ bitsPerToken: 0.2, bitsPerSecond: 10_000, minTokens: 10_000_000 },
    step: "raise-epsilon",
  },
  release: defaultRelease,
};

const wrong = (field: string, what: string): never => {
  throw new InvalidError("policy.field", `policy.${field} ${what}`);
};

function readStep(from: Fields, path: string): LadderStep {
  const text = from.text("step");
  const step = ladderSteps.find((known) => known === text);
  return step ?? wrong(`${path}.step`, `must be one of ${ladderSteps.join(", ")}`);
}

function readRule(from: Fields, index: number): LadderRule {
  const path = `ladder[${index}]`;
  const step = readStep(from, path);
  const logE = from.numberOr("logE", "fleet", 0, logEMax);
  if (step !== "raise-epsilon") {
    from.end();
    return { step, logE };
  }
  const epsilon = from.number("epsilon", 0, 1);
  if (epsilon === 0) wrong(`${path}.epsilon`, "must be above 0, up to 1");
  from.end();
  return { step, logE, epsilon };
}

function readRelease(from: Fields): ReleaseRule {
  const bitsPerSecond = from.number("bitsPerSecond", 0, 1e15);
  from.end();
  return { bitsPerSecond };
}

/** The rules must climb: in step, and where both are numbers, in evidence. */
function checkLadder(ladder: readonly LadderRule[]): void {
  if (ladder.at(-1)?.step !== "shutdown") wrong("ladder", "must end with the step shutdown");
  ladder.forEach((rule, i) => {
    const before = ladder[i - 1];
    if (rule.logE === "fleet" && rule.step !== "shutdown") {
      wrong(`ladder[${i}].logE`, "may be fleet for shutdown only");
    }
    if (before === undefined) return;
    if (ladderSteps.indexOf(rule.step) <= ladderSteps.indexOf(before.step)) {
      wrong(`ladder[${i}].step`, `${rule.step} must not come after ${before.step}`);
    }
    if (
      typeof rule.logE === "number" &&
      typeof before.logE === "number" &&
      rule.logE <= before.logE
    ) {
      wrong(`ladder[${i}].logE`, `must be above ${before.logE}, that of ${before.step}`);
    }
  });
}

/**
 * Parses a policy file. Throws InvalidError `json.*` or `policy.*`; each message names the field.
 * Whether the ladder keeps the fleet's budget is for `ladderOf` to say.
 */
export function parsePolicy(bytes: Uint8Array): Policy {
  if (bytes.length > policyBytesMax)
    throw new InvalidError("policy.size", "the policy is too long");
  const top = new Fields(parseJson(decodeUtf8(bytes)), "policy");
  if (top.integer("schema", 0, 1_000_000) !== 1) wrong("schema", "must be 1");
  const fleetFields = top.object("fleet");
  const fleet: FleetPolicy = {
    servers: fleetFields.integer("servers", 1, 1e9),
    alpha: fleetFields.number("alpha", 1e-12, 0.5),
    years: fleetFields.number("years", 0.001, 1000),
    pairsPerYear: fleetFields.integer("pairsPerYear", 1, 1e12),
    ...(fleetFields.has("beginnings")
      ? { beginnings: fleetFields.integer("beginnings", 1, 1e6) }
      : {}),
  };
  fleetFields.end();
  const ladder = top.objects("ladder").map(readRule);
  checkLadder(ladder);
  const capacityFields = top.object("capacity");
  const capacity: CapacityRule = {
    bitsPerToken: capacityFields.number("bitsPerToken", 0, 64),
    bitsPerSecond: capacityFields.number("bitsPerSecond", 0, 1e15),
    minTokens: capacityFields.integer("minTokens", 1, 1e15),
    step: readStep(capacityFields, "capacity"),
  };
  capacityFields.end();
  const release = top.has("release") ? readRelease(top.object("release")) : null;
  top.end();
  return { schema: 1, fleet, ladder, capacity, ...(release === null ? {} : { release }) };
}

/** The text of a policy file. */
export function policyText(policy: Policy): string {
  return `${JSON.stringify(policy, null, 2)}\n`;
}

/**
 * The ladder with `fleet` put in as a number (nats; verification/fleet computes it). Throws
 * InvalidError `policy.field` when shutdown comes before the fleet's threshold, which would break
 * the promise of `alpha`, or when a milder step comes after it.
 */
export function ladderOf(policy: Policy, fleetLogE: number): LadderRung[] {
  const rungs = policy.ladder.map(({ step, logE, epsilon }): LadderRung => {
    return { step, logE: logE === "fleet" ? fleetLogE : logE, epsilon: epsilon ?? null };
  });
  rungs.forEach((rung, i) => {
    const before = rungs[i - 1];
    const fleet = fleetLogE.toFixed(2);
    if (rung.step === "shutdown" && rung.logE < fleetLogE) {
      wrong(`ladder[${i}].logE`, `must be at least ${fleet}, what fleet asks for`);
    }
    if (before !== undefined && before.logE >= rung.logE) {
      wrong(`ladder[${i - 1}].logE`, `must be below ${rung.logE.toFixed(2)}, that of ${rung.step}`);
    }
  });
  return rungs;
}
