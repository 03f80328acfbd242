/** How evidence moved, for the chart: kept in the observer's memory, thinned, never on disk. */
import type { RecomputerStatus } from "../format/status.ts";
import type { EvidencePoint } from "./document.ts";

/** Points kept for one server and recomputer. */
export const trailMax = 240;

export type Trails = ReadonlyMap<string, readonly EvidencePoint[]>;

export function trailKey(recomputer: string, server: string): string {
  return `${recomputer} ${server}`;
}

/** Halves the older part's resolution; the newest points stay. */
function thinned(points: readonly EvidencePoint[]): readonly EvidencePoint[] {
  if (points.length <= trailMax) return points;
  const recent = points.length - trailMax / 4;
  return points.filter((_, i) => i >= recent || i % 2 === 0);
}

function extended(
  points: readonly EvidencePoint[],
  point: EvidencePoint,
): readonly EvidencePoint[] {
  const last = points.at(-1);
  const same =
    last?.pairs === point.pairs && last.logE === point.logE && last.logChange === point.logChange;
  return same ? points : thinned([...points, point]);
}

/**
 * Adds what a recomputer says now about the servers that are watched; a statement that changes
 * nothing adds nothing.
 */
export function addToTrails(
  trails: Trails,
  from: RecomputerStatus,
  watched: (server: string) => boolean,
  atMs: number,
): Trails {
  const about = (from.evidence ?? []).filter(({ gateway }) => watched(gateway));
  if (about.length === 0) return trails;
  const all = new Map(trails);
  for (const { gateway, pairs, logE, logChange } of about) {
    const key = trailKey(from.name, gateway);
    all.set(key, extended(all.get(key) ?? [], { atMs, pairs, logE, logChange }));
  }
  return all;
}
