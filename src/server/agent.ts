/**
 * The server's agent: speaks format/server-link to its gateway and runs an engine. NOT trusted: all
 * that it claims is checked elsewhere, and nothing here keeps a promise to a verifier.
 *
 *   ERASE_BEGIN, ERASE_DATA..., ERASE_KEY -> ERASE_MAC
 *   LOAD_BEGIN, LOAD_CHUNK..., LOAD_END -> the engine loads -> LOAD_READY
 *   GENERATE -> PROMPT, TOKENS..., END, or FAILED; CANCEL ends a request without a word
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { decodeEraseBegin, decodeEraseKey } from "../format/erase.ts";
import { frameType, type Frame } from "../format/link.ts";
import type { Prompt } from "../format/pair.ts";
import {
  decodeGenerate,
  decodeLoadBegin,
  encodeEnd,
  encodeFailed,
  encodePrompt,
  encodeTokens,
  type LoadBegin,
  type ServerFailure,
} from "../format/server-link.ts";
import type { Wire } from "../format/wire.ts";
import type { Engine } from "./engine.port.ts";
import { EraseMemory, type FilledMemory } from "./erase.ts";
import { fits, type Draw, type GenerateRequest } from "./generate.ts";
import { serveJob, type Job, type JobSink, type Serve } from "./job.ts";
import { WeightsLoad } from "./load.ts";
import type { WeightsStore } from "./weights.port.ts";

/** What a dishonest agent does differently; the honest agent has none of these. */
export interface AgentHooks {
  /** Draws tokens by another rule than the noise law. */
  readonly draw?: Draw;
  /** Uses another seed than the one that was given. */
  readonly seed?: (seed: bigint, tag: bigint) => bigint;
  /** What stands in for the memory that the gateway fills, of so many bytes. */
  readonly memory?: (bytes: bigint) => FilledMemory;
  /** Gets the path of the received weights and LOAD_BEGIN; returns the path of what is loaded. */
  readonly weights?: (path: string, begin: LoadBegin) => Promise<string>;
  /** Wraps or replaces the engine after loading. */
  readonly engine?: (engine: Engine) => Engine;
  /** Changes a request before it runs: its prompt ids or its parameters. */
  readonly request?: (request: GenerateRequest, tag: bigint) => GenerateRequest;
  /** Answers a whole request; `honest` answers it as it should be, or with the deviations given. */
  readonly serve?: (job: Job, honest: Serve) => Promise<void>;
}

export interface AgentOptions {
  readonly wire: Wire;
  readonly weights: WeightsStore;
  /** Opens the engine on a file. Throws UnavailableError or InvalidError. */
  readonly openEngine: (path: string, load: LoadBegin) => Promise<Engine>;
  readonly logger: Logger;
  /** Requests that wait for a free sequence; more are refused as overloaded. */
  readonly queueMax: number;
  readonly hooks?: AgentHooks;
}

interface Waiting {
  readonly tag: bigint;
  readonly prompt: Prompt;
  readonly request: GenerateRequest;
  cancelled: boolean;
}

/** Runs an agent on its link. Resolves when the link is closed and the engine is gone. */
export function runAgent(options: AgentOptions): Promise<void> {
  return new Promise((resolve) => {
    const agent = new Agent(options);
    options.wire.onClose((reason) => {
      void agent.stop(reason).then(resolve);
    });
    options.wire.onFrame((frame) => {
      agent.onFrame(frame);
    });
  });
}

class Agent {
  readonly #o: AgentOptions;
  readonly #hooks: AgentHooks;
  #memory: FilledMemory | null = null;
  #load: WeightsLoad | null = null;
  #starting: Promise<void> | null = null;
  #engine: Engine | null = null;
  #running = 0;
  readonly #jobs = new Map<bigint, Waiting>();
  readonly #queue: Waiting[] = [];
  #stopped = false;

  constructor(options: AgentOptions) {
    this.#o = options;
    this.#hooks = options.hooks ?? {};
  }

  /** Throws InvalidError on a frame that has no place here: the link closes. */
  onFrame(frame: Frame): void {
    switch (frame.type) {
      case frameType.eraseBegin:
      case frameType.eraseData:
      case frameType.eraseKey:
        this.#onErase(frame);
        return;
      case frameType.loadBegin:
        this.#onLoadBegin(frame);
        return;
      case frameType.loadChunk:
        this.#loading("LOAD_CHUNK").chunk(frame.id, frame.payload);
        return;
      case frameType.loadEnd:
        this.#starting = this.#start(this.#loading("LOAD_END"));
        return;
      case frameType.generate:
        this.#onGenerate(frame);
        return;
      case frameType.cancel:
        this.#onCancel(frame.id);
        return;
      case frameType.ping:
        this.#o.wire.send(frameType.pong, frame.id);
        return;
      default:
        throw new InvalidError("agent.frame", `unexpected frame type ${frame.type}`);
    }
  }

  /** Before the weights, at most once at a time. */
  #onErase(frame: Frame): void {
    if ((frame.type === frameType.eraseBegin) !== (this.#memory === null) || this.#load !== null) {
      throw new InvalidError("agent.erase", "a frame of an erasure came out of order");
    }
    if (this.#memory === null) {
      const bytes = decodeEraseBegin(frame.payload);
      this.#memory = this.#hooks.memory?.(bytes) ?? new EraseMemory(bytes);
    } else if (frame.type === frameType.eraseData) {
      this.#memory.piece(frame.id, frame.payload);
    } else {
      const mac = this.#memory.mac(decodeEraseKey(frame.payload));
      this.#memory = null;
      this.#o.wire.send(frameType.eraseMac, 0n, mac);
    }
  }

  #onLoadBegin(frame: Frame): void {
    if (this.#load !== null) throw new InvalidError("agent.load", "weights are loaded once");
    const begin = decodeLoadBegin(frame.payload);
    this.#load = new WeightsLoad(begin, this.#o.weights, this.#o.wire);
    const { modelId } = begin;
    this.#o.logger.log("info", "agent.load", { modelId, sizeBytes: begin.sizeBytes.toString() });
  }

  #loading(what: string): WeightsLoad {
    if (this.#load === null || this.#starting !== null) {
      throw new InvalidError("agent.load", `${what} came out of order`);
    }
    return this.#load;
  }

  /** The weights are complete: loads the engine. A failure closes the link. */
  async #start(load: WeightsLoad): Promise<void> {
    try {
      const received = await load.finish();
      const path = (await this.#hooks.weights?.(received, load.begin)) ?? received;
      const engine = await this.#o.openEngine(path, load.begin);
      this.#engine = this.#hooks.engine?.(engine) ?? engine;
      // The engine has its own copy: the file would only take memory.
      await load.discard();
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      this.#o.logger.log("error", "agent.load-failed", { code: error.code, why: error.message });
      this.#o.wire.close(`the model cannot be loaded: ${error.message}`);
      return;
    }
    this.#o.logger.log("info", "agent.ready", { modelId: load.begin.modelId });
    this.#o.wire.send(frameType.loadReady, 0n);
  }

  #onGenerate(frame: Frame): void {
    const engine = this.#engine;
    if (engine === null)
      throw new InvalidError("agent.generate", "GENERATE came before the weights");
    const tag = frame.id;
    if (this.#jobs.has(tag)) throw new InvalidError("agent.generate", "a tag came twice");
    const { seed, input } = decodeGenerate(frame.payload);
    const promptIds = this.#promptIds(engine, tag, input.prompt);
    if (promptIds === null) return;
    const given = { promptIds, params: input.params, seed: this.#hooks.seed?.(seed, tag) ?? seed };
    const request = this.#hooks.request?.(given, tag) ?? given;
    if (!fits(request, engine.contextTokens)) {
      this.#fail(tag, "prompt-too-long");
      return;
    }
    const job: Waiting = { tag, prompt: input.prompt, request, cancelled: false };
    if (this.#running < engine.parallel) {
      this.#launch(engine, job);
    } else if (this.#queue.length < this.#o.queueMax) {
      this.#jobs.set(tag, job);
      this.#queue.push(job);
    } else {
      this.#fail(tag, "overloaded");
    }
  }

  #promptIds(engine: Engine, tag: bigint, prompt: Prompt): readonly number[] | null {
    try {
      return engine.promptIds(prompt);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      this.#o.logger.log("warn", "agent.template", { tag: tag.toString(16), why: error.message });
      this.#fail(tag, error.code === "prompt.too-long" ? "prompt-too-long" : "template");
      return null;
    }
  }

  #launch(engine: Engine, job: Waiting): void {
    this.#running++;
    this.#jobs.set(job.tag, job);
    void this.#run(engine, job).then(() => {
      this.#running--;
      this.#jobs.delete(job.tag);
      const next = this.#queue.shift();
      if (next !== undefined && !this.#stopped) this.#launch(engine, next);
    });
  }

  /** Never rejects on what the world does; a bug passes through and ends the process. */
  async #run(engine: Engine, waiting: Waiting): Promise<void> {
    const { tag, prompt, request } = waiting;
    const cancelled = (): boolean => waiting.cancelled || this.#stopped;
    const job: Job = { tag, prompt, request, engine, sink: this.#sinkOf(tag), cancelled };
    const { serve, draw } = this.#hooks;
    try {
      if (serve === undefined) await serveJob(job, draw === undefined ? {} : { draw });
      else await serve(job, serveJob);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      if (cancelled()) return;
      this.#o.logger.log("error", "agent.engine", { code: error.code, why: error.message });
      this.#fail(tag, "internal");
    }
  }

  #sinkOf(tag: bigint): JobSink {
    const { wire } = this.#o;
    return {
      prompt: (ids) => {
        wire.send(frameType.prompt, tag, encodePrompt(ids));
      },
      tokens: (ids, text) => {
        const room = wire.send(frameType.tokens, tag, encodeTokens(ids, text));
        return room ? undefined : wire.drained();
      },
      end: (finish) => {
        wire.send(frameType.end, tag, encodeEnd(finish));
      },
      failed: (code) => {
        this.#fail(tag, code);
      },
    };
  }

  #fail(tag: bigint, code: ServerFailure): void {
    this.#o.wire.send(frameType.failed, tag, encodeFailed(code));
  }

  /** Unknown tags are normal: the request may just have ended. */
  #onCancel(tag: bigint): void {
    const job = this.#jobs.get(tag);
    if (job === undefined) return;
    job.cancelled = true;
    const at = this.#queue.indexOf(job);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    this.#jobs.delete(tag);
  }

  /** The link is gone: no request goes on, the engine is closed, the weights are deleted. */
  async stop(reason: string): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#queue.length = 0;
    this.#o.logger.log("info", "agent.stopped", { reason });
    this.#memory?.discard();
    await this.#starting;
    await this.#load?.discard();
    await this.#engine?.close();
  }
}
