/** What a gateway answers when an operator asks about one tag (RECEIPT). */
import { decodeUtf8 } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { leafHash } from "../base/merkle.ts";
import { encodeLeaf } from "../format/leaf.ts";
import type { Receipt } from "../format/status.ts";
import { formatTag, parseTag, type Tag } from "../format/tag.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { PairPath } from "./serve.ts";
import type { GatewayStore } from "./store.port.ts";

interface ReceiptParts {
  readonly gateway: string;
  readonly store: GatewayStore;
  readonly pairs: PairPath;
  readonly clock: Clock;
  readonly tickMs: number;
  readonly checkpoints: Checkpoints | null;
}

function fate({ pairs, store }: ReceiptParts, tag: Tag): Receipt["state"] {
  if (store.outbox.verdictOf(tag) !== null) return "judged";
  return pairs.isKept(tag) || store.outbox.knows(tag) ? "kept" : "not-kept";
}

/** Throws InvalidError for a payload that is no tag, and what the log throws. */
export async function receiptOf(parts: ReceiptParts, payload: Uint8Array): Promise<Receipt> {
  const { gateway: own, store, pairs, clock, tickMs, checkpoints } = parts;
  const { gateway, tag } = parseTag(decodeUtf8(payload));
  const { log } = store;
  for (let waits = 0; waits < 50 && pairs.isUndrawn(tag); waits++) {
    await new Promise<void>((resolve) => void clock.after(tickMs, resolve));
  }
  const index = pairs.isOpen(tag) || gateway !== own ? null : log.find(tag);
  // Before size and root are taken: `prove` proves against the tree of the moment of its call.
  const leaf = index === null ? null : encodeLeaf(await log.read(index));
  const proving = index === null ? null : log.prove(index);
  const base = {
    tag: formatTag(gateway, tag),
    leafIndex: null,
    leafHex: null,
    leafHash: null,
    logSize: Number(log.size),
    logRoot: log.root().toString("hex"),
    proof: [],
    tlogProof: null,
  };
  if (gateway !== own) return { ...base, state: "unknown" };
  if (pairs.isOpen(tag)) return { ...base, state: "open" };
  if (index === null || leaf === null || proving === null) return { ...base, state: "unknown" };
  const proof = await proving;
  return {
    ...base,
    state: fate(parts, tag),
    leafIndex: Number(index),
    leafHex: leaf.toString("hex"),
    leafHash: leafHash(leaf).toString("hex"),
    proof: proof.map((hash) => hash.toString("hex")),
    tlogProof: (await checkpoints?.proofOf(Number(index))) ?? null,
  };
}
