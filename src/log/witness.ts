/**
 * A witness's judgement of one log, as a reducer: an event in, the new state and effects out, nothing else. C2SP
 * tlog-witness with one more duty, that of a mirror: a tree is cosigned only when every entry of it is held here and
 * hashes to its root.
 *
 *   submit -> checked against the newest tree cosigned        404 is the caller's; 403 400 409 422 are decided here
 *          -> mirror: entries up to the new size are fetched   422 when they do not hash to the root
 *          -> persist: entries and cosigned checkpoint durable
 *          -> reply 200 with the cosignature
 *
 * From check to persist one submission is under way and the others wait, so that check and persist are one step: without
 * this a smaller tree could be stored over a larger one. A crash loses what is under way and nothing else: the state
 * begins again from the checkpoint that was persisted, before which no cosignature ever left.
 */
import { InvalidError } from "../base/assert.ts";
import { emptyRoot, verifyConsistency } from "../base/merkle.ts";
import { openCheckpoint, type SignedCheckpoint } from "../format/checkpoint.ts";
import {
  encodeNote,
  parseNote,
  signatureLine,
  type NoteKey,
  type NoteSignature,
} from "../format/note.ts";
import type { AddCheckpoint } from "./add-checkpoint.ts";

/** The newest tree that was cosigned, as it is on disk. Size 0 and time 0: none was. */
export interface Cosigned {
  readonly size: number;
  readonly root: Buffer;
  /** When, in seconds; later cosignatures have no earlier time. */
  readonly time: number;
}

export interface Submission {
  /** The caller's name for it; comes back with the reply. */
  readonly id: number;
  readonly request: AddCheckpoint;
}

interface UnderWay {
  readonly id: number;
  readonly checkpoint: SignedCheckpoint;
  /** Null until the entries are here. */
  readonly cosigned: { readonly time: number; readonly signature: NoteSignature } | null;
}

export interface WitnessState {
  readonly latest: Cosigned;
  readonly underWay: UnderWay | null;
  readonly waiting: readonly Submission[];
}

export type WitnessEvent =
  | { readonly kind: "submit"; readonly submission: Submission }
  /** Entries of the tree under way are here; the root that they and those before them hash to. */
  | { readonly kind: "mirrored"; readonly root: Buffer; readonly nowS: number }
  /** They could not be had (503), or may not be cosigned (422). */
  | { readonly kind: "not-mirrored"; readonly status: 422 | 503; readonly why: string }
  | { readonly kind: "persisted" };

export interface Reply {
  readonly status: 200 | 400 | 403 | 404 | 409 | 413 | 422 | 503;
  readonly type: string;
  readonly body: string;
}

export type WitnessEffect =
  | { readonly kind: "reply"; readonly id: number; readonly reply: Reply }
  /** Fetch the entries [from, to) and hold them aside; answer with `mirrored` or `not-mirrored`. */
  | { readonly kind: "mirror"; readonly from: number; readonly to: number }
  /** Forget the entries held aside. */
  | { readonly kind: "drop" }
  /** Entries held aside and this note durable, in that order; answer with `persisted`, or stop for good. */
  | { readonly kind: "persist"; readonly note: Buffer; readonly size: number }
  /** Somebody with the log's key signed what cannot be: evidence, for people. */
  | { readonly kind: "suspect"; readonly why: string; readonly note: Buffer };

export interface WitnessContext {
  readonly log: NoteKey;
  /** Ed25519 is deterministic: the same text and time give the same signature. */
  readonly cosign: (text: string, timeS: number) => NoteSignature;
}

/** Submissions that may wait for the one under way. */
const waitingMax = 16;

const plain = "text/plain; charset=utf-8";

function refuse(status: Reply["status"], why: string): Reply {
  return { status, type: plain, body: `${why}\n` };
}

export function newWitness(latest: Cosigned): WitnessState {
  return { latest, underWay: null, waiting: [] };
}

/** Nothing was cosigned yet. */
export const nothingCosigned: Cosigned = { size: 0, root: emptyRoot, time: 0 };

type Judged =
  | { readonly kind: "good"; readonly checkpoint: SignedCheckpoint }
  | { readonly kind: "refused"; readonly reply: Reply; readonly suspect: boolean };

function refused(status: Reply["status"], why: string, suspect = false): Judged {
  return { kind: "refused", reply: refuse(status, why), suspect };
}

/** 422: the checkpoint does not follow from the newest tree cosigned; null when it does. */
function inconsistency(
  latest: Cosigned,
  { proof }: AddCheckpoint,
  next: SignedCheckpoint,
): string | null {
  if (next.size === 0 && !next.root.equals(emptyRoot)) return "an empty tree has another root";
  if (latest.size === 0) return proof.length === 0 ? null : "a proof from an empty tree is empty";
  try {
    verifyConsistency(latest.size, next.size, proof, latest.root, next.root);
    return null;
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return error.message;
  }
}

function judge(context: WitnessContext, latest: Cosigned, request: AddCheckpoint): Judged {
  let checkpoint: SignedCheckpoint;
  try {
    checkpoint = openCheckpoint(request.note, context.log);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    const unsigned = error.code === "checkpoint.unsigned" || error.code === "note.signature";
    return refused(unsigned ? 403 : 400, error.message);
  }
  if (request.old > checkpoint.size) return refused(400, "the old size exceeds the new one");
  if (request.old !== latest.size) {
    const reply: Reply = { status: 409, type: "text/x.tlog.size", body: `${latest.size}\n` };
    return { kind: "refused", reply, suspect: false };
  }
  const why = inconsistency(latest, request, checkpoint);
  // Two signed trees of one size with different roots prove a fork; a bad proof alone may be the publisher's.
  const forked = checkpoint.size === latest.size && !checkpoint.root.equals(latest.root);
  if (why !== null) return refused(422, why, forked);
  return { kind: "good", checkpoint };
}

interface Step {
  readonly state: WitnessState;
  readonly effects: readonly WitnessEffect[];
}

/** Takes submissions that wait until one is under way. */
function next(context: WitnessContext, from: WitnessState, effects: WitnessEffect[]): Step {
  let { waiting } = from;
  for (const submission of waiting) {
    waiting = waiting.slice(1);
    const judged = judge(context, from.latest, submission.request);
    if (judged.kind === "good") {
      const { checkpoint } = judged;
      effects.push({ kind: "mirror", from: from.latest.size, to: checkpoint.size });
      const underWay: UnderWay = { id: submission.id, checkpoint, cosigned: null };
      return { state: { ...from, underWay, waiting }, effects };
    }
    const { reply, suspect } = judged;
    if (suspect)
      effects.push({ kind: "suspect", why: reply.body.trim(), note: submission.request.note });
    effects.push({ kind: "reply", id: submission.id, reply });
  }
  return { state: { ...from, underWay: null, waiting }, effects };
}

/** The submission under way ends in a refusal; the next one is taken. */
function giveUp(context: WitnessContext, state: WitnessState, under: UnderWay, reply: Reply): Step {
  const effects: WitnessEffect[] = [{ kind: "drop" }, { kind: "reply", id: under.id, reply }];
  return next(context, { ...state, underWay: null }, effects);
}

function onMirrored(
  context: WitnessContext,
  state: WitnessState,
  under: UnderWay,
  event: { readonly root: Buffer; readonly nowS: number },
): Step {
  const { checkpoint } = under;
  if (!event.root.equals(checkpoint.root)) {
    const why = "the entries that the log's publisher serves do not hash to this root";
    return giveUp(context, state, under, refuse(422, why));
  }
  // A clock that was put back never makes a cosignature look older than one that exists.
  const time = Math.max(1, event.nowS, state.latest.time);
  const signature = context.cosign(checkpoint.note.text, time);
  const signatures = [...checkpoint.note.signatures, signature];
  const note = encodeNote({ text: checkpoint.note.text, signatures });
  return {
    state: { ...state, underWay: { ...under, cosigned: { time, signature } } },
    effects: [{ kind: "persist", note, size: checkpoint.size }],
  };
}

function onPersisted(context: WitnessContext, state: WitnessState, under: UnderWay): Step {
  const { cosigned, checkpoint, id } = under;
  if (cosigned === null) return { state, effects: [] };
  const { size, root } = checkpoint;
  const reply: Reply = { status: 200, type: plain, body: signatureLine(cosigned.signature) };
  const latest = { size, root, time: cosigned.time };
  return next(context, { ...state, latest, underWay: null }, [{ kind: "reply", id, reply }]);
}

/** One step. Events that do not fit the state change nothing. */
export function stepWitness(
  context: WitnessContext,
  state: WitnessState,
  event: WitnessEvent,
): Step {
  if (event.kind === "submit") {
    const { submission } = event;
    if (state.waiting.length >= waitingMax) {
      const reply = refuse(503, "too many submissions wait");
      return { state, effects: [{ kind: "reply", id: submission.id, reply }] };
    }
    const queued = { ...state, waiting: [...state.waiting, submission] };
    return state.underWay === null ? next(context, queued, []) : { state: queued, effects: [] };
  }
  const under = state.underWay;
  if (under === null || (event.kind === "persisted") !== (under.cosigned !== null)) {
    return { state, effects: [] };
  }
  switch (event.kind) {
    case "mirrored":
      return onMirrored(context, state, under, event);
    case "not-mirrored":
      return giveUp(context, state, under, refuse(event.status, event.why));
    case "persisted":
      return onPersisted(context, state, under);
  }
}

/** The origin that a submitted note claims, to find its log by. Throws InvalidError when there is no first line. */
export function originOf(note: Buffer): string {
  const [origin = ""] = parseNote(note).text.split("\n");
  return origin;
}
