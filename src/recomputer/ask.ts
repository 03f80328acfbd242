/** VERDICT_ASK from an operator: what became of one pair. */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import type { VerdictInfo } from "../format/status.ts";
import { parseTag } from "../format/tag.ts";
import type { VerdictStore } from "./store.port.ts";

/** `payload` is a tag or a completion id as people paste it. No tag: an answer that says so. */
export function verdictInfo(payload: Uint8Array, store: VerdictStore): VerdictInfo {
  try {
    const { gateway, tag } = parseTag(decodeUtf8(payload.subarray(0, 256)));
    return store.info(gateway, tag);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return { tag: "", verdict: null, evidence: [error.message] };
  }
}
