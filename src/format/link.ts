/**
 * The framed link protocol, spec/link.md. Pure: bytes in, frames out.
 *
 *   u32 payload length | u8 type | u8 zero | u16 zero | u64 id | payload
 *
 * One decoder serves every link; which frames a peer may send is the receiver's business
 * (`expectFrames`). Nothing here interprets a payload.
 */
import { assert, InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";

export const frameHeaderBytes = 16;

/** Frame types. Numbers are never reused. */
export const frameType = {
  // any link
  hello: 0x01,
  ping: 0x02,
  pong: 0x03,
  // gateway <-> server; id = tag (LOAD_CHUNK: chunk index)
  loadBegin: 0x10,
  loadChunk: 0x11,
  loadEnd: 0x12,
  loadReady: 0x13,
  eraseBegin: 0x14,
  eraseData: 0x15,
  eraseKey: 0x16,
  eraseMac: 0x17,
  generate: 0x20,
  prompt: 0x21,
  tokens: 0x22,
  end: 0x23,
  cancel: 0x24,
  failed: 0x25,
  // router <-> gateway; id = the router's request number
  state: 0x30,
  input: 0x31,
  admitted: 0x32,
  refused: 0x33,
  output: 0x34,
  abort: 0x35,
  withdraw: 0x36,
  drainAsk: 0x37,
  drainGrant: 0x38,
  // gateway <-> depot; id = chunk index
  fetch: 0x40,
  offer: 0x41,
  chunk: 0x42,
  done: 0x43,
  none: 0x44,
  // gateway <-> recomputer; id = tag
  epoch: 0x50,
  proofRequest: 0x51,
  verdict: 0x52,
  order: 0x53,
  orderResult: 0x54,
  heartbeat: 0x55,
  carriers: 0x56,
  // observer or operator <-> any role
  watch: 0x60,
  status: 0x61,
  receiptAsk: 0x62,
  receipt: 0x63,
  verdictAsk: 0x64,
  verdictInfo: 0x65,
  // gateway <-> publisher; LOG_ASK and LOG_LEAVES also recomputer <-> gateway
  logWatch: 0x66,
  logCheckpoint: 0x67,
  logAsk: 0x68,
  logLeaves: 0x69,
  logCosigned: 0x6a,
  // gateway <-> publisher, which carries them to and from the parties' witnesses; id = round
  drawOpen: 0x6b,
  drawCommit: 0x6c,
  drawLogged: 0x6d,
  drawSecret: 0x6e,
  // recomputer <-> executor; id = slot (STEP: the step's number)
  slotReady: 0x70,
  slotOpen: 0x71,
  slotStep: 0x72,
  slotCandidates: 0x73,
  slotClose: 0x74,
} as const;

export type FrameType = (typeof frameType)[keyof typeof frameType];

export interface Frame {
  readonly type: number;
  readonly id: bigint;
  /** A view into the receive buffer: copy what must outlive the handler. */
  readonly payload: Buffer;
}

const empty = Buffer.alloc(0);

/** Encodes header and payload into one buffer. */
export function encodeFrame(type: FrameType, id: bigint, payload: Uint8Array = empty): Buffer {
  const frame = Buffer.allocUnsafe(frameHeaderBytes + payload.length);
  writeFrameHeader(frame, 0, type, id, payload.length);
  frame.set(payload, frameHeaderBytes);
  return frame;
}

/** Writes only the header, for senders that lay the payload out in place. */
export function writeFrameHeader(
  target: Buffer,
  at: number,
  type: FrameType,
  id: bigint,
  payloadLength: number,
): void {
  target.writeUInt32BE(payloadLength, at);
  target.writeUInt32BE(type << 24, at + 4);
  target.writeBigUInt64BE(id, at + 8);
}

/** Where a frame's payload shall lie: `length` bytes, and nobody else's until their taker says so. */
export type PayloadMemory = (length: number) => Buffer;

/**
 * Cuts a byte stream into frames. Memory is bounded by one frame: bytes of complete frames are
 * handed on before more is kept. Throws InvalidError `link.*` at the first malformed header.
 *
 * Bytes come in by `push`, or without a copy: read into `space`, then say by `advance` how many.
 */
export class FrameDecoder {
  /** When set, every payload is laid into memory that this gives; else into what fits best. */
  memory: PayloadMemory | null = null;
  readonly #header = Buffer.alloc(frameHeaderBytes);
  readonly #payloadMax: number;
  /** Bytes present of the part that is being filled: the payload if there is one, or the header. */
  #filled = 0;
  #payload: Buffer | null = null;

  constructor(payloadMax: number = limits.framePayload) {
    this.#payloadMax = payloadMax;
  }

  /** Feeds bytes; calls `onFrame` for each frame that they complete, in order. */
  push(bytes: Buffer, onFrame: (frame: Frame) => void): void {
    for (let rest = bytes; rest.length > 0;) {
      const whole = this.idle && this.memory === null ? this.#wholeFrame(rest) : 0;
      if (whole > 0) {
        // Not copied: a view into the bytes that came.
        const payload = rest.subarray(frameHeaderBytes, whole);
        const frame = { type: rest.readUInt8(4), id: rest.readBigUInt64BE(8), payload };
        rest = rest.subarray(whole);
        onFrame(frame);
      } else {
        const taken = rest.copy(this.space());
        rest = rest.subarray(taken);
        this.advance(taken, onFrame);
      }
    }
  }

  /** Where the next bytes of the stream belong; never empty. They count once `advance` is told. */
  space(): Buffer {
    return (this.#payload ?? this.#header).subarray(this.#filled);
  }

  /** The first `length` bytes of `space` are there now. Calls `onFrame` if they complete a frame. */
  advance(length: number, onFrame: (frame: Frame) => void): void {
    this.#filled += length;
    if (this.#payload === null) {
      if (this.#filled < frameHeaderBytes) return;
      this.#filled = 0;
      const wanted = this.#payloadLength(this.#header);
      this.#payload = this.memory === null ? Buffer.allocUnsafe(wanted) : this.memory(wanted);
      assert(this.#payload.length === wanted, "the payload's memory has the payload's length");
    }
    const payload = this.#payload;
    if (this.#filled < payload.length) return;
    this.#payload = null;
    this.#filled = 0;
    onFrame({ type: this.#header.readUInt8(4), id: this.#header.readBigUInt64BE(8), payload });
  }

  /** Whether the stream stands between two frames: anything else at its end is a cut frame. */
  get idle(): boolean {
    return this.#payload === null && this.#filled === 0;
  }

  /** Length of the frame at the start of `bytes` with its header, or 0 when it is not all there. */
  #wholeFrame(bytes: Buffer): number {
    if (bytes.length < frameHeaderBytes) return 0;
    const length = frameHeaderBytes + this.#payloadLength(bytes);
    return length <= bytes.length ? length : 0;
  }

  #payloadLength(header: Buffer): number {
    const length = header.readUInt32BE(0);
    if (length > this.#payloadMax) {
      throw new InvalidError("link.too-long", `a frame of ${length} bytes exceeds the limit`);
    }
    if ((header.readUInt32BE(4) & 0x00ffffff) !== 0) {
      throw new InvalidError("link.reserved", "reserved header bytes are not zero");
    }
    return length;
  }
}
