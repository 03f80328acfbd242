/**
 * The router's end of one gateway: what it last said of itself, the requests it holds, and the
 * frames both ways. A frame that breaks the protocol throws InvalidError, which drops the link.
 */
import { assert, InvalidError } from "../base/assert.ts";
import { Writer } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { frameType, type Frame } from "../format/link.ts";
import { writeInput, type Input } from "../format/pair.ts";
import {
  decodeAbort,
  decodeAdmitted,
  decodeOutputPart,
  decodeRefused,
  decodeState,
  type Abort,
  type GatewayState,
  type OutputPart,
  type Refusal,
} from "../format/router-link.ts";
import type { Tag } from "../format/tag.ts";
import type { Wire } from "../format/wire.ts";
import type { Soon } from "./http.port.ts";
import type { Candidate } from "./route.ts";

/** One request at one gateway. Exactly one of onRefused, onAbort and a final onOutput ends it. */
export interface Call {
  readonly input: Input;
  onAdmitted(tag: Tag): void;
  onRefused(code: Refusal, detail: string): void;
  onOutput(part: OutputPart): void;
  onAbort(code: Abort): void;
}

interface Slot {
  readonly call: Call;
  admitted: boolean;
  textBytes: number;
}

/** What the link tells its owner. */
export interface LinkOwner {
  /** State, room or draining changed. */
  onChange(link: GatewayLink): void;
  onDrainAsk(link: GatewayLink): void;
}

/** Beyond this much unsent, a gateway reads too slowly to be given more. */
const backlogMax = 2 * limits.framePayload;

/** A batch that once was larger does not keep its memory. */
const spareMax = 1_048_576;

export class GatewayLink implements Candidate {
  readonly name: string;
  readonly #owner: LinkOwner;
  readonly #soon: Soon;
  readonly #slots = new Map<number, Slot>();
  #wire: Wire | null = null;
  #state: GatewayState | null = null;
  #nextId = 1;
  /** Requests of other routers at this gateway, as of its last STATE. */
  #others = 0;
  /** It refused since its last STATE: it knows better than that STATE. */
  #refusing = false;
  /** It asked to drain; granted: it may start, so that no more is sent to it. */
  drain: "none" | "asked" | "granted" = "none";
  /** Rises each time the gateway begins to serve: a server started afresh is another server. */
  generation = 0;
  lastHeardMs = 0;
  /** Frames of this turn, sent in one write at its end. */
  #batch: Writer | null = null;
  /** Memory for the next batch: that of one which the kernel has taken. */
  #spare: Writer | null = null;
  readonly #flush = (): void => {
    const batch = this.#batch;
    this.#batch = null;
    if (batch === null) return;
    this.#wire?.sendRaw(batch.bytes(), () => {
      if (batch.length > spareMax) return;
      batch.reset();
      this.#spare = batch;
    });
  };

  constructor(name: string, owner: LinkOwner, soon: Soon) {
    this.name = name;
    this.#owner = owner;
    this.#soon = soon;
  }

  get connected(): boolean {
    return this.#wire !== null;
  }

  get modelId(): string | null {
    return this.#state?.modelId ?? null;
  }

  get state(): GatewayState | null {
    return this.#state;
  }

  get inflight(): number {
    return this.#slots.size;
  }

  get load(): number {
    return (this.#others + this.#slots.size) / Math.max(1, this.#state?.capacity ?? 0);
  }

  get quarantined(): boolean {
    return this.#state?.quarantined === true;
  }

  get accepting(): boolean {
    if (this.#wire === null || this.#state?.accepting !== true) return false;
    if (this.#refusing || this.drain === "granted") return false;
    return this.load < 1 && this.#wire.backlog < backlogMax;
  }

  /** Takes over a new connection. Closing it ends every call with ABORT `server-lost`. */
  attach(wire: Wire, nowMs: () => number): void {
    assert(this.#wire === null, "a gateway has one link");
    this.#wire = wire;
    this.lastHeardMs = nowMs();
    wire.onClose(() => {
      this.#lost();
    });
    wire.onFrame((frame) => {
      this.lastHeardMs = nowMs();
      this.#receive(frame);
    });
  }

  drop(reason: string): void {
    this.#wire?.close(reason);
  }

  #lost(): void {
    this.#wire = null;
    this.#state = null;
    this.#batch = null;
    this.drain = "none";
    const lost = [...this.#slots.values()];
    this.#slots.clear();
    this.#owner.onChange(this);
    for (const slot of lost) slot.call.onAbort("server-lost");
  }

  /** Sends INPUT; returns the call's number on this link. */
  send(call: Call): number {
    const id = this.#nextId++;
    this.#slots.set(id, { call, admitted: false, textBytes: 0 });
    const batch = this.#frames();
    const at = batch.length;
    batch
      .u32(0)
      .u32(frameType.input * 0x1000000)
      .u64(BigInt(id));
    const start = batch.length;
    writeInput(batch, call.input);
    batch.patchU32(at, batch.length - start);
    return id;
  }

  /** Sends WITHDRAW: the client left. The call hears nothing more. */
  withdraw(id: number): void {
    if (!this.#slots.delete(id)) return;
    this.#frames()
      .u32(0)
      .u32(frameType.withdraw * 0x1000000)
      .u64(BigInt(id));
    this.#owner.onChange(this);
  }

  /** Answers DRAIN_ASK: others serve the model, the gateway may drain now. */
  grantDrain(): void {
    this.drain = "granted";
    this.#frames()
      .u32(0)
      .u32(frameType.drainGrant * 0x1000000)
      .u64(0n);
  }

  #frames(): Writer {
    if (this.#batch === null) {
      this.#batch = this.#spare ?? new Writer(4096);
      this.#spare = null;
      this.#soon(this.#flush);
    }
    return this.#batch;
  }

  #receive(frame: Frame): void {
    switch (frame.type) {
      case frameType.output:
        this.#output(frame);
        return;
      case frameType.admitted:
        this.#admitted(frame);
        return;
      case frameType.refused:
        this.#refused(frame);
        return;
      case frameType.abort:
        this.#abort(frame);
        return;
      case frameType.state:
        this.#learn(decodeState(frame.payload));
        return;
      case frameType.drainAsk:
        if (this.drain === "none") this.drain = "asked";
        this.#owner.onDrainAsk(this);
        return;
      case frameType.ping:
        this.#wire?.send(frameType.pong, frame.id, frame.payload);
        return;
      case frameType.pong:
        return;
      default:
        throw new InvalidError("router.frame", `a gateway sent a frame of type ${frame.type}`);
    }
  }

  /** Unknown numbers are calls that were withdrawn: what still comes for them is ignored. */
  #slot(frame: Frame): Slot | undefined {
    return this.#slots.get(Number(frame.id));
  }

  #output(frame: Frame): void {
    const slot = this.#slot(frame);
    if (slot === undefined) return;
    if (!slot.admitted) throw new InvalidError("router.output", "OUTPUT came before ADMITTED");
    slot.textBytes += frame.payload.length;
    if (slot.textBytes > 8 * limits.outputText) {
      throw new InvalidError("router.output", "an output is longer than any may be");
    }
    const part = decodeOutputPart(frame.payload);
    if (part.final !== null) this.#slots.delete(Number(frame.id));
    slot.call.onOutput(part);
    if (part.final !== null) this.#owner.onChange(this);
  }

  #admitted(frame: Frame): void {
    const tag = decodeAdmitted(frame.payload);
    const slot = this.#slot(frame);
    if (slot === undefined) return;
    if (slot.admitted) throw new InvalidError("router.admitted", "ADMITTED came twice");
    slot.admitted = true;
    slot.call.onAdmitted(tag);
  }

  #refused(frame: Frame): void {
    const { code, detail } = decodeRefused(frame.payload);
    const slot = this.#slot(frame);
    if (slot?.admitted === true) {
      throw new InvalidError("router.refused", "REFUSED came after ADMITTED");
    }
    const request = code === "parameters" || code === "invalid";
    if (!request) this.#refusing = true;
    this.#slots.delete(Number(frame.id));
    slot?.call.onRefused(code, detail);
    this.#owner.onChange(this);
  }

  #abort(frame: Frame): void {
    const code = decodeAbort(frame.payload);
    const slot = this.#slot(frame);
    this.#slots.delete(Number(frame.id));
    slot?.call.onAbort(code);
    this.#owner.onChange(this);
  }

  #learn(state: GatewayState): void {
    if (state.gateway !== this.name) {
      throw new InvalidError("router.state", `${this.name} calls itself "${state.gateway}"`);
    }
    const before = this.#state?.mode;
    this.#state = state;
    this.#refusing = false;
    this.#others = Math.max(0, state.inflight - this.#slots.size);
    if (state.mode === "SERVING" && before !== "SERVING") this.generation++;
    // A drain ends with the power cycle it was for; merely being full ends none.
    if (state.mode !== "SERVING") this.drain = "none";
    this.#owner.onChange(this);
  }
}
