/**
 * The gateway's side of its transparency log: signs checkpoints of what is durable, gives checkpoints and entries to the
 * publisher, takes cosignatures back and holds the parties' witness keys against them, and says whether inputs may be
 * admitted. The rules are checkpoint-step.ts; this carries out what they ask.
 */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { emptyRoot } from "../base/merkle.ts";
import type { Logger } from "../base/report.ts";
import { publicKeyHex } from "../base/sign.ts";
import {
  logKey,
  openCheckpoint,
  signCheckpoint,
  type SignedCheckpoint,
} from "../format/checkpoint.ts";
import { cosignatureOf } from "../format/cosignature.ts";
import { frameType, type Frame } from "../format/link.ts";
import { decodeLogAsk, encodeLogLeaves } from "../format/log-link.ts";
import { encodeNote, formatVkey, parseVkey, type NoteKey } from "../format/note.ts";
import type { WitnessedStatus } from "../format/status.ts";
import { encodeTlogProof } from "../format/tlog-proof.ts";
import type { Wire } from "../format/wire.ts";
import {
  backlogOf,
  cosignedSize,
  newCheckpoints,
  stepCheckpoints,
  type CheckpointEffect,
  type CheckpointEvent,
  type CheckpointState,
  type Tree,
} from "./checkpoint-step.ts";
import type { CheckpointFiles } from "./checkpoints.port.ts";
import type { LeafLog } from "./store.port.ts";

/** A party's witness as its operator configured it. */
export interface PartyWitness {
  readonly party: string;
  readonly key: NoteKey;
}

export interface CheckpointsOptions {
  readonly gateway: string;
  /** The log key (identity.ts). */
  readonly key: KeyObject;
  readonly log: LeafLog;
  readonly files: CheckpointFiles;
  /** One for each party; with none there is no bound, and status says that nobody witnesses. */
  readonly witnesses: readonly PartyWitness[];
  /** Most entries that not all parties have cosigned, before inputs are refused. */
  readonly backlogMax: number;
  /** Between two looks at the log; milliseconds. */
  readonly everyMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly alarms: {
    raise(severity: "warning" | "critical", kind: string, text: string): void;
    clear(kind: string): void;
  };
  /** Storage failed: the gateway stops. */
  readonly onFatal: (error: Error) => void;
  /** Inputs may be admitted now, or not any more. */
  readonly onChange?: () => void;
}

/** The newest checkpoint that all parties have cosigned. */
export interface FullyCosigned extends SignedCheckpoint {
  readonly bytes: Buffer;
}

export class Checkpoints {
  readonly #o: CheckpointsOptions;
  readonly #log: NoteKey;
  readonly #vkey: string;
  #state: CheckpointState;
  #signedNote: Buffer | null = null;
  #full: FullyCosigned | null = null;
  #publisher: Wire | null = null;
  #watching = false;
  #wasOpen = true;
  #timer: { cancel(): void } | null = null;
  /** Notes are looked at one after the other: each may read the log. */
  #notes: Promise<void> = Promise.resolve();
  /** The signature that is being made durable. */
  #signing: Promise<void> = Promise.resolve();

  constructor(options: CheckpointsOptions) {
    this.#o = options;
    this.#vkey = formatVkey(logKey(options.gateway, publicKeyHex(options.key)));
    this.#log = parseVkey(this.#vkey);
    const parties = options.witnesses.map(({ party }) => party);
    this.#state = newCheckpoints(null, this.#tree(), parties);
  }

  /** C2SP verifier key of the log. */
  get vkey(): string {
    return this.#vkey;
  }

  get origin(): string {
    return this.#log.name;
  }

  /** Whether inputs may be admitted: the log is sound, and what is not cosigned is within its bound. */
  get open(): boolean {
    const { witnesses, backlogMax } = this.#o;
    if (this.#state.broken !== "") return false;
    return witnesses.length === 0 || backlogOf(this.#state) <= backlogMax;
  }

  get full(): FullyCosigned | null {
    return this.#full;
  }

  /** The newest note that it signed. */
  get signed(): Buffer | null {
    return this.#signedNote;
  }

  #tree(): Tree {
    const { size, root } = this.#o.log.durable;
    return { size: Number(size), root };
  }

  /**
   * Holds the log against what was signed before, and takes up what was cosigned. To be awaited before anything is
   * served. Throws InvalidError `log.rolled-back`, `log.checkpoint`: refuse to start; nothing was changed.
   */
  async begin(): Promise<void> {
    const { files, witnesses } = this.#o;
    const signed = this.#own(files.signed);
    if (signed !== null) {
      const here = await this.#rootHere(signed.size);
      if (here?.equals(signed.root) !== true) {
        const why = `a checkpoint over ${signed.size} entries was signed, and the log is not its continuation`;
        throw new InvalidError("log.rolled-back", `the log was put back or changed: ${why}`);
      }
      this.#signedNote = files.signed;
    }
    const parties = witnesses.map(({ party }) => party);
    this.#state = newCheckpoints(signed, this.#tree(), parties);
    const cosigned = this.#own(files.cosigned);
    if (cosigned !== null) await this.#take(cosigned, files.cosigned ?? Buffer.alloc(0), null);
    if (this.#state.broken !== "") throw new InvalidError("log.rolled-back", this.#state.broken);
  }

  #own(note: Buffer | null): SignedCheckpoint | null {
    if (note === null) return null;
    try {
      return openCheckpoint(note, this.#log);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError("log.checkpoint", `a stored checkpoint is damaged: ${error.message}`);
    }
  }

  /** Signs from now on whatever becomes durable. */
  run(): void {
    const look = (): void => {
      this.#step({ kind: "log", log: this.#tree() });
      this.#tell();
    };
    this.#timer = this.#o.clock.every(this.#o.everyMs, look);
    look();
  }

  /** Signs nothing more; resolves when nothing is being written or looked at. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#publisher?.close("the gateway stops");
    await this.#notes;
    await this.#signing;
  }

  async #rootHere(size: number): Promise<Buffer | null> {
    const { log } = this.#o;
    if (BigInt(size) > log.durable.size) return null;
    return size === 0 ? emptyRoot : log.rootAt(BigInt(size));
  }

  #step(event: CheckpointEvent): void {
    const { state, effects } = stepCheckpoints(this.#state, event);
    this.#state = state;
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: CheckpointEffect): void {
    const { alarms } = this.#o;
    switch (effect.kind) {
      case "sign":
        this.#signing = this.#sign(effect.tree);
        return;
      case "send":
        this.#send();
        return;
      case "alarm":
        alarms.raise(
          "critical",
          effect.alarm,
          `${effect.why}: nothing is signed or admitted any more`,
        );
        return;
      case "clock": {
        const text = `the witness of party ${effect.party} dates its cosignatures ${effect.byS} s from now: they do not count`;
        alarms.raise("warning", `witness.clock-${effect.party}`, text);
      }
    }
  }

  async #sign(tree: Tree): Promise<void> {
    const note = signCheckpoint(this.#o.key, { origin: this.origin, ...tree });
    try {
      await this.#o.files.keepSigned(note);
    } catch (error) {
      this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#signedNote = note;
    this.#step({ kind: "kept" });
  }

  #send(): void {
    if (this.#watching && this.#signedNote !== null && this.#state.broken === "") {
      this.#publisher?.send(frameType.logCheckpoint, 0n, this.#signedNote);
    }
  }

  /** Raises and clears the alarm of the backlog; tells of changes. */
  #tell(): void {
    const { alarms, backlogMax, onChange, witnesses } = this.#o;
    const backlog = backlogOf(this.#state);
    if (witnesses.length > 0 && backlog > backlogMax) {
      const behind = this.#state.parties.filter(
        ({ size }) => this.#state.log.size - size > backlogMax,
      );
      const who = behind.map(({ party }) => party).join(" and ");
      const text = `the log's newest entries are not cosigned by the witness of party ${who}: no input is admitted`;
      alarms.raise("critical", "log.backlog", text);
    } else alarms.clear("log.backlog");
    if (this.open === this.#wasOpen) return;
    this.#wasOpen = this.open;
    onChange?.();
  }

  /** The publisher connected. Frames that are not the log's go to `onOther`. */
  attach(wire: Wire, onOther: (frame: Frame) => void): void {
    this.#publisher?.close("a newer publisher connected");
    this.#publisher = wire;
    this.#watching = false;
    wire.onClose(() => {
      if (this.#publisher === wire) this.#publisher = null;
    });
    wire.onFrame((frame) => {
      if (frame.type === frameType.logWatch) {
        this.#watching = true;
        this.#send();
      } else if (frame.type === frameType.logCosigned) {
        const note = Buffer.from(frame.payload);
        this.#notes = this.#notes.then(() => this.#onNote(wire, note));
      } else if (!this.serve(wire, frame)) onOther(frame);
    });
  }

  /** Answers LOG_ASK, whoever may ask it. Returns whether the frame was that. Throws InvalidError `log-ask.*`. */
  serve(wire: Wire, frame: Frame): boolean {
    if (frame.type !== frameType.logAsk) return false;
    const { from, count } = decodeLogAsk(frame.payload);
    const { log, logger } = this.#o;
    const start = from < log.durable.size ? from : log.durable.size;
    log.entries(start, count).then(
      (entries) => {
        wire.send(frameType.logLeaves, frame.id, encodeLogLeaves({ from: start, entries }));
      },
      (error: unknown) => {
        const why = error instanceof Error ? error.message : String(error);
        logger.log("error", "gateway.log-read", { why });
        wire.close("the log cannot be read");
      },
    );
    return true;
  }

  /**
   * Answers a recomputer: LOG_ASK, and LOG_WATCH by LOG_COSIGNED, the newest note that all parties cosigned (where there
   * are none: that was signed). Returns whether the frame was one of them. Throws InvalidError `log-ask.*`.
   */
  show(wire: Wire, frame: Frame): boolean {
    if (frame.type !== frameType.logWatch) return this.serve(wire, frame);
    const note = this.#o.witnesses.length === 0 ? this.#signedNote : (this.#full?.bytes ?? null);
    if (note !== null) wire.send(frameType.logCosigned, frame.id, note);
    return true;
  }

  async #onNote(wire: Wire, bytes: Buffer): Promise<void> {
    try {
      const checkpoint = openCheckpoint(bytes, this.#log);
      await this.#take(checkpoint, bytes, Math.floor(this.#o.clock.wallMs() / 1000));
      this.#tell();
    } catch (error) {
      if (error instanceof InvalidError) {
        this.#o.logger.log("error", "gateway.cosigned-refused", { why: error.message });
        wire.close(error.message);
      } else this.#o.onFatal(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Verifies the cosignatures on a checkpoint that we signed, and counts them. */
  async #take(checkpoint: SignedCheckpoint, bytes: Buffer, nowS: number | null): Promise<void> {
    const { witnesses, files, alarms } = this.#o;
    const marks: { party: string; timeS: number }[] = [];
    for (const { party, key } of witnesses) {
      const cosignature = cosignatureOf(checkpoint.note, key);
      if (cosignature !== null) marks.push({ party, timeS: cosignature.time });
    }
    const here = await this.#rootHere(checkpoint.size);
    const { size, root } = checkpoint;
    this.#step({ kind: "cosigned", tree: { size, root }, here, marks, nowS });
    for (const { party, size: cosigned } of this.#state.parties) {
      if (cosigned >= size && marks.some((mark) => mark.party === party))
        alarms.clear(`witness.clock-${party}`);
    }
    const all = this.#state.parties.length > 0 && cosignedSize(this.#state) >= size;
    const newer = this.#full === null || size > this.#full.size;
    if (!all || !newer || marks.length < witnesses.length || this.#state.broken !== "") return;
    this.#full = { ...checkpoint, bytes };
    if (nowS !== null) await files.keepCosigned(bytes);
  }

  /**
   * The receipt of an entry that anybody can check offline, C2SP tlog-proof: inclusion in the newest tree that all
   * parties cosigned. Null when they have not cosigned it yet.
   */
  async proofOf(index: number): Promise<string | null> {
    const full = this.#full;
    if (full === null || index >= full.size) return null;
    const hashes = await this.#o.log.prove(BigInt(index), BigInt(full.size));
    return encodeTlogProof({ index, hashes, checkpoint: encodeNote(full.note) }).toString();
  }

  status(): WitnessedStatus {
    const { backlogMax } = this.#o;
    const state = this.#state;
    return {
      origin: this.origin,
      vkey: this.vkey,
      signed: state.signed?.size ?? 0,
      cosigned: cosignedSize(state),
      backlog: backlogOf(state),
      backlogMax,
      connected: this.#publisher !== null,
      broken: state.broken,
      parties: state.parties.map(({ party, size, timeS }) => ({ party, size, atMs: 1000 * timeS })),
    };
  }
}
