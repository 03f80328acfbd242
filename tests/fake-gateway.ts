/**
 * A gateway for tests of the router: speaks the real frames over an in-process socket pair and
 * answers with canned text. It runs no model and records nothing.
 */
import { duplexPair } from "node:stream";
import { wireOver } from "../src/adapter/link.ts";
import { UnavailableError } from "../src/base/assert.ts";
import { Writer } from "../src/base/bytes.ts";
import type { Logger } from "../src/base/report.ts";
import { frameType, type Frame, type FrameType } from "../src/format/link.ts";
import { decodeInput, type FinishReason, type Input } from "../src/format/pair.ts";
import {
  encodeAbort,
  encodeAdmitted,
  encodeRefused,
  encodeState,
  writeOutputPart,
  type Abort,
  type GatewayState,
  type OutputPart,
  type Refusal,
} from "../src/format/router-link.ts";
import { makeTag } from "../src/format/tag.ts";
import type { Whitelist } from "../src/format/whitelist.ts";
import type { Wire } from "../src/format/wire.ts";

export const silent: Logger = { log: () => undefined };

export const demoModel = "weir-demo";

/** A parsed whitelist of one model, as openWhitelist would give it. */
export const demoWhitelist: Whitelist = {
  version: 1,
  rootVersion: 1,
  expiresMs: 8e15,
  digest: Buffer.alloc(32, 0xcd),
  signed: { a: [], b: [] },
  entries: [
    {
      modelId: demoModel,
      weights: { sizeBytes: 4096, chunkBytes: 4096, root: Buffer.alloc(32, 1) },
      tokenizerDigest: Buffer.alloc(32, 2),
      templateDigest: Buffer.alloc(32, 3),
      engine: "none",
      engineBuild: Buffer.alloc(32, 4),
      noiseLaw: "gumbel-philox/1",
      generation: {
        temperatureMax: 2,
        topPMin: 0,
        topKMax: 64,
        maxTokens: 512,
        contextTokens: 1024,
      },
      profile: Buffer.alloc(32, 4),
      digest: Buffer.alloc(32, 0xab),
    },
  ],
};

/** One pair at the fake gateway. */
export class FakeCall {
  readonly input: Input;
  readonly withdrawn: Promise<void>;
  isWithdrawn = false;
  readonly #id: bigint;
  readonly #gateway: FakeGateway;
  readonly #withdraw: () => void;

  constructor(gateway: FakeGateway, frame: Frame) {
    this.#gateway = gateway;
    this.#id = frame.id;
    this.input = decodeInput(frame.payload);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.withdrawn = promise;
    this.#withdraw = (): void => {
      this.isWithdrawn = true;
      resolve(undefined);
    };
  }

  get lastText(): string {
    const { prompt } = this.input;
    return prompt.kind === "text" ? prompt.text : (prompt.messages.at(-1)?.content ?? "");
  }

  onWithdraw(): void {
    this.#withdraw();
  }

  admit(): this {
    this.#gateway.admitted++;
    this.#gateway.send(
      frameType.admitted,
      this.#id,
      encodeAdmitted(makeTag(1, this.#gateway.admitted)),
    );
    return this;
  }

  part(part: OutputPart): this {
    const out = new Writer();
    writeOutputPart(out, part);
    this.#gateway.send(frameType.output, this.#id, out.bytes());
    return this;
  }

  text(text: string): this {
    return this.part({ text, final: null });
  }

  finish(finish: FinishReason = "stop", promptTokens = 5, completionTokens = 3): void {
    this.#gateway.ended(this.#id);
    this.part({ text: "", final: { finish, promptTokens, completionTokens } });
  }

  abort(code: Abort): void {
    this.#gateway.ended(this.#id);
    this.#gateway.send(frameType.abort, this.#id, encodeAbort(code));
  }

  refuse(code: Refusal, detail = ""): void {
    this.#gateway.ended(this.#id);
    this.#gateway.send(frameType.refused, this.#id, encodeRefused(code, detail));
  }
}

/** Says "Hello there." in three parts, whatever it is asked. */
export function sayHello(call: FakeCall): void {
  call.admit().text("Hel").text("lo the").text("re.").finish();
}

export class FakeGateway {
  readonly name: string;
  state: GatewayState;
  /** What it does with a request. */
  behave: (call: FakeCall) => void = sayHello;
  admitted = 0;
  dials = 0;
  /** While false, dialling fails. */
  reachable = true;
  readonly calls: FakeCall[] = [];
  /** Frames of other types that the router sent. */
  readonly frames: number[] = [];
  readonly #open = new Map<bigint, FakeCall>();
  #wire: Wire | null = null;
  #wake: (() => void)[] = [];

  constructor(name: string, modelId = demoModel) {
    this.name = name;
    this.state = {
      gateway: name,
      modelId,
      mode: "SERVING",
      accepting: true,
      halted: false,
      quarantined: false,
      inflight: 0,
      capacity: 10_000,
    };
  }

  dial(): Promise<Wire> {
    this.dials++;
    if (!this.reachable) {
      return Promise.reject(new UnavailableError("tls.dial", "not reachable", "none"));
    }
    const [near, far] = duplexPair();
    const wire = wireOver(near, { role: "router", name: "r1" });
    this.#wire = wire;
    wire.onFrame((frame) => {
      this.#receive(frame);
    });
    this.announce({});
    return Promise.resolve(wireOver(far, { role: "gateway", name: this.name }));
  }

  #receive(frame: Frame): void {
    if (frame.type === frameType.input) {
      const call = new FakeCall(this, frame);
      this.calls.push(call);
      this.#open.set(frame.id, call);
      this.behave(call);
    } else if (frame.type === frameType.withdraw) {
      this.#open.get(frame.id)?.onWithdraw();
      this.#open.delete(frame.id);
    } else this.frames.push(frame.type);
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }

  /** Waits until `condition` holds, looking again after each frame from the router. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  announce(change: Partial<GatewayState>): void {
    this.state = { ...this.state, ...change };
    this.send(frameType.state, 0n, encodeState(this.state));
  }

  send(type: FrameType, id: bigint, payload?: Uint8Array): void {
    this.#wire?.send(type, id, payload);
  }

  sendRaw(bytes: Uint8Array): void {
    this.#wire?.sendRaw(bytes);
  }

  ended(id: bigint): void {
    this.#open.delete(id);
  }

  get open(): number {
    return this.#open.size;
  }

  dropLink(): void {
    this.#wire?.close("dropped by the test");
  }
}
