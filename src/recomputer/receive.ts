/**
 * Step 1 of the recomputer: what gateways send. Turns frames into work or into answers; a pair that
 * was judged is never judged again, its verdict is repeated.
 */
import { InvalidError } from "../base/assert.ts";
import { sha256 } from "../base/hash.ts";
import { decodeEpoch } from "../format/proof-request.ts";
import type { Frame } from "../format/link.ts";
import { asTag, type Tag } from "../format/tag.ts";
import type { VerdictStore } from "./store.port.ts";

/** A proof request as it came: nothing in it is parsed or believed yet. */
export interface Received {
  readonly gateway: string;
  readonly tag: Tag;
  /** A copy of the frame's payload. */
  readonly request: Buffer;
  readonly digest: Buffer;
}

export type ProofAnswer =
  | { readonly kind: "work"; readonly received: Received }
  /** Judged earlier. `changed`: with other bytes than these. */
  | {
      readonly kind: "judged";
      readonly tag: Tag;
      readonly verdict: "pass" | "fail";
      readonly changed: boolean;
    };

/** PROOF_REQUEST. Throws InvalidError `tag.zero` when the frame's id is no tag. */
export function receiveProofRequest(
  gateway: string,
  frame: Frame,
  store: VerdictStore,
): ProofAnswer {
  const tag = asTag(frame.id);
  const digest = sha256(frame.payload);
  const known = store.find(gateway, tag);
  if (known !== null) {
    const changed = !known.requestDigest.equals(digest);
    return { kind: "judged", tag, verdict: known.kind, changed };
  }
  return {
    kind: "work",
    received: { gateway, tag, request: Buffer.from(frame.payload), digest },
  };
}

/**
 * EPOCH. The gateway may only speak for itself. Throws InvalidError `epoch.gateway`. A second key
 * for a known epoch is `conflict`, and the first one stays.
 */
export function receiveEpoch(
  gateway: string,
  frame: Frame,
  store: VerdictStore,
): { readonly epoch: number; readonly outcome: "new" | "known" | "conflict" } {
  const notice = decodeEpoch(frame.payload);
  if (notice.gateway !== gateway) {
    throw new InvalidError("epoch.gateway", `gateway ${gateway} sent an epoch of another gateway`);
  }
  return { epoch: notice.epoch, outcome: store.putEpoch(notice) };
}
