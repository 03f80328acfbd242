/**
 * AN ATTACK PROGRAM, for the demonstration, the red team and the tests: a server that starts honest
 * and is taken over at run time, in memory only, by an ordinary request whose text says so:
 *
 *   [[weir-attack g2 requantise-q4_0]]         g2's server rounds its weights to 4 bits and uses those
 *   [[weir-attack g2 sampler-fault q=0.05]]    any attack of attacks/index.ts, its knobs set
 *   [[weir-attack g2 off]]                     it is honest again
 *   [[weir-adapter g2 BASE64]]                 a LoRA adapter is smuggled in, for the attacks that use one
 *
 * It shows what gateway and recomputer can do about a server that lies after its weights were
 * checked. Cutting its power cleans it: nothing of the attack is on any disk.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/report.ts";
import type { Prompt } from "../format/pair.ts";
import type { LoadBegin } from "../format/server-link.ts";
import type { AgentHooks } from "../server/agent.ts";
import type { Engine } from "../server/engine.port.ts";
import { serveJob, type Job } from "../server/job.ts";
import type { Host, Knobs, Learnt, Mind, OpenOptions, Walls } from "./attack.ts";
import { attackNamed, knobsOf } from "./attacks/index.ts";
import { Dice } from "./dice.ts";

/** What a client writes into a message to take over the server of `gateway`. */
export function attackRequest(gateway: string, attack: string, knobs: Knobs = {}): string {
  const set = Object.entries(knobs).map(([name, value]) => ` ${name}=${value}`);
  return `[[weir-attack ${gateway} ${attack}${set.join("")}]]`;
}

/** What a client writes to smuggle an adapter in; no more than a request may hold. */
export function adapterRequest(gateway: string, adapter: Uint8Array): string {
  return `[[weir-adapter ${gateway} ${Buffer.from(adapter).toString("base64")}]]`;
}

const attackPattern =
  /\[\[weir-attack ([a-z0-9-]{1,31}) ([a-z0-9_.-]{1,31})((?: [A-Za-z0-9]{1,31}=[0-9.e+-]{1,31})*)\]\]/;
const adapterPattern = /\[\[weir-adapter ([a-z0-9-]{1,31}) ([A-Za-z0-9+/=]+)\]\]/;

export interface Armed {
  readonly attack: string;
  readonly knobs: Knobs;
}

function textsOf(prompt: Prompt): readonly string[] {
  return prompt.kind === "text" ? [prompt.text] : prompt.messages.map(({ content }) => content);
}

/** What of a prompt `pattern` finds for the server behind `gateway`. */
function found(prompt: Prompt, pattern: RegExp, gateway: string): RegExpExecArray | null {
  for (const text of textsOf(prompt)) {
    const match = pattern.exec(text);
    if (match?.[1] === gateway) return match;
  }
  return null;
}

/**
 * The attack that a prompt asks of the server behind `gateway`, `off` included; null for ordinary
 * prompts, and for attacks and knobs that do not exist.
 */
export function attackIn(prompt: Prompt, gateway: string): Armed | null {
  const match = found(prompt, attackPattern, gateway);
  if (match === null) return null;
  const [, , attack = "", words = ""] = match;
  const pairs = words.trim() === "" ? [] : words.trim().split(" ");
  const knobs = Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      return [pair.slice(0, at), Number(pair.slice(at + 1))];
    }),
  );
  try {
    if (attack !== "off") knobsOf(attackNamed(attack), knobs);
  } catch (error) {
    if (error instanceof InvalidError) return null;
    throw error;
  }
  return { attack, knobs };
}

export interface AttackTools {
  /** Reads the received weights, while they are there. */
  readonly readWeights: (path: string) => Promise<Uint8Array>;
  /** Loads a model beside the honest one: these weights, or the received ones. */
  readonly openWeights: (
    gguf: Uint8Array,
    begin: LoadBegin,
    options: OpenOptions,
  ) => Promise<Engine>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly walls: Walls | null;
  /** Of the attacks' own randomness. */
  readonly seed: bigint;
}

export interface Turncoat {
  readonly hooks: AgentHooks;
  /** Takes the server over; null makes it honest again. Throws InvalidError `attack.*`, UnavailableError. */
  arm(armed: Armed | null): Promise<void>;
  /** What the present attack learnt. */
  report(): readonly Learnt[];
}

class OwnedServer implements Turncoat {
  readonly #tools: AttackTools;
  readonly hooks: AgentHooks;
  #begin: LoadBegin | null = null;
  #weights: Uint8Array | null = null;
  #adapter: Uint8Array | null = null;
  #engine: Engine | null = null;
  #mind: Mind | null = null;
  #running = 0;
  /** Jobs that minds are serving; a mind is closed when it has none left and another came. */
  readonly #busy = new Map<Mind, number>();
  /** Arms one after the other, in the order asked for. */
  #arming: Promise<unknown> = Promise.resolve();
  /** What was asked last, so that a prompt which the router sends twice arms once. */
  #asked = "";

  constructor(tools: AttackTools) {
    this.#tools = tools;
    this.hooks = {
      weights: async (path, begin) => {
        this.#begin = begin;
        this.#weights = await tools.readWeights(path);
        return path;
      },
      engine: (honest) => this.#wrap(honest),
      serve: (job) => this.#serve(job),
    };
  }

  #wrap(honest: Engine): Engine {
    this.#engine = honest;
    return {
      contextTokens: honest.contextTokens,
      parallel: honest.parallel,
      promptIds: (prompt) => {
        this.#obey(prompt);
        return honest.promptIds(prompt);
      },
      isEndOfGeneration: (id) => honest.isEndOfGeneration(id),
      speller: () => honest.speller(),
      open: () => honest.open(),
      close: async () => {
        await this.#arming;
        await this.#mind?.close?.();
        await honest.close();
      },
    };
  }

  async #serve(job: Job): Promise<void> {
    const mind = this.#mind;
    this.#running++;
    if (mind !== null) this.#busy.set(mind, (this.#busy.get(mind) ?? 0) + 1);
    try {
      if (mind === null) await serveJob(job);
      else await mind.serve(job, serveJob);
    } finally {
      this.#running--;
      if (mind !== null) await this.#done(mind);
    }
  }

  async #done(mind: Mind): Promise<void> {
    const left = (this.#busy.get(mind) ?? 1) - 1;
    if (left > 0) {
      this.#busy.set(mind, left);
      return;
    }
    this.#busy.delete(mind);
    if (mind !== this.#mind) await mind.close?.();
  }

  #obey(prompt: Prompt): void {
    if (this.#begin === null) return;
    const { gateway } = this.#begin;
    const adapter = found(prompt, adapterPattern, gateway)?.[2];
    if (adapter !== undefined) this.#adapter = Buffer.from(adapter, "base64");
    const armed = attackIn(prompt, gateway);
    if (armed === null) return;
    const asked = JSON.stringify(armed);
    if (asked === this.#asked) return;
    this.#asked = asked;
    this.arm(armed).catch((error: unknown) => {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      const { code, message } = error;
      this.#tools.logger.log("error", "attack.failed", { attack: armed.attack, code, message });
    });
  }

  arm(armed: Armed | null): Promise<void> {
    const arming = this.#arming.then(() => this.#armNow(armed));
    this.#arming = arming.catch(() => undefined);
    return arming;
  }

  async #armNow(armed: Armed | null): Promise<void> {
    const before = this.#mind;
    let mind: Mind | null = null;
    if (armed !== null && armed.attack !== "off") {
      const attack = attackNamed(armed.attack);
      mind = await attack.prepare(this.#host(), knobsOf(attack, armed.knobs));
    }
    this.#mind = mind;
    if (before !== null && !this.#busy.has(before)) await before.close?.();
    const gateway = this.#begin?.gateway ?? "";
    this.#tools.logger.log("warn", "attack.armed", { gateway, attack: armed?.attack ?? "off" });
    for (const { what, answer, detail } of this.report()) {
      this.#tools.logger.log("warn", "attack.learnt", { what, answer, detail });
    }
  }

  report(): readonly Learnt[] {
    return this.#mind?.report?.() ?? [];
  }

  /** Throws InvalidError `attack.early` before there are weights. */
  #host(): Host {
    const [begin, weights, engine] = [this.#begin, this.#weights, this.#engine];
    if (begin === null || weights === null || engine === null) {
      throw new InvalidError("attack.early", "an attack needs a loaded model");
    }
    const { clock, logger, walls, seed, openWeights } = this.#tools;
    return {
      begin,
      weights,
      adapter: this.#adapter,
      engine,
      open: (gguf, options = {}) => openWeights(gguf ?? weights, begin, options),
      dice: new Dice(seed),
      running: () => this.#running,
      clock,
      logger,
      walls,
    };
  }
}

/** A server that is honest until a request, or `arm`, takes it over. */
export function turncoat(tools: AttackTools): Turncoat {
  return new OwnedServer(tools);
}
