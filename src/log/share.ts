/**
 * A party's side of the joint draw, spec/draw.md: it commits to a secret, and gives it to the gateway only when the
 * round's entry, with its own commitment, the other party's and the gateway's one and only, stands in the log that
 * this witness mirrors and cosigned. The rules are pure functions over what the party holds; `DrawShares` keeps that on
 * disk before it answers, and is mounted beside add-checkpoint (witness-routes.ts).
 *
 * Trust: who reads this file before a round is revealed has one of its three secrets, and can predict nothing. Who has
 * all three can predict coins. A party that puts an older file back signs a second commitment for a round: two
 * signatures that prove it.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { InvalidError } from "../base/assert.ts";
import { equalBytes, Reader, Writer } from "../base/bytes.ts";
import { hpkeSeal } from "../base/hpke.ts";
import { randomBytes, type RandomSource } from "../base/random.ts";
import type { Logger } from "../base/report.ts";
import { publicKeyFromHex } from "../base/sign.ts";
import {
  commitmentOf,
  decodeDrawCommit,
  decodeDrawLogged,
  decodeDrawOpen,
  encodeDrawCommit,
  encodeDrawSecret,
  gatewayOfDraw,
  secretContext,
  type DrawCommit,
  type DrawOpen,
  type DrawParty,
} from "../format/draw.ts";
import { decodeLogEntry, leafBytes } from "../format/leaf.ts";
import { routeOk, type RouteReply, type WitnessedLog, type WitnessView } from "./witness-routes.ts";

/** What a party holds for one gateway: the newest round that it was asked for. */
export interface HeldShare {
  readonly round: bigint;
  /** The c_G that was answered, and the key that its secret is sealed to. */
  readonly answers: Buffer;
  readonly sealTo: Buffer;
  readonly secret: Buffer;
  /** The secret was given to the gateway. */
  readonly released: boolean;
}

export type ShareAnswer =
  | { readonly kind: "held"; readonly share: HeldShare }
  /** `suspect`: only a gateway that breaks the rules, or lost its disk, asks for this. */
  | { readonly kind: "refused"; readonly why: string; readonly suspect: boolean };

function refused(why: string, suspect = false): ShareAnswer {
  return { kind: "refused", why, suspect };
}

/**
 * A round is begun: what is held afterwards, or why not. A round is answered once, for one c_G; asked again in the same
 * words, the same is held. No round begins while the secret of the one before it was not given, nor any but the next
 * one: of rounds that it skipped, a party would have nothing to say. `opened`: the round that the party's mirror opened
 * last, 0 for none; it counts where nothing is held. `fresh`: 32 random bytes for a new secret. Pure.
 */
export function openShare(
  held: HeldShare | null,
  opened: bigint,
  open: DrawOpen,
  fresh: Buffer,
): ShareAnswer {
  const { round, commitment, sealTo } = open;
  if (held !== null && round < held.round) return refused(`round ${round} is over`);
  if (round === held?.round) {
    const same = equalBytes(held.answers, commitment) && equalBytes(held.sealTo, sealTo);
    return same
      ? { kind: "held", share: held }
      : refused(`a second commitment of the gateway for round ${round}`, true);
  }
  if (held !== null && !held.released) {
    return refused(`round ${held.round} is not over: its secret was never asked for`, true);
  }
  const last = held?.round ?? opened;
  if (round !== last + 1n)
    return refused(`round ${round} does not follow round ${last}`, held !== null);
  return {
    kind: "held",
    share: { round, answers: commitment, sealTo, secret: fresh, released: false },
  };
}

/**
 * The gateway asks for the secret: what is held afterwards, `released`, or why not. `entry` is what stands at the
 * place named, in the party's own mirror (null: nothing yet); `commits` are both parties', their signatures checked.
 * Pure.
 */
export function releaseShare(
  party: DrawParty,
  held: HeldShare | null,
  gateway: string,
  round: bigint,
  entry: Buffer | null,
  commits: Readonly<Record<DrawParty, DrawCommit>>,
): ShareAnswer {
  if (held?.round !== round) return refused(`no secret is held for round ${round}`);
  if (entry === null) return refused("the entry is not in the log that was cosigned here: later");
  const why = wrongEntry(entry, held, round, commits);
  if (why !== null) return refused(why, true);
  const own = commitmentOf(party, round, held.secret);
  for (const [name, commit] of Object.entries(commits)) {
    const fits = commit.gateway === gateway && commit.round === round && commit.party === name;
    if (!fits || !equalBytes(commit.answers, held.answers)) {
      return refused(`the commitment of party ${name} is for something else`, true);
    }
  }
  if (!equalBytes(commits[party].commitment, own)) {
    return refused("the entry holds a commitment in our name that is not ours", true);
  }
  return { kind: "held", share: { ...held, released: true } };
}

function wrongEntry(
  bytes: Buffer,
  held: HeldShare,
  round: bigint,
  commits: Readonly<Record<DrawParty, DrawCommit>>,
): string | null {
  const entry = decodeLogEntry(bytes);
  if (entry.kind !== "round-open" || entry.round !== round) return "another entry stands there";
  if (!equalBytes(entry.gateway, held.answers))
    return "the gateway logged another commitment of its own";
  for (const party of ["a", "b"] as const) {
    if (!equalBytes(entry[party], commits[party].commitment)) {
      return `the entry holds another commitment than party ${party} signed`;
    }
  }
  return null;
}

/** The round that an entry opens; null when it opens none. Throws InvalidError `leaf.*`. */
export function roundOpened(bytes: Buffer): bigint | null {
  const entry = decodeLogEntry(bytes);
  return entry.kind === "round-open" ? entry.round : null;
}

/** Entries that are read at once when a log is looked through from its end. */
const chunk = 4096;

/** The round that a log's entries opened last; 0 for none. Throws InvalidError `leaf.*`. */
export async function lastOpened({
  size,
  entries,
}: {
  readonly size: number;
  readonly entries: (from: number, count: number) => Promise<Buffer>;
}): Promise<bigint> {
  for (let end = size; end > 0; end -= chunk) {
    const from = Math.max(0, end - chunk);
    const bytes = await entries(from, end - from);
    for (let at = bytes.length - leafBytes; at >= 0; at -= leafBytes) {
      const round = roundOpened(bytes.subarray(at, at + leafBytes));
      if (round !== null) return round;
    }
  }
  return 0n;
}

/** What a witness cosigned of a log, entry by entry: slow, and needed only where no share is held. */
function entriesOf(log: WitnessedLog): Parameters<typeof lastOpened>[0] {
  const one = async (index: number): Promise<Buffer> => (await log.entry(index)) ?? Buffer.alloc(0);
  return {
    size: log.latest().size,
    entries: async (from, count) =>
      Buffer.concat(await Promise.all(Array.from({ length: count }, (_, i) => one(from + i)))),
  };
}

/**
 * Why a party may not cosign a log with this entry in it: it opens a round out of turn, or in the party's name and the
 * party never agreed to it. Null when there is nothing to say. `opened`: the round that the log opened last before this
 * entry, 0 for none.
 *
 * A round is opened once, whatever the second opening holds: a gateway that knows a party's secret from the first could
 * choose among several, and with them among coins. Rounds before the one that is held were looked at when they came
 * (a mirror that is made anew reads them again). Pure.
 */
export function refusesEntry(
  party: DrawParty,
  held: HeldShare | null,
  opened: bigint,
  bytes: Buffer,
): string | null {
  const entry = decodeLogEntry(bytes);
  if (entry.kind !== "round-open") return null;
  const { round } = entry;
  if (round <= opened) return `the log opens round ${round} again, after round ${opened}`;
  if (round !== opened + 1n)
    return `the log opens round ${round} after round ${opened}: rounds rise by one`;
  if (held !== null && round < held.round) return null;
  const ours = held?.round === round ? commitmentOf(party, round, held.secret) : null;
  if (ours !== null && equalBytes(entry[party], ours)) return null;
  return `the log opens round ${round} with a commitment that party ${party} never gave`;
}

/** The shares by the gateway's device key (64 hex digits), as the file holds them. */
export function encodeShares(shares: ReadonlyMap<string, HeldShare>): Buffer {
  const out = new Writer().u8(1).u32(shares.size);
  for (const [gateway, { round, answers, sealTo, secret, released }] of shares) {
    out
      .text(gateway)
      .u64(round)
      .raw(answers)
      .raw(sealTo)
      .raw(secret)
      .u8(released ? 1 : 0);
  }
  return out.bytes();
}

/** Throws InvalidError `shares.*`. */
export function decodeShares(bytes: Uint8Array): Map<string, HeldShare> {
  const from = new Reader(bytes, "shares");
  if (from.u8() !== 1) throw new InvalidError("shares.version", "another version");
  const shares = new Map<string, HeldShare>();
  for (let left = from.count(65_536); left > 0; left--) {
    const deviceKey = from.text(64);
    const round = from.u64();
    const [answers, sealTo, secret] = [1, 2, 3].map(() => Buffer.from(from.raw(32)));
    const released = from.u8() === 1;
    if (answers === undefined || sealTo === undefined || secret === undefined) break;
    shares.set(deviceKey, { round, answers, sealTo, secret, released });
  }
  from.end();
  return shares;
}

export interface DrawSharesOptions {
  readonly party: DrawParty;
  /** This party's draw key: Ed25519, private. And the other's, public. */
  readonly key: KeyObject;
  readonly otherKey: KeyObject;
  /** Where the secrets survive a crash: adapter/disk/secret-file.ts. */
  readonly file: { read(): Promise<Buffer | null>; write(content: Uint8Array): Promise<void> };
  readonly random: RandomSource;
  readonly logger: Logger;
}

export class DrawShares {
  readonly #o: DrawSharesOptions;
  #shares: ReadonlyMap<string, HeldShare>;
  /** One request at a time: both routes change the same file. */
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(options: DrawSharesOptions, shares: ReadonlyMap<string, HeldShare>) {
    this.#o = options;
    this.#shares = shares;
  }

  /** Reads the file. Throws InvalidError `shares.*`, `secret-file.damaged`. */
  static async open(options: DrawSharesOptions): Promise<DrawShares> {
    const bytes = await options.file.read();
    return new DrawShares(options, bytes === null ? new Map() : decodeShares(bytes));
  }

  /**
   * See `refusesEntry`: to be asked for each entry before a tree with it is cosigned. `deviceKey`: the gateway's, as in
   * the view.
   */
  refuses(deviceKey: string, opened: bigint, entry: Buffer): string | null {
    return refusesEntry(this.#o.party, this.#shares.get(deviceKey) ?? null, opened, entry);
  }

  /** POST /draw/open. Throws InvalidError `draw.*`; UnavailableError when the file cannot be written. */
  onOpen(view: WitnessView, body: Buffer): Promise<RouteReply> {
    return this.#oneByOne(() => this.#open(view, body));
  }

  /** POST /draw/secret. Throws as `onOpen`. */
  onSecret(view: WitnessView, body: Buffer): Promise<RouteReply> {
    return this.#oneByOne(() => this.#secret(view, body));
  }

  #oneByOne(action: () => Promise<RouteReply>): Promise<RouteReply> {
    const reply = this.#queue.then(action);
    this.#queue = reply.catch(() => undefined);
    return reply;
  }

  async #open(view: WitnessView, body: Buffer): Promise<RouteReply> {
    const { party, key, random } = this.#o;
    const log = logOf(view, gatewayOfDraw(body));
    const open = decodeDrawOpen(body, publicKeyFromHex(log.deviceKey));
    const { gateway, deviceKey } = log;
    const held = this.#shares.get(deviceKey) ?? null;
    const opened = held === null ? await lastOpened(entriesOf(log)) : 0n;
    const answer = openShare(held, opened, open, randomBytes(random, 32));
    if (answer.kind === "refused") return this.#refuse(gateway, answer);
    await this.#hold(deviceKey, answer.share, held);
    const { round, answers, secret } = answer.share;
    const commitment = commitmentOf(party, round, secret);
    return routeOk(encodeDrawCommit({ gateway, round, party, answers, commitment }, key));
  }

  async #secret(view: WitnessView, body: Buffer): Promise<RouteReply> {
    const { party, key, otherKey, random } = this.#o;
    const { gateway, round, index, ...sent } = decodeDrawLogged(body);
    const log = logOf(view, gateway);
    const keyOf = (of: DrawParty): KeyObject => (of === party ? key : otherKey);
    const commits = {
      a: decodeDrawCommit(sent.a, publicHalf(keyOf("a"))),
      b: decodeDrawCommit(sent.b, publicHalf(keyOf("b"))),
    };
    const held = this.#shares.get(log.deviceKey) ?? null;
    const covered = index < BigInt(log.latest().size);
    const entry = covered ? await log.entry(Number(index)) : null;
    const answer = releaseShare(party, held, gateway, round, entry, commits);
    if (answer.kind === "refused") return this.#refuse(gateway, answer);
    await this.#hold(log.deviceKey, answer.share, held);
    const { secret, sealTo } = answer.share;
    const { info, aad } = secretContext(gateway, round, party);
    const sealed = hpkeSeal(sealTo, info, aad, secret, random);
    return routeOk(encodeDrawSecret({ gateway, round, party, sealed }, key));
  }

  /** Durable before it is answered by. */
  async #hold(deviceKey: string, share: HeldShare, before: HeldShare | null): Promise<void> {
    if (share === before) return;
    const shares = new Map(this.#shares).set(deviceKey, share);
    await this.#o.file.write(encodeShares(shares));
    this.#shares = shares;
  }

  #refuse(
    gateway: string,
    { why, suspect }: Extract<ShareAnswer, { readonly kind: "refused" }>,
  ): RouteReply {
    const { logger, party } = this.#o;
    logger.log(suspect ? "error" : "info", "witness.draw-refused", { party, gateway, why });
    return { status: 409, body: Buffer.from(`${why}\n`) };
  }
}

function publicHalf(key: KeyObject): KeyObject {
  return key.type === "public" ? key : createPublicKey(key);
}

function logOf(view: WitnessView, gateway: string): WitnessedLog {
  const log = view.logs.find((one) => one.gateway === gateway);
  if (log === undefined || log.deviceKey === "") {
    throw new InvalidError("draw.gateway", `no device key is known for gateway ${gateway}`);
  }
  return log;
}
