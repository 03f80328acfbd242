/**
 * A small explicit-state model checker: breadth first over everything that a model can do, so that the first
 * violation found is a shortest one, told as a story. A model is plain data and a function that lists
 * what may happen next; the reducers it calls are the shipped ones.
 *
 * To plug in a reducer: write `steps(state)` that yields one step for each event the world may bring now
 * (a message kept, lost, doubled; a crash; an old disk), and the invariants. Bound every counter, or
 * the state space is infinite.
 */
import assert from "node:assert/strict";

/** Something that may happen: its words in a story, and the state after it. */
export interface Step<S> {
  readonly label: string;
  readonly next: S;
}

export interface Invariant<S> {
  readonly name: string;
  /** Whether it holds in a state, or over one step into it; `before` and `label` are null at the start. */
  readonly holds: (state: S, before: S | null, label: string | null) => boolean;
}

export interface Model<S> {
  readonly initial: readonly S[];
  readonly steps: (state: S) => Iterable<Step<S>>;
  readonly invariants: readonly Invariant<S>[];
  /** Above this many states the exploration fails: something is not bounded. */
  readonly maxStates?: number;
}

export interface Violation<S> {
  readonly invariant: string;
  /** What happened, in order; the last label led to the violation. */
  readonly labels: readonly string[];
  readonly states: readonly S[];
}

export interface Exploration<S> {
  readonly states: number;
  readonly transitions: number;
  /** Steps of the longest shortest path. */
  readonly depth: number;
  readonly violation: Violation<S> | null;
  /** Every state that was reached, in the order of discovery. */
  readonly reached: readonly S[];
}

/** The same text for equal states, whatever the order of their fields. */
export function fingerprint(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "undefined";
  if (value instanceof Uint8Array) return `x${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return `[${value.map(fingerprint).join(",")}]`;
  if (value instanceof Set) return `{${[...value].map(fingerprint).sort().join(",")}}`;
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => `${fingerprint(key)}:${fingerprint(item)}`);
    return `{${entries.sort().join(",")}}`;
  }
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, item]) => `${key}:${fingerprint(item)}`).join(",")}}`;
}

interface Seen<S> {
  readonly state: S;
  readonly depth: number;
  readonly from: Seen<S> | null;
  readonly label: string | null;
}

function storyOf<S>(invariant: string, last: Seen<S>): Violation<S> {
  const labels: string[] = [];
  const states: S[] = [];
  for (let at: Seen<S> | null = last; at !== null; at = at.from) {
    states.unshift(at.state);
    if (at.label !== null) labels.unshift(at.label);
  }
  return { invariant, labels, states };
}

/** Visits every reachable state, or stops at the first violation. Throws when `maxStates` is passed. */
export function explore<S>({
  initial,
  steps,
  invariants,
  maxStates = 2e6,
}: Model<S>): Exploration<S> {
  const seen = new Set<string>();
  const queue: Seen<S>[] = [];
  let transitions = 0;
  let depth = 0;
  let violation: Violation<S> | null = null;
  const result = (): Exploration<S> => ({
    states: seen.size,
    transitions,
    depth,
    violation,
    reached: queue.map(({ state }) => state),
  });
  /** Checks and remembers; false at a violation. A step is checked also where it leads to a known state. */
  const visit = (state: S, from: Seen<S> | null, label: string | null): boolean => {
    const one = { state, from, label, depth: from === null ? 0 : from.depth + 1 };
    const broken = invariants.find(({ holds }) => !holds(state, from?.state ?? null, label));
    const print = fingerprint(state);
    if (!seen.has(print)) {
      seen.add(print);
      queue.push(one);
      depth = one.depth;
      assert.ok(seen.size <= maxStates, `more than ${maxStates} states: something is not bounded`);
    }
    if (broken !== undefined) violation = storyOf(broken.name, one);
    return broken === undefined;
  };
  for (const state of initial) if (!visit(state, null, null)) return result();
  // The queue grows while it is walked.
  for (const from of queue) {
    for (const { label, next } of steps(from.state)) {
      transitions++;
      if (!visit(next, from, label)) return result();
    }
  }
  return result();
}

/** The fields in which two states differ, for people. */
function changes(before: unknown, after: unknown, path = ""): string[] {
  const plain = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Set);
  if (!plain(before) || !plain(after)) {
    return fingerprint(before) === fingerprint(after) ? [] : [`${path} = ${fingerprint(after)}`];
  }
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) =>
    changes(before[key], after[key], path === "" ? key : `${path}.${key}`),
  );
}

/** A violation as numbered lines. */
export function tell<S>({ invariant, labels, states }: Violation<S>): string {
  const lines = labels.map((label, i) => {
    const what = changes(states[i], states[i + 1]).join(", ");
    return `${String(i + 1).padStart(3)}. ${label}${what === "" ? "" : `   (${what})`}`;
  });
  return [`"${invariant}" is violated after ${labels.length} steps:`, ...lines].join("\n");
}

/** Explores, and fails with the story of the shortest violation. */
export function assertHolds<S>(model: Model<S>): Exploration<S> {
  const result = explore(model);
  if (result.violation !== null) assert.fail(tell(result.violation));
  return result;
}

/** Explores a model into which a bug was put, looking at one invariant alone: it must be violated. */
export function assertFinds<S>(
  model: Model<S>,
  invariant: string,
): Exploration<S> & { readonly violation: Violation<S> } {
  const invariants = model.invariants.filter(({ name }) => name === invariant);
  assert.equal(invariants.length, 1, `there is one invariant "${invariant}"`);
  const result = explore({ ...model, invariants });
  const { violation } = result;
  assert.ok(violation !== null, `the bug was not found in ${result.states} states`);
  return { ...result, violation };
}
