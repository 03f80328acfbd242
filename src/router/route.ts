/**
 * Which gateway gets a request: the least loaded of those that accept and serve its model, and one in
 * quarantine only where there is no other; and the
 * bounded wait of requests for which there is none just now. Pure.
 */

/** A gateway as routing sees it. */
export interface Candidate {
  readonly modelId: string | null;
  /** Serving, not draining, link up, room left. */
  readonly accepting: boolean;
  /** Requests in flight per unit of capacity. */
  readonly load: number;
  /** Its replies wait for their verdicts. */
  readonly quarantined: boolean;
}

function before(a: Candidate, b: Candidate): boolean {
  return a.quarantined === b.quarantined ? a.load < b.load : b.quarantined;
}

/**
 * The least loaded candidate that accepts, serves `modelId` and passes `allowed`; null if none does.
 * Ties go to the first one from `start` on, so that a rising `start` spreads them.
 */
export function pick<T extends Candidate>(
  candidates: readonly T[],
  modelId: string,
  start: number,
  allowed: (candidate: T) => boolean,
): T | null {
  let best: T | null = null;
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[(start + i) % candidates.length];
    if (candidate?.modelId !== modelId || !candidate.accepting) continue;
    if (best !== null && !before(candidate, best)) continue;
    if (allowed(candidate)) best = candidate;
  }
  return best;
}

/** Something that waits for a gateway. */
export interface Waiting {
  readonly modelId: string;
  /** When it gives up; monotonic milliseconds. */
  readonly deadlineMs: number;
}

/** Requests without a gateway, per model, oldest first. Its size is bounded by what is in flight. */
export class WaitQueue<T extends Waiting> {
  readonly #models = new Map<string, Set<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(request: T): void {
    let queue = this.#models.get(request.modelId);
    if (queue === undefined) this.#models.set(request.modelId, (queue = new Set()));
    if (queue.has(request)) return;
    queue.add(request);
    this.#size++;
  }

  /** Does nothing when it is not waiting. */
  remove(request: T): void {
    const queue = this.#models.get(request.modelId);
    if (queue?.delete(request) !== true) return;
    this.#size--;
    if (queue.size === 0) this.#models.delete(request.modelId);
  }

  /**
   * Offers the waiting requests of a model, oldest first, to `place`: "placed" takes it out,
   * "later" leaves it and goes on, "full" stops.
   */
  offer(modelId: string, place: (request: T) => "placed" | "later" | "full"): void {
    for (const request of this.#models.get(modelId) ?? []) {
      const answer = place(request);
      if (answer === "full") return;
      if (answer === "placed") this.remove(request);
    }
  }

  /** Takes out and returns every request whose deadline has passed. */
  expire(nowMs: number): T[] {
    const expired: T[] = [];
    for (const queue of this.#models.values()) {
      for (const request of queue) if (request.deadlineMs <= nowMs) expired.push(request);
    }
    for (const request of expired) this.remove(request);
    return expired;
  }
}
