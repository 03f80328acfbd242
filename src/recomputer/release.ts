/**
 * ORDER from a gateway: a release that an operator signed and that the gateway obeyed. It is how the
 * recomputer learns that a server began anew: never by a word of the gateway's alone (spec/order.md,
 * "How the recomputer learns of a release").
 */
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import { encodeOrderResult, type RecomputerOrder } from "../format/order.ts";
import type { Frame } from "../format/link.ts";
import type { LadderStep } from "../format/policy.ts";
import type { EvidenceBook } from "./evidence.ts";
import type { AlarmPort, GoodRelease, ShutdownPort } from "./shutdown.port.ts";
import type { VerdictStore } from "./store.port.ts";

interface Parts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly store: VerdictStore;
  readonly alarms: AlarmPort;
  readonly shutdown: ShutdownPort;
}

const stepOf: Readonly<Record<RecomputerOrder["action"], LadderStep>> = {
  shutdown: "shutdown",
  quarantine: "quarantine",
  sample: "raise-epsilon",
  recheck: "recheck-ring",
};

/** Notes a good release, durably. Returns the ORDER_RESULT to answer with. */
export function receiveRelease(
  gateway: string,
  frame: Frame,
  evidence: EvidenceBook,
  parts: Parts,
): Buffer {
  const news = parts.shutdown.released(gateway, frame);
  if (news.kind === "known") return encodeOrderResult({ kind: "already-released", detail: "" });
  if (news.kind === "refused") {
    parts.log.log("warn", "recomputer.release-refused", { gateway, why: news.why });
    const text = `${gateway} presented a release that is not believed: ${news.why}`;
    parts.alarms.raise("warning", "release.refused", gateway, text);
    return encodeOrderResult({ kind: "refused", detail: news.why });
  }
  note(gateway, news, evidence, parts);
  return encodeOrderResult({ kind: "obeyed", detail: "" });
}

function note(gateway: string, news: GoodRelease, evidence: EvidenceBook, parts: Parts): void {
  const { digest, sealed, reason, signer, issuedMs, ended } = news;
  const nowMs = parts.clock.wallMs();
  const step = stepOf[ended.action];
  // Where the gateway never said when it obeyed, the operator's word is the latest it can have been.
  const sinceMs = ended.settledMs ?? Math.min(nowMs, issuedMs);
  const after = evidence.released(gateway, step, sinceMs);
  const what = step === "shutdown" ? "its evidence begins again at zero" : "its evidence goes on";
  const by = `operator key ${signer.slice(0, 16)}`;
  const text = `${step} order ${ended.digest.slice(0, 16)} was released by ${by}; ${what}: ${reason}`;
  parts.log.log("warn", "recomputer.released", { gateway, step, digest, signer, reason });
  // People first: a crash in between tells them twice, and never restarts anything in silence.
  parts.shutdown.noteRelease(news, text.slice(0, 400).toWellFormed());
  const release = { digest, gateway, ended: ended.digest, signer, reason, atMs: nowMs, sealed };
  parts.store.putRelease(release, after);
  for (const one of after) evidence.commit(one);
}
