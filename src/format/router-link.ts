/** Payloads between the router and a gateway, spec/link.md section 4. INPUT carries a bare Input. */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { finishReasons, type FinishReason } from "./pair.ts";
import { asTag, type Tag } from "./tag.ts";

export const modes = ["OFF", "UPLOAD", "SERVING", "KILLED"] as const;
export type Mode = (typeof modes)[number];

/** STATE, gateway -> router: sent on every change and once a second. */
export interface GatewayState {
  readonly gateway: string;
  readonly modelId: string;
  readonly mode: Mode;
  /** SERVING, engine ready, not draining, not full: the router may send INPUT. */
  readonly accepting: boolean;
  readonly halted: boolean;
  /** Each reply waits for its verdict: another gateway is to be asked first. */
  readonly quarantined: boolean;
  readonly inflight: number;
  readonly capacity: number;
}

export function encodeState(state: GatewayState): Buffer {
  const { accepting, halted, quarantined } = state;
  const flags = (accepting ? 1 : 0) | (halted ? 2 : 0) | (quarantined ? 4 : 0);
  const out = new Writer();
  out.text(state.gateway).text(state.modelId).u8(modes.indexOf(state.mode)).u8(flags);
  return out.u32(state.inflight).u32(state.capacity).bytes();
}

export function decodeState(bytes: Uint8Array): GatewayState {
  const from = new Reader(bytes, "state");
  const gateway = from.text(limits.name);
  const modelId = from.text(limits.name);
  const mode = modes[from.u8()];
  const flags = from.u8();
  const inflight = from.u32();
  const capacity = from.u32();
  from.end();
  if (mode === undefined || flags > 7) throw new InvalidError("state.mode", "unknown mode");
  const accepting = (flags & 1) !== 0;
  const halted = (flags & 2) !== 0;
  const quarantined = (flags & 4) !== 0;
  return { gateway, modelId, mode, accepting, halted, quarantined, inflight, capacity };
}

/** ADMITTED, gateway -> router: the pair has its tag. */
export function encodeAdmitted(tag: Tag): Buffer {
  return new Writer(8).u64(tag).bytes();
}

export function decodeAdmitted(bytes: Uint8Array): Tag {
  const from = new Reader(bytes, "admitted");
  const tag = asTag(from.u64());
  from.end();
  return tag;
}

/**
 * REFUSED: nothing happened, the router may try another gateway for the first three.
 * ABORT: the pair has a tag and failed; after output was shown it must not be retried.
 */
export const refusals = [
  "not-serving",
  "draining",
  "full",
  "model",
  "parameters",
  "invalid",
] as const;
export type Refusal = (typeof refusals)[number];

export const aborts = [
  "server-lost",
  "server-misbehaved",
  "deadline",
  "prompt-too-long",
  "overloaded",
  "template",
  "internal",
] as const;
export type Abort = (typeof aborts)[number];

/** A refusal for `parameters` names the parameter in `detail`; otherwise `detail` is "". */
export function encodeRefused(code: Refusal, detail = ""): Buffer {
  return new Writer(64).u8(refusals.indexOf(code)).text(detail).bytes();
}

export function decodeRefused(bytes: Uint8Array): { code: Refusal; detail: string } {
  const from = new Reader(bytes, "refused");
  const code = refusals[from.u8()];
  const detail = from.text(1024);
  from.end();
  if (code === undefined) throw new InvalidError("refused.code", "unknown refusal");
  return { code, detail };
}

export function encodeAbort(code: Abort): Buffer {
  return new Writer(1).u8(aborts.indexOf(code)).bytes();
}

export function decodeAbort(bytes: Uint8Array): Abort {
  const from = new Reader(bytes, "abort");
  const code = aborts[from.u8()];
  from.end();
  if (code === undefined) throw new InvalidError("abort.code", "unknown abort");
  return code;
}

/**
 * OUTPUT, gateway -> router: what one release tick lets out of a pair. The last one carries
 * `final`. Token ids stay inside the site: clients get text and counts.
 */
export interface OutputPart {
  readonly text: string;
  readonly final: { finish: FinishReason; promptTokens: number; completionTokens: number } | null;
}

export function writeOutputPart(out: Writer, part: OutputPart): void {
  out.text(part.text);
  writeFinal(out, part.final);
}

/** The same from text that is valid UTF-8 already. */
export function writeRawOutputPart(
  out: Writer,
  text: Uint8Array,
  final: OutputPart["final"],
): void {
  out.blob(text);
  writeFinal(out, final);
}

function writeFinal(out: Writer, final: OutputPart["final"]): void {
  if (final === null) {
    out.u8(0);
    return;
  }
  out.u8(1 + finishReasons.indexOf(final.finish));
  out.u32(final.promptTokens).u32(final.completionTokens);
}

export function decodeOutputPart(bytes: Uint8Array): OutputPart {
  const from = new Reader(bytes, "output");
  const text = from.text(limits.outputText);
  const flag = from.u8();
  if (flag === 0) {
    from.end();
    return { text, final: null };
  }
  const finish = finishReasons[flag - 1];
  const promptTokens = from.u32();
  const completionTokens = from.u32();
  from.end();
  if (finish === undefined) throw new InvalidError("output.finish", "unknown finish reason");
  return { text, final: { finish, promptTokens, completionTokens } };
}
