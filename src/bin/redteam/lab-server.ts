/**
 * One server of the lab behind the real pair path of a gateway: tags, seeds, admission, pairing, the
 * release tick, leaves and coins are gateway/serve's. What is missing is what surrounds it: links are
 * in memory, storage is (memory-store.ts), and weights are handed over unencrypted and unchecked.
 */
import { duplexPair } from "node:stream";
import { systemClock } from "../../adapter/clock.ts";
import { wireOver } from "../../adapter/link.ts";
import { systemRandom } from "../../adapter/random.ts";
import { UnavailableError } from "../../base/assert.ts";
import { secretKey } from "../../base/hash.ts";
import { randomBytes } from "../../base/random.ts";
import type { Logger } from "../../base/report.ts";
import type { CarrierCounts } from "../../format/carriers.ts";
import { frameType, type Frame } from "../../format/link.ts";
import { encodeInput } from "../../format/pair.ts";
import {
  decodeAbort,
  decodeAdmitted,
  decodeOutputPart,
  decodeRefused,
} from "../../format/router-link.ts";
import { encodeLoadBegin } from "../../format/server-link.ts";
import type { Tag } from "../../format/tag.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { Wire } from "../../format/wire.ts";
import { Sampler } from "../../gateway/sample.ts";
import { PairPath } from "../../gateway/serve.ts";
import type { OutboxItem } from "../../gateway/store.port.ts";
import { Tagger } from "../../gateway/tag.ts";
import type { Ask, Left, LeftPart } from "./left.ts";
import { memoryStore } from "./memory-store.ts";

/** As a site has them. */
const pairDeadlineMs = 120_000;
const chunkBytes = 1_048_576;

/** Runs a server's agent at its end of the link, until the link closes. */
export type AgentProgram = (link: Wire) => void;

export interface LabServerOptions {
  readonly name: string;
  readonly entry: WhitelistEntry;
  readonly weights: Buffer;
  readonly epsilon: number;
  /** How its gateway shapes releases. */
  readonly shaping: Shaping;
  readonly agent: AgentProgram;
  readonly logger: Logger;
  /** A pair was kept by its coin. */
  readonly onKept: (item: OutboxItem) => void;
  /** Kept pairs without a verdict. */
  readonly waiting: () => number;
}

/** See PairPathOptions. */
export interface Shaping {
  readonly tickMs: number;
  readonly wholeReplies: boolean;
}

/** What the gateway said of its server. */
export interface Conduct {
  /** Why its power was cut; "" when it was not. */
  misbehaved: string;
  /** It failed more than half of its last pairs at some time. */
  failing: boolean;
}

interface Waiting {
  readonly ask: Ask;
  readonly sentMs: number;
  readonly parts: LeftPart[];
  tag: Tag | null;
  readonly resolve: (left: Left) => void;
}

function links(name: string): { readonly gateway: Wire; readonly server: Wire } {
  const [near, far] = duplexPair();
  return {
    gateway: wireOver(near, { role: "server", name }),
    server: wireOver(far, { role: "gateway", name }),
  };
}

export class LabServer {
  readonly name: string;
  readonly epochKey: Buffer;
  readonly conduct: Conduct = { misbehaved: "", failing: false };
  readonly #o: LabServerOptions;
  readonly #path: PairPath;
  readonly #sampler: Sampler;
  /** The client's end of a router's link. */
  readonly #client: Wire;
  readonly #router: Wire;
  #server: Wire | null = null;
  /** The server's own end: a link in memory does not close at both. */
  #farEnd: Wire | null = null;
  readonly #waiting = new Map<bigint, Waiting>();
  #next = 0n;

  constructor(options: LabServerOptions) {
    this.#o = options;
    this.name = options.name;
    this.epochKey = randomBytes(systemRandom, 32);
    this.#sampler = new Sampler(options.epsilon, systemRandom);
    const [near, far] = duplexPair();
    this.#client = wireOver(near, { role: "gateway", name: options.name });
    this.#router = wireOver(far, { role: "router", name: "lab" });
    this.#path = new PairPath({
      entry: options.entry,
      store: memoryStore(options.onKept, options.waiting),
      tagger: new Tagger(1, secretKey(this.epochKey)),
      sampler: this.#sampler,
      clock: systemClock,
      logger: options.logger,
      ...{ ...options.shaping, pairDeadlineMs },
      onMisbehaviour: (why) => {
        this.conduct.misbehaved = why;
        this.#cut("server-misbehaved");
      },
      onServerFails: ({ failed, of }) => {
        if (2 * failed > of) this.conduct.failing = true;
      },
      onFatal: (error) => {
        throw error;
      },
      onKept: () => undefined,
    });
    this.#client.onFrame((frame) => {
      this.#heard(frame);
    });
    this.#router.onFrame((frame) => {
      const accepting = this.#server === null ? "not-serving" : "yes";
      this.#path.onInput(this.#router, frame, accepting);
    });
  }

  /** What left beside the tokens, as the gateway counted it. */
  get carriers(): CarrierCounts {
    return this.#path.carriers;
  }

  get tokens(): number {
    return this.#path.counts.tokens;
  }

  /** Hands the weights over; resolves when the server says that it is ready. Rejects when it hangs up. */
  async load(): Promise<void> {
    const { entry, weights, name } = this.#o;
    const { gateway, server } = links(name);
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    gateway.onClose((reason) => {
      reject(
        new UnavailableError("lab.server", `the server of ${name} hung up: ${reason}`, "none"),
      );
      if (this.#server !== gateway) return;
      if (this.conduct.misbehaved === "") this.conduct.misbehaved = `it hung up: ${reason}`;
      this.#cut("server-lost");
    });
    gateway.onFrame((frame) => {
      if (this.#server === gateway) this.#path.onServerFrame(frame);
      else if (frame.type === frameType.loadReady) resolve(undefined);
    });
    this.#farEnd = server;
    this.#o.agent(server);
    const { topKMax, contextTokens } = entry.generation;
    const sizeBytes = BigInt(weights.length);
    const { modelId } = entry;
    const begin = { gateway: name, modelId, sizeBytes, topKMax, contextTokens };
    gateway.send(frameType.loadBegin, 0n, encodeLoadBegin(begin));
    for (let at = 0, chunk = 0n; at < weights.length; at += chunkBytes, chunk++) {
      gateway.send(frameType.loadChunk, chunk, weights.subarray(at, at + chunkBytes));
      await gateway.drained();
    }
    gateway.send(frameType.loadEnd, 0n);
    await promise;
    this.#server = gateway;
    this.#path.attach(gateway);
  }

  /** One request. Resolves when it is over, whatever became of it. */
  ask(ask: Ask): Promise<Left> {
    return new Promise((resolve) => {
      const id = this.#next++;
      const sentMs = performance.now();
      this.#waiting.set(id, { ask, sentMs, parts: [], tag: null, resolve });
      const { prompt, params } = ask;
      const input = encodeInput({ modelId: this.#o.entry.modelId, prompt, params });
      this.#client.send(frameType.input, id, input);
    });
  }

  #heard(frame: Frame): void {
    const waiting = this.#waiting.get(frame.id);
    if (waiting === undefined) return;
    const atMs = performance.now();
    if (frame.type === frameType.admitted) waiting.tag = decodeAdmitted(frame.payload);
    else if (frame.type === frameType.refused) {
      this.#over(frame.id, waiting, "refused", decodeRefused(frame.payload).code);
    } else if (frame.type === frameType.abort) {
      this.#over(frame.id, waiting, "failed", decodeAbort(frame.payload));
    } else if (frame.type === frameType.output) {
      const { text, final } = decodeOutputPart(frame.payload);
      if (text !== "") waiting.parts.push({ atMs, text });
      if (final === null) return;
      const { finish, promptTokens, completionTokens: tokens } = final;
      this.#over(frame.id, waiting, "complete", "", { finish, promptTokens, tokens });
    }
  }

  #over(
    id: bigint,
    { ask, sentMs, parts, tag, resolve }: Waiting,
    outcome: Left["outcome"],
    error: string,
    end: Pick<Left, "finish" | "promptTokens" | "tokens"> = {
      ...{ finish: "cut-off", promptTokens: 0, tokens: 0 },
    },
  ): void {
    this.#waiting.delete(id);
    const endMs = performance.now();
    const whole = parts.map(({ text }) => text).join("");
    // Who asks for no stream sees one body, as the router sends it.
    const seen = ask.stream || whole === "" ? parts : [{ atMs: endMs, text: whole }];
    resolve({ ask, gateway: this.name, tag, outcome, error, parts: seen, ...end, sentMs, endMs });
  }

  /** The ladder asked for more: epsilon never falls below this again. */
  raiseEpsilon(epsilon: number): void {
    this.#sampler.floor = Math.max(this.#sampler.floor, epsilon);
  }

  #cut(abort: "server-misbehaved" | "server-lost"): void {
    const server = this.#server;
    this.#server = null;
    if (server !== null) {
      this.#path.detach(abort);
      server.close("power was cut");
    }
    this.#farEnd?.close("power was cut");
  }

  /** Every pair has its leaf and its coin. */
  settled(): Promise<void> {
    return this.#path.settled();
  }

  /** Cuts the server's power. Idempotent. */
  stop(): void {
    this.#cut("server-lost");
    this.#client.close("the trial is over");
    this.#router.close("the trial is over");
  }
}
