/**
 * A gateway's storage for the lab: what must be durable is durable as long as this process lives. The
 * order of events is the pair path's own (gateway/serve.ts); no disk, no encryption, no proofs.
 */
import { BugError } from "../../base/assert.ts";
import { emptyRoot } from "../../base/merkle.ts";
import type { GatewayStore, LeafLog, Outbox, OutboxItem, Ring } from "../../gateway/store.port.ts";

const unused = (what: string): never => {
  throw new BugError(`the lab's gateway has no ${what}`);
};

/** Bytes that a batch is measured against; nothing is kept. */
const ringCapacity = 64 * 1_048_576;

function memoryRing(): Ring {
  let pending = 0;
  return {
    get pending() {
      return pending;
    },
    add: () => {
      pending++;
    },
    commit: () => {
      pending = 0;
      return Promise.resolve();
    },
    read: () => unused("recovery"),
    status: () => ({
      bytes: 0,
      capacity: ringCapacity,
      pairsForgotten: 0,
      forgottenThrough: null,
    }),
    close: () => Promise.resolve(),
  };
}

function memoryLog(): LeafLog {
  let size = 0n;
  return {
    get size() {
      return size;
    },
    get pairs() {
      return size;
    },
    marks: [],
    append: () => size++,
    commit: () => Promise.resolve(),
    root: () => unused("tree"),
    find: () => null,
    read: () => unused("log to read"),
    durable: { size: 0n, root: emptyRoot },
    rootAt: () => unused("tree"),
    prove: () => unused("proofs"),
    entries: () => unused("log to read"),
    close: () => Promise.resolve(),
  };
}

/** Hands kept pairs on at once; `waiting` is what the judge has not answered. */
function memoryOutbox(onKept: (item: OutboxItem) => void, waiting: () => number): Outbox {
  return {
    capacity: Number.MAX_SAFE_INTEGER,
    get waiting() {
      return waiting();
    },
    roomFor: () => true,
    put: (items) => {
      for (const item of items) onKept(item);
    },
    knows: () => false,
    find: () => null,
    list: () => [],
    settle: () => undefined,
    verdictOf: () => null,
    close: () => undefined,
  };
}

/** `onKept` gets each kept pair, as a proof request. */
export function memoryStore(
  onKept: (item: OutboxItem) => void,
  waiting: () => number,
): Pick<GatewayStore, "ring" | "log" | "outbox"> & GatewayStore {
  return {
    ring: memoryRing(),
    log: memoryLog(),
    outbox: memoryOutbox(onKept, waiting),
    get state(): never {
      return unused("state file");
    },
  };
}
