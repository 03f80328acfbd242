/** Reads what a STATUS payload says of evidence: what stands against servers, and what was done. */
import { limits } from "../base/limits.ts";
import { ladderSteps } from "../format/policy.ts";
import type { GatewayEvidence, GatewayStatus, RecomputerStatus } from "../format/status.ts";
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
    },
  };
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
