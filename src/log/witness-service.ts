/**
 * The witness as a service: HTTP requests in, replies out; effects of the reducer (witness.ts) carried out on mirrors.
 *
 *   POST /add-checkpoint                 C2SP tlog-witness
 *   GET  /<sha256 of origin>/...         C2SP tlog-tiles over the mirror: checkpoint, tiles, entry bundles
 *   GET  /status                         JSON for people
 *   POST further routes                  witness-routes.ts
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Logger } from "../base/report.ts";
import type { NoteKey, NoteSignature } from "../format/note.ts";
import { addCheckpointMax, parseAddCheckpoint, type AddCheckpoint } from "./add-checkpoint.ts";
import type { BundleSource, Mirror } from "./mirror.port.ts";
import { serveTiles, stageFrom, type Served } from "./tiles.ts";
import type { WitnessRoute, WitnessView } from "./witness-routes.ts";
import {
  newWitness,
  originOf,
  stepWitness,
  type Cosigned,
  type Reply,
  type WitnessEffect,
  type WitnessEvent,
  type WitnessState,
} from "./witness.ts";

export interface WitnessLog {
  /** Name by which people know the gateway. */
  readonly gateway: string;
  readonly key: NoteKey;
  readonly vkey: string;
  /** The gateway's device key, 64 hex digits, for routes; "" when not known. */
  readonly deviceKey: string;
  readonly mirror: Mirror;
  readonly latest: Cosigned;
  readonly source: BundleSource;
}

export interface WitnessOptions {
  readonly party: string;
  /** Name of the witness's key, and its C2SP verifier key. */
  readonly name: string;
  readonly vkey: string;
  readonly cosign: (text: string, timeS: number) => NoteSignature;
  readonly logs: readonly WitnessLog[];
  /** Why an entry may not stand in a tree that this party cosigns; null when it may. */
  readonly checkEntry?: (gateway: string, entry: Buffer) => string | null;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A mirror could not be made durable: nothing may be cosigned any more. */
  readonly onFatal: (error: Error) => void;
}

/** One log under witness: its state, and who waits for which reply. */
class Watched {
  readonly log: WitnessLog;
  readonly #o: WitnessOptions;
  #state: WitnessState;
  readonly #waiters = new Map<number, (reply: Reply) => void>();
  #count = 0;
  #broken = false;
  /** Signed trees that cannot both be, seen since the start; in words. */
  readonly suspicions: string[] = [];

  constructor(log: WitnessLog, options: WitnessOptions) {
    this.log = log;
    this.#o = options;
    this.#state = newWitness(log.latest);
  }

  get latest(): Cosigned {
    return this.#state.latest;
  }

  submit(request: AddCheckpoint): Promise<Reply> {
    if (this.#broken) return Promise.resolve(textReply(503, "this witness has stopped"));
    const id = ++this.#count;
    return new Promise((resolve) => {
      this.#waiters.set(id, resolve);
      this.#step({ kind: "submit", submission: { id, request } });
    });
  }

  #step(event: WitnessEvent): void {
    const context = { log: this.log.key, cosign: this.#o.cosign };
    const { state, effects } = stepWitness(context, this.#state, event);
    this.#state = state;
    void this.#carryOut(effects);
  }

  /** In order. The last effect of a step is the only one that leads to a further event. */
  async #carryOut(effects: readonly WitnessEffect[]): Promise<void> {
    try {
      for (const effect of effects) await this.#do(effect);
    } catch (error) {
      // Whether it is on disk is not known: only a start, which reads it again, may go on.
      this.#broken = true;
      for (const waiter of this.#waiters.values())
        waiter(textReply(503, "this witness has stopped"));
      this.#waiters.clear();
      this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #do(effect: WitnessEffect): Promise<void> {
    const { mirror, gateway } = this.log;
    switch (effect.kind) {
      case "reply":
        this.#waiters.get(effect.id)?.(effect.reply);
        this.#waiters.delete(effect.id);
        return;
      case "drop":
        await mirror.drop();
        return;
      case "mirror":
        await this.#mirror(effect.to);
        return;
      case "persist":
        await mirror.commit(effect.note);
        this.#step({ kind: "persisted" });
        return;
      case "suspect": {
        this.suspicions.push(effect.why);
        if (this.suspicions.length > 20) this.suspicions.shift();
        const note = effect.note.toString();
        this.#o.logger.log("error", "witness.suspect", { gateway, why: effect.why, note });
      }
    }
  }

  async #mirror(to: number): Promise<void> {
    const { mirror, source, gateway } = this.log;
    const { checkEntry } = this.#o;
    try {
      await stageFrom(source, mirror, to, (entry) => checkEntry?.(gateway, entry) ?? null);
    } catch (error) {
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      if (error instanceof UnavailableError && error.code.startsWith("disk.")) throw error;
      const status = error instanceof InvalidError ? 422 : 503;
      this.#step({ kind: "not-mirrored", status, why: error.message });
      return;
    }
    const nowS = Math.floor(this.#o.clock.wallMs() / 1000);
    this.#step({ kind: "mirrored", root: mirror.stagedRoot(), nowS });
  }
}

function textReply(status: Reply["status"], why: string): Reply {
  return { status, type: "text/plain; charset=utf-8", body: `${why}\n` };
}

function served(reply: Reply): Served {
  return { status: reply.status, type: reply.type, body: Buffer.from(reply.body) };
}

export interface WitnessStatus {
  readonly party: string;
  readonly name: string;
  readonly vkey: string;
  readonly logs: readonly {
    readonly gateway: string;
    readonly origin: string;
    /** Where the mirror is read, below the witness's address. */
    readonly path: string;
    readonly size: number;
    readonly root: string;
    /** Of the newest cosignature, ms since the Unix epoch; 0 before the first. */
    readonly cosignedMs: number;
    readonly suspicions: readonly string[];
  }[];
}

export class WitnessService {
  readonly #o: WitnessOptions;
  readonly #byOrigin = new Map<string, Watched>();
  readonly #byHash = new Map<string, Watched>();
  readonly #routes = new Map<string, { route: WitnessRoute; last: Promise<unknown> }>();

  constructor(options: WitnessOptions) {
    this.#o = options;
    for (const log of options.logs) {
      const watched = new Watched(log, options);
      this.#byOrigin.set(log.key.name, watched);
      this.#byHash.set(sha256Hex(log.key.name), watched);
    }
  }

  /** What routes may look at. */
  view(): WitnessView {
    const logs = [...this.#byOrigin.values()].map((watched) => ({
      origin: watched.log.key.name,
      gateway: watched.log.gateway,
      vkey: watched.log.vkey,
      deviceKey: watched.log.deviceKey,
      latest: () => ({ size: watched.latest.size, root: watched.latest.root }),
      entry: async (index: number) =>
        index < watched.log.mirror.size ? watched.log.mirror.entries(index, 1) : null,
    }));
    return { party: this.#o.party, logs };
  }

  addRoutes(routes: readonly WitnessRoute[]): void {
    for (const route of routes) this.#routes.set(route.path, { route, last: Promise.resolve() });
  }

  status(): WitnessStatus {
    const { party, name, vkey } = this.#o;
    const logs = [...this.#byOrigin.values()].map(({ log, latest, suspicions }) => ({
      gateway: log.gateway,
      origin: log.key.name,
      path: `/${sha256Hex(log.key.name)}/`,
      size: latest.size,
      root: latest.root.toString("hex"),
      cosignedMs: 1000 * latest.time,
      suspicions: [...suspicions],
    }));
    return { party, name, vkey, logs };
  }

  /** Most bytes of a body for this path; 0: nothing may be posted there. */
  bodyMax(path: string): number {
    if (path === "/add-checkpoint") return addCheckpointMax;
    return this.#routes.get(path)?.route.bodyMax ?? 0;
  }

  async get(path: string): Promise<Served> {
    if (path === "/status") {
      const body = Buffer.from(`${JSON.stringify(this.status())}\n`);
      return { status: 200, type: "application/json", body };
    }
    const [, hash = "", rest = ""] = /^\/([0-9a-f]{64})\/(.*)$/.exec(path) ?? [];
    const watched = this.#byHash.get(hash);
    if (watched === undefined) return served(textReply(404, "no such log here"));
    return serveTiles(watched.log.mirror, rest);
  }

  async post(path: string, body: Buffer): Promise<Served> {
    if (path === "/add-checkpoint") return served(await this.addCheckpoint(body));
    const entry = this.#routes.get(path);
    if (entry === undefined) return served(textReply(404, "no such route here"));
    // One call of a route after the other.
    const call = entry.last.then(() => entry.route.handle(body));
    entry.last = call.catch(() => undefined);
    const { status, body: answer } = await call;
    return { status, type: "application/octet-stream", body: answer };
  }

  async addCheckpoint(body: Buffer): Promise<Reply> {
    try {
      const request = parseAddCheckpoint(body);
      const watched = this.#byOrigin.get(originOf(request.note));
      if (watched === undefined) return textReply(404, "this log is not witnessed here");
      return await watched.submit(request);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      return textReply(400, error.message);
    }
  }
}
