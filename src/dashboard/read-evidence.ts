/** Reads what a STATUS payload says of evidence: what stands against servers, and what was done. */
import { limits } from "../base/limits.ts";
import { noCarriers, type CarrierCounts } from "../format/carriers.ts";
import { ladderSteps } from "../format/policy.ts";
import type {
  GatewayCarriers,
  GatewayEvidence,
  GatewayStatus,
  RecomputerStatus,
} from "../format/status.ts";
import type { Part } from "./part.ts";

function readOne(from: Part): GatewayEvidence {
  const capacity = from.part("capacity");
  return {
    gateway: from.text("gateway", limits.name),
    pairs: from.count("pairs"),
    tokens: from.count("tokens"),
    logE: from.number("logE"),
    logEThreshold: from.number("logEThreshold"),
    logChange: from.number("logChange"),
    logChangeThreshold: from.number("logChangeThreshold"),
    step: from.oneOf("step", ["none", ...ladderSteps]),
    steps: from.oneOfEach("steps", ladderSteps),
    detectors: from.parts("detectors").map((one) => ({
      id: one.text("id", limits.name),
      title: one.text("title"),
      logE: one.number("logE"),
      logChange: one.number("logChange"),
    })),
    capacity: {
      tokens: capacity.count("tokens"),
      bitsPerToken: capacity.number("bitsPerToken"),
      upperBitsPerToken: capacity.number("upperBitsPerToken"),
      upperBitsPerSecond: capacity.number("upperBitsPerSecond"),
      limitBitsPerToken: capacity.number("limitBitsPerToken"),
    },
  };
}

/** What a recomputer holds against servers; nothing of one that is too old to say. */
export function readEvidence(from: Part): Pick<RecomputerStatus, "evidence"> {
  if (from.get("evidence") === undefined) return {};
  return { evidence: from.parts("evidence").map(readOne) };
}

function readCarrier(from: Part): GatewayCarriers {
  return {
    gateway: from.text("gateway", limits.name),
    seconds: from.number("seconds"),
    tokens: from.count("tokens"),
    release: from.number("release"),
    failures: from.number("failures"),
    ends: from.number("ends"),
    bitsPerToken: from.number("bitsPerToken"),
    bitsPerSecond: from.get("bitsPerSecond") === null ? null : from.number("bitsPerSecond"),
  };
}

/** What left beside the tokens; nothing of a recomputer that is too old to say. */
export function readCarriers(from: Part): Pick<RecomputerStatus, "carriers"> {
  if (from.get("carriers") === undefined) return {};
  return { carriers: from.parts("carriers").map(readCarrier) };
}

type ToldPolicy = NonNullable<RecomputerStatus["policy"]>;

/** The rules that an older recomputer leaves out. */
function readNewer(policy: Part): Pick<ToldPolicy, "release" | "fleet"> {
  const release = policy.optional("release");
  const fleet = policy.optional("fleet");
  return {
    ...(release === undefined
      ? {}
      : { release: { bitsPerSecond: release.number("bitsPerSecond") } }),
    ...(fleet === undefined
      ? {}
      : {
          fleet: {
            servers: fleet.count("servers"),
            alpha: fleet.number("alpha"),
            years: fleet.number("years"),
            pairsPerYear: fleet.count("pairsPerYear"),
            ...(fleet.get("beginnings") === undefined
              ? {}
              : { beginnings: fleet.count("beginnings") }),
            yearsBetween: fleet.number("yearsBetween"),
          },
        }),
  };
}

/** The rules that it is held against; nothing of a recomputer that is too old to say. */
export function readPolicy(from: Part): Pick<RecomputerStatus, "policy"> {
  const policy = from.optional("policy");
  if (policy === undefined) return {};
  const capacity = policy.part("capacity");
  return {
    policy: {
      ladder: policy.parts("ladder").map((rung) => ({
        step: rung.oneOf("step", ladderSteps),
        logE: rung.number("logE"),
        epsilon: rung.get("epsilon") === null ? null : rung.number("epsilon"),
      })),
      capacity: {
        bitsPerToken: capacity.number("bitsPerToken"),
        bitsPerSecond: capacity.number("bitsPerSecond"),
        minTokens: capacity.count("minTokens"),
        step: capacity.oneOf("step", ladderSteps),
      },
      ...readNewer(policy),
    },
  };
}

/** What a gateway counted beside the tokens; nothing of one that is too old to say. */
export function readCounts(from: Part): Pick<GatewayStatus, "carriers"> {
  const counts = from.optional("carriers");
  if (counts === undefined) return {};
  const names = Object.keys(noCarriers) as (keyof CarrierCounts)[];
  const read = names.map((name) => [name, counts.count(name)] as const);
  const tickMs = counts.number("tickMs");
  const wholeReplies = counts.flag("wholeReplies");
  return { carriers: { ...noCarriers, ...Object.fromEntries(read), tickMs, wholeReplies } };
}

type Standing = Pick<GatewayStatus, "sampling" | "quarantine" | "recheck">;

function readQuarantine(from: Part | null): NonNullable<Standing["quarantine"]> | null {
  if (from === null) return null;
  return {
    digest: from.text("digest", limits.name),
    reason: from.text("reason"),
    sinceMs: from.count("sinceMs"),
    held: from.count("held"),
    passed: from.count("passed"),
    withheld: from.count("withheld"),
  };
}

function readRecheck(from: Part | null): NonNullable<Standing["recheck"]> | null {
  if (from === null) return null;
  return {
    digest: from.text("digest", limits.name),
    sinceMs: from.count("sinceMs"),
    done: from.flag("done"),
    sent: from.count("sent"),
    lost: from.count("lost"),
    of: from.get("of") == null ? null : from.count("of"),
  };
}

/** What signed orders made of a gateway; nothing of one that is too old to say. */
export function readStanding(from: Part): Standing {
  const sampling = from.optional("sampling");
  const has = (key: string): boolean => from.get(key) !== undefined;
  return {
    ...(sampling === undefined
      ? {}
      : {
          sampling: {
            epsilon: sampling.number("epsilon"),
            own: sampling.number("own"),
            order: sampling.text("order", limits.name),
          },
        }),
    ...(has("quarantine") ? { quarantine: readQuarantine(from.maybe("quarantine")) } : {}),
    ...(has("recheck") ? { recheck: readRecheck(from.maybe("recheck")) } : {}),
  };
}
