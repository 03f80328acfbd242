/** A gateway's log with its publisher and both parties' witnesses in this process: links in memory, mirrors on disk. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/adapter/clock.ts";
import { openCheckpointFiles } from "../src/adapter/disk/checkpoint-files.ts";
import { openLeafLog, type DiskLeafLog } from "../src/adapter/disk/leaf-log.ts";
import { openMirror, type DiskMirror } from "../src/adapter/disk/mirror.ts";
import { UnavailableError } from "../src/base/assert.ts";
import type { Clock } from "../src/base/clock.ts";
import { secretKey } from "../src/base/hash.ts";
import { privateKeyFromSeed, publicKeyHex } from "../src/base/sign.ts";
import { cosign } from "../src/format/cosignature.ts";
import { encodeLeaf } from "../src/format/leaf.ts";
import { formatVkey, noteKey, noteKeyType, parseVkey, type NoteKey } from "../src/format/note.ts";
import { makeTag } from "../src/format/tag.ts";
import { tilePath } from "../src/format/tlog-tile.ts";
import { Alarms } from "../src/gateway/alarms.ts";
import { Checkpoints } from "../src/gateway/checkpoints.ts";
import { logKeyOf } from "../src/gateway/identity.ts";
import type { BundleSource } from "../src/log/mirror.port.ts";
import { Publisher, type WitnessAnswer } from "../src/log/publisher.ts";
import { serveTiles } from "../src/log/tiles.ts";
import { WitnessService } from "../src/log/witness-service.ts";
import { nothingCosigned } from "../src/log/witness.ts";
import { quiet, wirePair } from "./support.ts";

export const rootKey = secretKey(Buffer.alloc(32, 0x5e));
export const logKeyPrivate = logKeyOf(rootKey);

export type PartyName = "a" | "b";
const seeds: Readonly<Record<PartyName, number>> = { a: 0xaa, b: 0xbb };

export function witnessPrivate(party: PartyName): ReturnType<typeof privateKeyFromSeed> {
  return privateKeyFromSeed(Buffer.alloc(32, seeds[party]));
}

export function witnessKey(party: PartyName): NoteKey {
  const publicKey = publicKeyHex(witnessPrivate(party));
  return noteKey(`weir.local/witness/${party}`, noteKeyType.cosignature, publicKey);
}

/** A pair leaf like no other. */
export function entry(i: number): Buffer {
  return encodeLeaf({
    tag: makeTag(1, i + 1),
    completedMs: 1_700_000_000_000 + i,
    seed: BigInt(i),
    entryDigest: Buffer.alloc(32, 1),
    inputDigest: Buffer.alloc(32, i % 251),
    outputDigest: Buffer.alloc(32, i % 241),
    finish: "stop",
    tokens: i,
  });
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "weir-log-"));
}

export function removeFolder(dir: string): void {
  rmSync(dir, { recursive: true, force: true });
}

/** The gateway's half: the leaf log and its checkpoints. */
export interface GatewayHalf {
  readonly log: DiskLeafLog;
  readonly checkpoints: Checkpoints;
  readonly alarms: Alarms;
  /** Appends entries and makes them durable. */
  grow(entries: readonly Buffer[]): Promise<void>;
  close(): Promise<void>;
}

export interface HalfOptions {
  readonly backlogMax?: number;
  readonly clock?: Clock;
  readonly witnesses?: readonly PartyName[];
}

export async function openGateway(dir: string, options: HalfOptions = {}): Promise<GatewayHalf> {
  const log = await openLeafLog({ dir: join(dir, "log"), key: rootKey });
  const alarms = new Alarms("g1", systemClock, () => undefined);
  const parties = options.witnesses ?? ["a", "b"];
  const checkpoints = new Checkpoints({
    ...{ gateway: "g1", key: logKeyPrivate, log, alarms, logger: quiet },
    files: await openCheckpointFiles(join(dir, "log")),
    witnesses: parties.map((party) => ({ party, key: witnessKey(party) })),
    backlogMax: options.backlogMax ?? 4096,
    everyMs: 5,
    clock: options.clock ?? systemClock,
    onFatal: (error) => {
      throw error;
    },
  });
  try {
    await checkpoints.begin();
  } catch (error) {
    await log.close();
    throw error;
  }
  checkpoints.run();
  return {
    ...{ log, checkpoints, alarms },
    grow: async (entries) => {
      for (const one of entries) log.append(one);
      await log.commit();
    },
    close: async () => {
      await checkpoints.stop();
      await log.close();
    },
  };
}

export const logVkey = (checkpoints: Checkpoints): NoteKey => parseVkey(checkpoints.vkey);

/** Entry bundles straight from a mirror, as its HTTP interface gives them. */
export function bundlesOf(mirror: DiskMirror): BundleSource {
  return {
    bundle: async (index, width) => {
      const { status, body } = await serveTiles(
        mirror,
        tilePath({ level: "entries", index, width }),
      );
      if (status !== 200) throw new UnavailableError("test.source", `answered ${status}`, "none");
      return body;
    },
  };
}

/** A party's half: one witness with its mirror. */
export interface WitnessHalf {
  readonly service: WitnessService;
  readonly mirror: DiskMirror;
  readonly post: (path: string, body: Buffer) => Promise<WitnessAnswer>;
  close(): Promise<void>;
}

export interface WitnessHalfOptions {
  readonly dir: string;
  readonly party: PartyName;
  readonly log: NoteKey;
  readonly source: BundleSource;
  readonly clock?: Clock;
  readonly checkEntry?: (gateway: string, entry: Buffer) => string | null;
}

export async function openWitness(options: WitnessHalfOptions): Promise<WitnessHalf> {
  const { dir, party, log, source, checkEntry } = options;
  const own = witnessKey(party);
  const mirror = await openMirror({ dir: join(dir, `witness-${party}`), log, witness: own });
  const { found } = mirror;
  const service = new WitnessService({
    ...{ party, name: own.name, vkey: formatVkey(own), logger: quiet },
    ...(checkEntry === undefined ? {} : { checkEntry }),
    cosign: (text, timeS) => cosign(own.name, witnessPrivate(party), text, timeS),
    logs: [
      {
        ...{ gateway: "g1", key: log, vkey: formatVkey(log), deviceKey: "", mirror, source },
        latest:
          found === null
            ? nothingCosigned
            : { size: found.size, root: found.root, time: found.time },
      },
    ],
    clock: options.clock ?? systemClock,
    onFatal: (error) => {
      throw error;
    },
  });
  return {
    service,
    mirror,
    post: (path, body) => service.post(path, body),
    close: () => mirror.close(),
  };
}

/** How the publisher reaches a witness in a test. */
export type Posts = Readonly<
  Record<PartyName, (path: string, body: Buffer) => Promise<WitnessAnswer>>
>;

export interface PublisherHalf {
  readonly publisher: Publisher;
  readonly mirror: DiskMirror;
  /** A new link to the gateway. */
  connect(gateway: GatewayHalf): void;
  close(): Promise<void>;
}

export async function openPublisher(
  dir: string,
  log: NoteKey,
  posts: Posts,
): Promise<PublisherHalf> {
  const mirror = await openMirror({ dir: join(dir, "publisher"), log, witness: null });
  const publisher = new Publisher({
    ...{ gateway: "g1", log, mirror, relays: [], clock: systemClock, logger: quiet },
    witnesses: (["a", "b"] as const).map((party) => ({
      party,
      key: witnessKey(party),
      post: posts[party],
    })),
    onFatal: (error) => {
      throw error;
    },
  });
  return {
    publisher,
    mirror,
    connect: (gateway) => {
      const { left, right } = wirePair(
        { role: "gateway", name: "g1" },
        { role: "publisher", name: "p" },
      );
      gateway.checkpoints.attach(right, (frame) => {
        throw new Error(`frame ${frame.type}`);
      });
      publisher.attach(left);
    },
    close: async () => {
      publisher.stop();
      await publisher.idle();
      await mirror.close();
    },
  };
}

/** Everything together, honest. */
export interface LogHouse {
  readonly dir: string;
  readonly gateway: GatewayHalf;
  readonly publisher: PublisherHalf;
  readonly witnesses: Readonly<Record<PartyName, WitnessHalf>>;
  close(): Promise<void>;
}

export async function openLogHouse(dir: string, options: HalfOptions = {}): Promise<LogHouse> {
  const gateway = await openGateway(dir, options);
  const log = logVkey(gateway.checkpoints);
  let source: BundleSource | null = null;
  const late: BundleSource = {
    bundle: (index, width) => {
      if (source === null) throw new Error("the publisher is not there yet");
      return source.bundle(index, width);
    },
  };
  const a = await openWitness({ dir, party: "a", log, source: late });
  const b = await openWitness({ dir, party: "b", log, source: late });
  const publisher = await openPublisher(dir, log, { a: a.post, b: b.post });
  source = bundlesOf(publisher.mirror);
  publisher.connect(gateway);
  return {
    ...{ dir, gateway, publisher, witnesses: { a, b } },
    close: async () => {
      await publisher.close();
      await gateway.close();
      await a.close();
      await b.close();
    },
  };
}
