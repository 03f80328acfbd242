/** Which pairs a reference replays in which way. */
import type { PlannedReplay } from "./plan.ts";
import type { MadePair, Replay, Shape } from "./protocol.ts";

/** What one kind of server made under one shape. */
export interface ServedGroup {
  readonly server: string;
  readonly shape: Shape;
  readonly pairs: readonly MadePair[];
}

export interface ReplayTask {
  readonly replay: Replay;
  readonly pairs: readonly MadePair[];
  /** Share of the redraws. */
  readonly redraws: number;
}

/** All pairs, those of the groups among each other, in proportion: as a recomputer gets them. */
function mixed(groups: readonly ServedGroup[]): MadePair[] {
  return groups
    .flatMap(({ pairs }) => pairs.map((pair, at) => ({ pair, place: (at + 0.5) / pairs.length })))
    .sort((a, b) => a.place - b.place || a.pair.index - b.pair.index)
    .map(({ pair }) => pair);
}

/**
 * The tasks of reference number `reference`. Ways that take a part of the pairs follow each other round
 * the circle of all pairs; each reference begins elsewhere, so that every pair is replayed in every way
 * by some, where there are enough references.
 */
export function replaysOf(
  planned: readonly PlannedReplay[],
  groups: readonly ServedGroup[],
  reference: number,
): ReplayTask[] {
  const all = mixed(groups);
  let from = Math.floor((reference * all.length * 3) / 8);
  return planned.map(({ replay, pairs: share, redraws }) => {
    const count = Math.max(1, Math.round(share * all.length));
    const pairs = Array.from({ length: count }, (_, i) => all[(from + i) % all.length]).flatMap(
      (pair) => pair ?? [],
    );
    from += count;
    return { replay, pairs, redraws };
  });
}

/** The plan with no more pairs in lockstep than fit a cache of `slotsMax`; ways that become one are joined. */
export function fitting(planned: readonly PlannedReplay[], slotsMax: number): PlannedReplay[] {
  const kept: PlannedReplay[] = [];
  for (const way of planned) {
    const { replay } = way;
    const least =
      replay.mode === "blind" ? { ...replay, slots: Math.min(replay.slots, slotsMax) } : replay;
    const alike = kept.findIndex((other) => JSON.stringify(other.replay) === JSON.stringify(least));
    const known = kept[alike];
    if (known === undefined) kept.push({ ...way, replay: least });
    else kept[alike] = { ...known, pairs: Math.min(1, known.pairs + way.pairs) };
  }
  return kept;
}
