/**
 * What a gateway signs of its own log, and how far both parties have cosigned it, as a reducer: an event in, the new
 * state and effects out, nothing else.
 *
 * - At most one tree of a size is signed, ever, and never a tree that does not begin with every tree signed before: the
 *   newest signed one is durable before it leaves, and the log is held against it at each start.
 * - A checkpoint that comes back, with the gateway's own signature, and that is not of this log's past, shows that the
 *   gateway's disk was put back (or its key stolen). Nothing is signed or served after that.
 * - What counts as cosigned is what the witnesses of ALL parties cosigned. More un-cosigned entries than the bound: no
 *   inputs, until it is cosigned again.
 */

export interface Tree {
  readonly size: number;
  readonly root: Buffer;
}

/** What one party's witness has cosigned. */
export interface PartyMark {
  readonly party: string;
  readonly size: number;
  /** By the witness's clock, seconds; 0: never. */
  readonly timeS: number;
}

export interface CheckpointState {
  /** The newest tree signed, durable; null before the first. */
  readonly signed: Tree | null;
  /** The tree whose signature is being made durable. */
  readonly signing: Tree | null;
  /** The durable log. */
  readonly log: Tree;
  readonly parties: readonly PartyMark[];
  /** Why nothing may be signed any more; "" while all is well. */
  readonly broken: string;
}

export type CheckpointEvent =
  /** The durable log grew, or is looked at again. */
  | { readonly kind: "log"; readonly log: Tree }
  /** The signature over `signing` is durable. */
  | { readonly kind: "kept" }
  /**
   * A checkpoint with our own signature came back; `here`: the root of our first `tree.size` entries, null when we have
   * fewer. `marks`: whose cosignatures on it were verified. `nowS` null: read from our own disk, times are not judged.
   */
  | {
      readonly kind: "cosigned";
      readonly tree: Tree;
      readonly here: Buffer | null;
      readonly marks: readonly { readonly party: string; readonly timeS: number }[];
      readonly nowS: number | null;
    };

export type CheckpointEffect =
  /** Sign this tree, make the note durable, then say `kept`. */
  | { readonly kind: "sign"; readonly tree: Tree }
  /** The signed note of this tree may go to the publisher. */
  | { readonly kind: "send"; readonly tree: Tree }
  | { readonly kind: "alarm"; readonly alarm: "log.rolled-back"; readonly why: string }
  /** A witness's clock is far from ours: its cosignature does not count. */
  | { readonly kind: "clock"; readonly party: string; readonly byS: number };

/** Clocks of gateway and witness may differ by this much; seconds. */
export const clockSkewS = 600;

export function newCheckpoints(
  signed: Tree | null,
  log: Tree,
  parties: readonly string[],
): CheckpointState {
  const marks = parties.map((party) => ({ party, size: 0, timeS: 0 }));
  return { signed, signing: null, log, parties: marks, broken: "" };
}

/** Entries that all parties have cosigned. */
export function cosignedSize({ parties }: CheckpointState): number {
  return parties.length === 0 ? 0 : Math.min(...parties.map(({ size }) => size));
}

/** Entries that not all parties have cosigned. */
export function backlogOf(state: CheckpointState): number {
  return Math.max(0, state.log.size - cosignedSize(state));
}

interface Step {
  readonly state: CheckpointState;
  readonly effects: readonly CheckpointEffect[];
}

function breakDown(state: CheckpointState, why: string): Step {
  const effects: CheckpointEffect[] =
    state.broken === "" ? [{ kind: "alarm", alarm: "log.rolled-back", why }] : [];
  return { state: { ...state, signing: null, broken: why }, effects };
}

/** Why `log` cannot follow a signed tree; "" when it may. Roots of unequal sizes are compared by the caller. */
function notAfter(signed: Tree, log: Tree): string {
  if (log.size < signed.size) {
    return `the log has ${log.size} entries, and a checkpoint over ${signed.size} was signed`;
  }
  const same = log.size !== signed.size || log.root.equals(signed.root);
  return same ? "" : `the log of ${log.size} entries has another root than was signed`;
}

function onLog(state: CheckpointState, log: Tree): Step {
  const now = { ...state, log };
  if (state.broken !== "" || state.signing !== null) return { state: now, effects: [] };
  const { signed } = state;
  if (signed === null) {
    // Even an empty log is signed once: witnesses begin with it.
    return { state: { ...now, signing: log }, effects: [{ kind: "sign", tree: log }] };
  }
  const why = notAfter(signed, log);
  if (why !== "") return breakDown(now, why);
  if (signed.size === log.size) return { state: now, effects: [] };
  return { state: { ...now, signing: log }, effects: [{ kind: "sign", tree: log }] };
}

function onCosigned(
  state: CheckpointState,
  event: Extract<CheckpointEvent, { kind: "cosigned" }>,
): Step {
  const { tree, here, marks, nowS } = event;
  if (here === null) {
    return breakDown(state, `a checkpoint over ${tree.size} entries exists, and the log has fewer`);
  }
  if (!here.equals(tree.root)) {
    return breakDown(state, `a checkpoint over ${tree.size} entries exists with another root`);
  }
  const effects: CheckpointEffect[] = [];
  const parties = state.parties.map((before) => {
    const mark = marks.find(({ party }) => party === before.party);
    if (mark === undefined || tree.size < before.size) return before;
    const byS = nowS === null ? 0 : mark.timeS - nowS;
    if (Math.abs(byS) > clockSkewS) {
      effects.push({ kind: "clock", party: before.party, byS });
      return before;
    }
    return { party: before.party, size: tree.size, timeS: Math.max(before.timeS, mark.timeS) };
  });
  return { state: { ...state, parties }, effects };
}

/** One step. */
export function stepCheckpoints(state: CheckpointState, event: CheckpointEvent): Step {
  switch (event.kind) {
    case "log":
      return onLog(state, event.log);
    case "cosigned":
      return onCosigned(state, event);
    case "kept": {
      const { signing } = state;
      if (signing === null) return { state, effects: [] };
      const kept = { ...state, signed: signing, signing: null };
      return { state: kept, effects: [{ kind: "send", tree: signing }] };
    }
  }
}
