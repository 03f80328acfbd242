/** The document's part about evidence: what stands against servers, and what orders made of them. */
import type { GatewayEvidence, GatewayStatus, RecomputerStatus } from "../format/status.ts";
import type { EvidenceView, ServerFacts } from "./document.ts";
import { trailKey, type Trails } from "./trail.ts";

/** What a gateway says of the orders that it obeys. */
export function standing(
  status: GatewayStatus,
): Pick<ServerFacts, "sampling" | "quarantine" | "recheck"> {
  const { sampling, quarantine, recheck } = status;
  return {
    sampling:
      sampling === undefined
        ? null
        : { epsilon: sampling.epsilon, own: sampling.own, ordered: sampling.order !== "" },
    quarantine: quarantine == null ? null : without(quarantine),
    recheck: recheck == null ? null : without(recheck),
  };
}

function without<T extends { readonly digest: string }>({
  digest: _,
  ...rest
}: T): Omit<T, "digest"> {
  return rest;
}

/** What its replies could tell beside their tokens; null where the recomputer does not say. */
function carriersOf(server: string, from: RecomputerStatus): EvidenceView["carriers"] {
  const told = from.carriers?.find(({ gateway }) => gateway === server);
  if (told === undefined) return null;
  const { seconds, tokens, release, failures, ends, bitsPerToken, bitsPerSecond } = told;
  const limitBitsPerSecond = from.policy?.release?.bitsPerSecond ?? null;
  const bits = { release, failures, ends, bitsPerToken, bitsPerSecond, limitBitsPerSecond };
  return { seconds, tokens, ...bits };
}

function fleetOf({ policy }: RecomputerStatus): EvidenceView["fleet"] {
  if (policy?.fleet === undefined) return null;
  const { servers, alpha, years, beginnings = 1, yearsBetween } = policy.fleet;
  return { servers, alpha, years, beginnings, yearsBetween };
}

function view(one: GatewayEvidence, from: RecomputerStatus, trails: Trails): EvidenceView {
  const { gateway, detectors, capacity, ...rest } = one;
  const most = (detector: GatewayEvidence["detectors"][number]): number =>
    Math.max(detector.logE, detector.logChange);
  return {
    ...rest,
    server: gateway,
    recomputer: from.name,
    ladder: from.policy?.ladder ?? [],
    detectors: [...detectors].sort((a, b) => most(b) - most(a) || (a.id < b.id ? -1 : 1)),
    capacity: {
      ...capacity,
      limitBitsPerSecond: from.policy?.capacity.bitsPerSecond ?? null,
      minTokens: from.policy?.capacity.minTokens ?? null,
    },
    carriers: carriersOf(gateway, from),
    fleet: fleetOf(from),
    history: trails.get(trailKey(from.name, gateway)) ?? [],
  };
}

/** Evidence against the watched servers, in their order; of several recomputers in theirs. */
export function evidenceOf(
  servers: readonly string[],
  recomputers: readonly RecomputerStatus[],
  trails: Trails,
): EvidenceView[] {
  return servers.flatMap((server) =>
    recomputers.flatMap((from) => {
      const found = from.evidence?.find(({ gateway }) => gateway === server);
      return found === undefined ? [] : [view(found, from, trails)];
    }),
  );
}
