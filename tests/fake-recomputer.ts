/** For tests of the recomputer: a small made-up model, honest and dishonest servers of it, fake time and wires. */
import { ladderFor } from "../src/alarm/ladder.ts";
import type { Clock, Timer } from "../src/base/clock.ts";
import { secretKey } from "../src/base/hash.ts";
import type { Logger } from "../src/base/report.ts";
import {
  encodeLeaf,
  inputDigestOf,
  outputDigestOf,
  saltOf,
  type Leaf,
} from "../src/format/leaf.ts";
import type { Frame, FrameType } from "../src/format/link.ts";
import { drawToken, noiseLaw, philox4x32, seedOf, type Candidates } from "../src/format/noise.ts";
import { expectedOutput, type Speller } from "../src/format/output-rules.ts";
import { encodeInput, encodeOutput, type Input, type Output } from "../src/format/pair.ts";
import { defaultPolicy, type Ladder, type Policy } from "../src/format/policy.ts";
import type { ProfileFile } from "../src/format/profile.ts";
import { encodeProofRequest, type ProofRequest } from "../src/format/proof-request.ts";
import type { Tag } from "../src/format/tag.ts";
import type { WhitelistEntry } from "../src/format/whitelist.ts";
import type { Wire } from "../src/format/wire.ts";
import type { ReplayEngine } from "../src/recomputer/engine.port.ts";
import { fleetBudget } from "../src/verification/fleet.ts";
import { testProfile } from "./support.ts";

const vocabulary = 96;
export const endId = 0;

export const entry: WhitelistEntry = {
  modelId: "made-up",
  weights: { sizeBytes: 4096, chunkBytes: 4096, root: Buffer.alloc(32, 1) },
  tokenizerDigest: Buffer.alloc(32, 2),
  templateDigest: Buffer.alloc(32, 3),
  engine: "made-up",
  engineBuild: Buffer.alloc(32, 4),
  noiseLaw,
  generation: { temperatureMax: 2, topPMin: 0.1, topKMax: 40, maxTokens: 200, contextTokens: 300 },
  profile: testProfile.digest,
  digest: Buffer.alloc(32, 4),
};

/** The whole distribution after a prefix: a hash of its last two ids; logits from -6 to 6. */
export function distribution(prefix: readonly number[], noise = 0): Candidates {
  const words = new Uint32Array(4);
  const [last = 1, before = 1] = [prefix.at(-1), prefix.at(-2)];
  const logits: { id: number; logit: number }[] = [];
  for (let id = 0; id < vocabulary; id++) {
    philox4x32(words, id, last, before, prefix.length, 7, 7);
    const rough = ((words[1] ?? 0) / 2 ** 32 - 0.5) * 2 * noise;
    logits.push({ id, logit: ((words[0] ?? 0) / 2 ** 32) * 12 - 6 + rough });
  }
  logits.sort((a, b) => b.logit - a.logit || a.id - b.id);
  return { ids: logits.map(({ id }) => id), logProbs: logits.map(({ logit }) => logit) };
}

export function speller(): Speller {
  return { push: (id) => String.fromCharCode(0x30 + id), end: () => "" };
}

export const promptIds = (text: string): number[] => [1, ...Buffer.from(text).map((b) => b % 90)];

export class FakeEngine implements ReplayEngine {
  readonly entry = entry;
  readonly vocabularySize = vocabulary;
  replays = 0;
  closed = false;
  /** Thrown by the next replays while set. */
  failure: Error | null = null;

  promptIds(prompt: Input["prompt"]): number[] {
    return promptIds(prompt.kind === "text" ? prompt.text : JSON.stringify(prompt.messages));
  }

  spell(ids: ArrayLike<number>): string {
    return Array.from(ids, (id) => speller().push(id)).join("");
  }

  speller(): Speller {
    return speller();
  }

  isEndOfGeneration(id: number): boolean {
    return id === endId;
  }

  async replay(
    prompt: readonly number[],
    output: readonly number[],
    count: number,
  ): Promise<Candidates[]> {
    await Promise.resolve();
    if (this.failure !== null) throw this.failure;
    this.replays++;
    return output.map((_, i) => {
      const { ids, logProbs } = distribution([...prompt, ...output.slice(0, i)]);
      const cut = (list: ArrayLike<number>): number[] => Array.from(list).slice(0, count);
      return { ids: cut(ids), logProbs: cut(logProbs) };
    });
  }

  async close(): Promise<void> {
    await Promise.resolve();
    this.closed = true;
  }
}

export const epochKey = Buffer.alloc(32, 9);

/** How a server may cheat, and what a test may change afterwards. */
export interface Cheat {
  /** Amplitude of noise on its logits. */
  readonly noise?: number;
  /** Draws with this seed instead of the gateway's. */
  readonly drawSeed?: bigint;
  readonly input?: Partial<Input>;
  readonly params?: Partial<Input["params"]>;
  readonly output?: (honest: Output) => Output;
  readonly leaf?: Partial<Leaf>;
  readonly request?: (honest: ProofRequest) => ProofRequest;
}

/** What a gateway sends for one pair of a made-up server: honest but for `cheat`. */
export function proofRequest(tag: Tag, cheat: Cheat = {}): Buffer {
  const seed = seedOf(secretKey(epochKey), tag);
  const params = {
    maxTokens: 60,
    temperature: 1,
    topK: 40,
    topP: 0.95,
    stops: [],
    ...cheat.params,
  };
  const input: Input = {
    ...{ modelId: "made-up", prompt: { kind: "text", text: `pair ${tag}` } },
    ...cheat.input,
    params,
  };
  const prompt = new FakeEngine().promptIds(input.prompt);
  const ids: number[] = [];
  while (ids.length < params.maxTokens && ids.at(-1) !== endId) {
    const all = distribution([...prompt, ...ids], cheat.noise ?? 0);
    ids.push(drawToken(all, params, cheat.drawSeed ?? seed, ids.length));
  }
  const { text, finish } = expectedOutput({
    ...{ ids, speller: speller(), isEnd: (id) => id === endId },
    ...{ stops: params.stops, maxTokens: params.maxTokens },
    ...{ promptTokens: prompt.length, contextTokens: entry.generation.contextTokens },
  });
  const honest = {
    promptIds: Uint32Array.from(prompt),
    tokenIds: Uint32Array.from(ids),
    text,
    finish,
  };
  const output = cheat.output?.(honest) ?? honest;
  const encoded = { input: encodeInput(input), output: encodeOutput(output) };
  const salt = saltOf(secretKey(epochKey), tag);
  const leaf = encodeLeaf({
    ...{ tag, completedMs: 1000, seed, entryDigest: entry.digest },
    inputDigest: inputDigestOf(salt, encoded.input),
    outputDigest: outputDigestOf(salt, encoded.output),
    ...{ finish: output.finish, tokens: output.tokenIds.length },
    ...cheat.leaf,
  });
  const request = { leafIndex: 5n, leaf, ...encoded };
  return encodeProofRequest(cheat.request?.(request) ?? request);
}

/** Time that moves only when told. */
export class FakeClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; periodMs: number | null; action: () => void }[] = [];

  wallMs(): number {
    return 1_000_000 + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  #add(ms: number, periodMs: number | null, action: () => void): Timer {
    const timer = { atMs: this.#nowMs + ms, periodMs, action };
    this.#timers.push(timer);
    return { cancel: () => (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  after(delayMs: number, action: () => void): Timer {
    return this.#add(delayMs, null, action);
  }

  every(periodMs: number, action: () => void): Timer {
    return this.#add(periodMs, periodMs, action);
  }

  /** Moves on, running what becomes due; then lets promises settle. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= untilMs);
      const [next] = due.sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      if (next.periodMs === null) this.#timers = this.#timers.filter((other) => other !== next);
      else next.atMs += next.periodMs;
      next.action();
      await settled();
    }
    this.#nowMs = untilMs;
    await settled();
  }
}

/** Resolves when chains of promises without real waiting have run. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 40; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** The recomputer's end of a link; the test plays the gateway. */
export class FakeWire implements Wire {
  readonly peer: Wire["peer"];
  readonly sent: { type: number; id: bigint; text: string; payload: Buffer }[] = [];
  closed = false;
  paused = false;
  backlog = 0;
  #onFrame: (frame: Frame) => void = () => undefined;
  #onClose: ((reason: string) => void)[] = [];

  constructor(gateway: string) {
    this.peer = { role: "gateway", name: gateway };
  }

  send(type: FrameType, id: bigint, payload: Uint8Array = Buffer.alloc(0)): boolean {
    if (this.closed) return false;
    this.sent.push({
      type,
      id,
      text: Buffer.from(payload).toString(),
      payload: Buffer.from(payload),
    });
    return true;
  }

  sendRaw(): boolean {
    throw new Error("not used");
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  onFrame(handler: (frame: Frame) => void): void {
    this.#onFrame = handler;
  }

  onClose(handler: (reason: string) => void): void {
    this.#onClose.push(handler);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  close(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    for (const handler of this.#onClose) handler(reason);
  }

  /** The gateway sends a frame. */
  receive(type: FrameType, id: bigint, payload: Uint8Array): void {
    this.#onFrame({ type, id, payload: Buffer.from(payload) });
  }

  /** Texts of what was sent with a type. */
  texts(type: FrameType): string[] {
    return this.sent.filter((frame) => frame.type === type).map((frame) => frame.text);
  }
}

/** A policy as a recomputer is given it. */
export function ladderOf(policy: Policy): Ladder {
  return ladderFor(policy, fleetBudget(policy.fleet).logE);
}

export const defaultLadder = ladderOf(defaultPolicy);

const nullOf = (id: string, nullMean: number) => ({ id, nullMean, observed: 0, upper: nullMean });

/** A profile under which two detectors bet. */
export const bettingProfile: ProfileFile = {
  ...testProfile,
  profile: {
    ...testProfile.profile,
    detectors: [nullOf("tail", 0.004), nullOf("gls", 0.004)],
  },
};

export const quiet: Logger = { log: () => undefined };
