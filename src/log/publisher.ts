/**
 * The publisher of one gateway's log. It is trusted with nothing: it carries bytes between the gateway, which speaks
 * frames only, and the witnesses, who speak HTTP. In order:
 *
 *   1. LOG_WATCH to the gateway; it answers with its checkpoints
 *   2. entries up to the newest checkpoint by LOG_ASK; they must hash to its root
 *   3. they and the checkpoint are published (tiles.ts), so that witnesses can fetch them
 *   4. each witness, by itself: add-checkpoint with a consistency proof from what it has
 *   5. cosignatures go back to the gateway by LOG_COSIGNED, and into the published checkpoint
 *
 * Whoever owns it can delay and withhold, and then the gateway stops serving when its backlog is full. He cannot forge:
 * gateway and readers check every signature.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import { openCheckpoint, type SignedCheckpoint } from "../format/checkpoint.ts";
import { openCosignature } from "../format/cosignature.ts";
import { leafBytes } from "../format/leaf.ts";
import { frameType, type Frame, type FrameType } from "../format/link.ts";
import { decodeLogLeaves, encodeLogAsk, type LogLeaves } from "../format/log-link.ts";
import { encodeNote, parseSignatures, type NoteKey, type NoteSignature } from "../format/note.ts";
import { parseDecimal } from "../format/checkpoint.ts";
import type { Wire } from "../format/wire.ts";
import { encodeAddCheckpoint } from "./add-checkpoint.ts";
import type { Mirror } from "./mirror.port.ts";

/** What a witness answered. */
export interface WitnessAnswer {
  readonly status: number;
  readonly body: Buffer;
}

/** A party's witness as the publisher reaches it. */
export interface RemoteWitness {
  readonly party: string;
  readonly key: NoteKey;
  /** Throws UnavailableError. */
  post(path: string, body: Buffer): Promise<WitnessAnswer>;
}

/** A frame of the gateway's that is posted to every witness as it is, and the frame that brings back each answer. */
export interface Relay {
  readonly ask: FrameType;
  readonly path: string;
  readonly answer: FrameType;
}

export interface PublisherOptions {
  readonly gateway: string;
  readonly log: NoteKey;
  readonly mirror: Mirror;
  readonly witnesses: readonly RemoteWitness[];
  readonly relays: readonly Relay[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** The mirror cannot be written. */
  readonly onFatal: (error: Error) => void;
}

/** What one witness has of this log, as far as is known. */
interface Standing {
  readonly witness: RemoteWitness;
  size: number;
  busy: boolean;
  pauseMs: number;
  why: string;
  timer: Timer | null;
}

const pauseMs = { first: 200, most: 5000 };

export class Publisher {
  readonly #o: PublisherOptions;
  readonly #standings: Standing[];
  #wire: Wire | null = null;
  /** The newest checkpoint of the gateway's that is not published yet. */
  #wanted: SignedCheckpoint | null = null;
  #working = false;
  #published: SignedCheckpoint | null;
  #signatures: NoteSignature[] = [];
  #onLeaves: ((leaves: LogLeaves) => void) | null = null;
  #stopped = false;
  /** Writes of the mirror, one after the other. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(options: PublisherOptions) {
    this.#o = options;
    const { note } = options.mirror;
    this.#published = note === null ? null : openCheckpoint(note, options.log);
    this.#signatures = [...(this.#published?.note.signatures ?? [])];
    this.#standings = options.witnesses.map((witness) => ({
      ...{ witness, size: 0, busy: false, pauseMs: pauseMs.first, why: "", timer: null },
    }));
  }

  status(): object {
    const { gateway, log, mirror } = this.#o;
    const witnesses = this.#standings.map(({ witness, size, why }) => ({
      party: witness.party,
      size,
      why,
    }));
    const connected = this.#wire !== null && !this.#wire.closed;
    return { gateway, origin: log.name, connected, size: mirror.size, witnesses };
  }

  /** A link to the gateway stands. */
  attach(wire: Wire): void {
    this.#wire = wire;
    wire.onFrame((frame) => {
      this.#onFrame(wire, frame);
    });
    wire.onClose(() => {
      if (this.#wire === wire) this.#wire = null;
      this.#onLeaves = null;
    });
    // The newest that it ever signed, before anything else: a gateway whose disk was put back learns it from this.
    if (this.#published !== null) wire.send(frameType.logCosigned, 0n, this.#note());
    wire.send(frameType.logWatch, 0n);
    this.#submitAll();
  }

  stop(): void {
    this.#stopped = true;
    for (const standing of this.#standings) standing.timer?.cancel();
    this.#wire?.close("the publisher stops");
  }

  /** Resolves when no write is under way. */
  idle(): Promise<void> {
    return this.#writes.then(() => undefined);
  }

  #onFrame(wire: Wire, frame: Frame): void {
    if (frame.type === frameType.logCheckpoint) {
      this.#wanted = openCheckpoint(Buffer.from(frame.payload), this.#o.log);
      void this.#publish(wire);
      return;
    }
    if (frame.type === frameType.logLeaves) {
      const leaves = decodeLogLeaves(frame.payload);
      this.#onLeaves?.({ from: leaves.from, entries: Buffer.from(leaves.entries) });
      return;
    }
    const relay = this.#o.relays.find(({ ask }) => ask === frame.type);
    if (relay === undefined) {
      throw new InvalidError("publisher.frame", `a gateway sent frame type ${frame.type}`);
    }
    const payload = Buffer.from(frame.payload);
    for (const { witness } of this.#standings)
      void this.#relay(wire, relay, witness, frame.id, payload);
  }

  async #relay(
    wire: Wire,
    relay: Relay,
    witness: RemoteWitness,
    id: bigint,
    body: Buffer,
  ): Promise<void> {
    const { logger } = this.#o;
    try {
      const answer = await witness.post(relay.path, body);
      if (answer.status === 200) wire.send(relay.answer, id, answer.body);
      else {
        const why = answer.body.subarray(0, 200).toString();
        logger.log("warn", "publisher.refused", { party: witness.party, path: relay.path, why });
      }
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      logger.log("warn", "publisher.unreachable", { party: witness.party, why: error.message });
    }
  }

  /** Steps 2 and 3, until the newest checkpoint is published. */
  async #publish(wire: Wire): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      for (let next = this.#wanted; next !== null && !this.#stopped; next = this.#wanted) {
        this.#wanted = null;
        await this.#publishOne(wire, next);
      }
    } catch (error) {
      this.#publishFailed(wire, error);
    } finally {
      this.#working = false;
    }
    // A checkpoint that a new link brought while the old one was failing.
    const current = this.#wire;
    if (this.#wanted !== null && current !== null && current !== wire) void this.#publish(current);
  }

  #publishFailed(wire: Wire, error: unknown): void {
    if (error instanceof InvalidError) {
      const { gateway, logger } = this.#o;
      logger.log("error", "publisher.log", { gateway, why: error.message });
      wire.close(error.message);
    } else if (!(error instanceof UnavailableError && error.code === "publisher.link")) {
      this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #publishOne(wire: Wire, next: SignedCheckpoint): Promise<void> {
    const { mirror } = this.#o;
    if (next.size < mirror.size) {
      // It signed more than this before. It is told so, and nothing is taken back.
      wire.send(frameType.logCosigned, 0n, this.#note());
      throw new InvalidError(
        "publisher.shorter",
        `its log has ${next.size} entries; it had ${mirror.size}`,
      );
    }
    while (mirror.size + mirror.staged < next.size) {
      const { entries } = await this.#leaves(wire, mirror.size + mirror.staged, next.size);
      await mirror.stage(entries);
    }
    if (!mirror.stagedRoot().equals(next.root)) {
      await mirror.drop();
      wire.send(frameType.logCosigned, 0n, this.#note());
      throw new InvalidError(
        "publisher.root",
        "its entries do not hash to the root that it signed",
      );
    }
    if (this.#published?.note.text !== next.note.text) {
      await this.#write(async () => {
        await mirror.commit(encodeNote(next.note));
        this.#published = next;
        this.#signatures = [...next.note.signatures];
      });
    }
    this.#submitAll();
  }

  /** At least one entry from `from` on. */
  #leaves(wire: Wire, from: number, to: number): Promise<LogLeaves> {
    const count = Math.min(limits.logEntries, to - from);
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        reject(new UnavailableError("publisher.link", "the link to the gateway closed", "none"));
      };
      if (wire.closed) {
        gone();
        return;
      }
      wire.onClose(gone);
      this.#onLeaves = (leaves) => {
        this.#onLeaves = null;
        const good = Number(leaves.from) === from && leaves.entries.length > 0;
        if (good && leaves.entries.length <= count * leafBytes) resolve(leaves);
        else
          reject(new InvalidError("publisher.leaves", "it sent other entries than were asked for"));
      };
      wire.send(frameType.logAsk, 0n, encodeLogAsk({ from: BigInt(from), count }));
    });
  }

  #note(): Buffer {
    const text = this.#published?.note.text ?? "\n";
    return encodeNote({ text, signatures: this.#signatures });
  }

  #write(action: () => Promise<void>): Promise<void> {
    const write = this.#writes.then(action);
    this.#writes = write.catch(() => undefined);
    return write;
  }

  #submitAll(): void {
    for (const standing of this.#standings) void this.#submit(standing);
  }

  /** Step 4 for one witness, until it has cosigned what is published. */
  async #submit(standing: Standing): Promise<void> {
    if (standing.busy || this.#stopped) return;
    standing.busy = true;
    standing.timer?.cancel();
    try {
      while (!this.#stopped && this.#published !== null && !this.#hasSigned(standing.witness)) {
        await this.#submitOne(standing, this.#published);
        standing.pauseMs = pauseMs.first;
        standing.why = "";
      }
    } catch (error) {
      if (!(error instanceof UnavailableError || error instanceof InvalidError)) throw error;
      this.#later(standing, error.message);
    } finally {
      standing.busy = false;
    }
  }

  #later(standing: Standing, why: string): void {
    if (standing.why !== why) {
      const { party } = standing.witness;
      this.#o.logger.log("warn", "publisher.not-cosigned", {
        gateway: this.#o.gateway,
        party,
        why,
      });
    }
    standing.why = why;
    if (this.#stopped) return;
    standing.timer = this.#o.clock.after(standing.pauseMs, () => void this.#submit(standing));
    standing.pauseMs = Math.min(pauseMs.most, 2 * standing.pauseMs);
  }

  #hasSigned({ key }: RemoteWitness): boolean {
    return this.#signatures.some(({ name, id }) => name === key.name && id === key.id);
  }

  async #submitOne(standing: Standing, checkpoint: SignedCheckpoint): Promise<void> {
    const { mirror } = this.#o;
    for (let tries = 0; tries < 3; tries++) {
      const old = Math.min(standing.size, checkpoint.size);
      const proof =
        old === 0 || old === checkpoint.size ? [] : await mirror.consistency(old, checkpoint.size);
      const request = encodeAddCheckpoint({ old, proof, note: encodeNote(checkpoint.note) });
      const { status, body } = await standing.witness.post("/add-checkpoint", request);
      if (status === 200) {
        standing.size = checkpoint.size;
        await this.#cosigned(standing.witness, checkpoint, body);
        return;
      }
      const why = body.subarray(0, 300).toString().trim();
      if (status !== 409) throw new InvalidError("publisher.refused", `${status}: ${why}`);
      standing.size = parseDecimal(why);
      if (standing.size > checkpoint.size) {
        throw new InvalidError(
          "publisher.behind",
          `it cosigned ${standing.size} entries; here are ${checkpoint.size}`,
        );
      }
    }
    throw new InvalidError("publisher.conflict", "it names another size each time");
  }

  /** Step 5. */
  async #cosigned(
    witness: RemoteWitness,
    checkpoint: SignedCheckpoint,
    body: Buffer,
  ): Promise<void> {
    const signatures = parseSignatures(body.toString()).filter(
      (signature) => openCosignature(signature, checkpoint.note.text, witness.key) !== null,
    );
    if (signatures.length === 0)
      throw new InvalidError("publisher.no-cosignature", "it answered without its cosignature");
    const current = this.#published === checkpoint;
    if (current) this.#signatures.push(...signatures);
    const all = current ? this.#signatures : [...checkpoint.note.signatures, ...signatures];
    const note = encodeNote({ text: checkpoint.note.text, signatures: all });
    this.#wire?.send(frameType.logCosigned, 0n, note);
    try {
      // Whatever is the newest when its turn comes.
      await this.#write(() => this.#o.mirror.annotate(this.#note()));
    } catch (error) {
      this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
