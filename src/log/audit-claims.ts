/** The audit's checks of what stands beside the log: boots, disclosed pairs, the parties' commitments, verdicts, orders. */
import { InvalidError } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { sha256Hex } from "../base/hash.ts";
import { publicKeyFromHex } from "../base/sign.ts";
import { checkBootChain } from "../format/boot-certificate.ts";
import { decodeDrawCommit, partyOfDraw, type DrawCommit } from "../format/draw.ts";
import { signersOf } from "../format/dsse.ts";
import {
  evidencePaths,
  isNumbered,
  linesOf,
  parseCommitLine,
  parseDisclosedPair,
  parseShownChain,
  type DisclosedPair,
} from "../format/evidence.ts";
import { decodeLogEntry, inputDigestOf, outputDigestOf, type Leaf } from "../format/leaf.ts";
import { decodeInput, decodeOutput, type Input, type Output } from "../format/pair.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import { held, unsound } from "./audit-failure.ts";
import { entryAt, type AuditedLog } from "./audit-log.ts";
import {
  envelopeOf,
  type AuditedDevice,
  type AuditedWhitelist,
  type Files,
  type Parties,
} from "./audit-trust.ts";

export const bootManifestType = "application/vnd.weir.boot-manifest; v=1";
const noDigest = "0".repeat(64);

export interface AuditedBoots {
  /** Starts that were not measured, and starts whose manifest the bundle does not hold. */
  readonly unmeasured: number;
  readonly unknown: number;
  /** Whether the gateway's chain of its newest boot was there, and held. */
  readonly chain: boolean;
}

/** Digests of the payloads of boot manifests that both parties signed. */
function bootManifests(files: Files, { a, b }: Parties): Set<string> {
  const digests = new Set<string>();
  for (const [path, bytes] of files) {
    if (!isNumbered("bootManifest", path)) continue;
    const envelope = envelopeOf("boot.manifest", path, bytes, bootManifestType);
    const signers = signersOf(envelope, bootManifestType, [...a.boot, ...b.boot]);
    for (const { party, boot } of [a, b]) {
      if (boot.some((key) => signers.has(key))) continue;
      unsound("boot.manifest", path, `party ${party.toUpperCase()} did not sign it`);
    }
    digests.add(sha256Hex(envelope.payload));
  }
  return digests;
}

/** Step 9: one device in all starts, measurements that both parties signed, and the chain of the newest boot. */
export function auditBoots(
  files: Files,
  gateway: string,
  parties: Parties,
  log: AuditedLog,
  { device }: AuditedDevice,
): AuditedBoots {
  const manifests = bootManifests(files, parties);
  let [unmeasured, unknown] = [0, 0];
  const wanted = device?.device ?? log.boots[0]?.deviceKey.toString("hex") ?? "";
  for (const { index, deviceKey, measurement } of log.boots) {
    const key = deviceKey.toString("hex");
    if (key !== wanted) {
      const why = `the device key is ${key}, expected ${wanted}`;
      unsound("boot.device", `${evidencePaths.entries}, entry ${index}`, why);
    }
    const digest = measurement.toString("hex");
    if (digest === noDigest) unmeasured++;
    else if (!manifests.has(digest)) unknown++;
  }
  return { unmeasured, unknown, chain: auditChain(files, gateway, manifests, log, device) };
}

function auditChain(
  files: Files,
  gateway: string,
  manifests: ReadonlySet<string>,
  log: AuditedLog,
  device: AuditedDevice["device"],
): boolean {
  const path = evidencePaths.chain;
  const bytes = files.get(path);
  if (bytes === undefined || device === null) return false;
  const chain = held("boot.chain", path, () => parseShownChain(bytes));
  const { identity } = device;
  held("boot.chain", path, () => {
    checkBootChain(gateway, { identity, measurement: chain.measurement }, chain);
  });
  if (chain.device !== device.device || chain.log !== device.log) {
    unsound("boot.chain", path, "it vouches for other keys than those of the ceremony");
  }
  if (!manifests.has(chain.measurement)) {
    unsound("boot.chain", path, `no boot manifest here has the digest ${chain.measurement}`);
  }
  const booted = log.boots.some(
    ({ measurement }) => measurement.toString("hex") === chain.measurement,
  );
  if (!booted) unsound("boot.chain", path, "no start in the log has this measurement");
  return true;
}

/** A disclosed pair that is in the log. */
export interface AuditedPair extends DisclosedPair {
  readonly where: string;
  readonly leaf: Leaf;
  readonly decoded: { readonly input: Input; readonly output: Output };
  readonly entry: WhitelistEntry | null;
}

function auditPair(
  one: DisclosedPair,
  where: string,
  log: AuditedLog,
  lists: readonly AuditedWhitelist[],
): AuditedPair {
  const { index, salt, input, output } = one;
  if (index >= log.size) unsound("pair.index", where, `the log has no entry ${index}`);
  const leaf = decodeLogEntry(entryAt(log.entries, index));
  if (leaf.kind !== "pair") return unsound("pair.index", where, `entry ${index} is no pair`);
  if (!equalBytes(inputDigestOf(salt, input), leaf.inputDigest)) {
    unsound("pair.digest", where, `the input is not the one that entry ${index} commits to`);
  }
  if (!equalBytes(outputDigestOf(salt, output), leaf.outputDigest)) {
    unsound("pair.digest", where, `the output is not the one that entry ${index} commits to`);
  }
  const decoded = held("pair.content", where, () => ({
    input: decodeInput(input),
    output: decodeOutput(output),
  }));
  const { finish, tokenIds } = decoded.output;
  if (finish !== leaf.finish || tokenIds.length !== leaf.tokens) {
    const why = `the leaf says ${leaf.tokens} tokens and ${leaf.finish}, the output ${tokenIds.length} and ${finish}`;
    unsound("pair.content", where, why);
  }
  const entry = lists
    .flatMap(({ entries }) => entries)
    .find(({ digest }) => equalBytes(digest, leaf.entryDigest));
  if (entry !== undefined && entry.modelId !== decoded.input.modelId) {
    const why = `the input asks for ${decoded.input.modelId}, it was served by ${entry.modelId}`;
    unsound("pair.content", where, why);
  }
  return { ...one, where, leaf, decoded, entry: entry ?? null };
}

/** Step 10: each disclosed pair is the one that its leaf commits to. */
export function auditPairs(
  files: Files,
  log: AuditedLog,
  lists: readonly AuditedWhitelist[],
): AuditedPair[] {
  const path = evidencePaths.pairs;
  const lines = held("pair.format", path, () => linesOf(files.get(path) ?? Buffer.alloc(0)));
  const pairs: AuditedPair[] = [];
  const seen = new Set<number>();
  lines.forEach((line, i) => {
    const where = `${path}, line ${i + 1}`;
    const one = held("pair.format", where, () => parseDisclosedPair(line));
    if (seen.has(one.index)) unsound("pair.twice", where, `entry ${one.index} is disclosed twice`);
    seen.add(one.index);
    pairs.push(auditPair(one, where, log, lists));
  });
  return pairs;
}

function openCommit(bytes: Buffer, { a, b }: Parties, where: string): DrawCommit {
  const party = held("draw.format", where, () => partyOfDraw(bytes));
  const keys = party === "a" ? a.draw : b.draw;
  for (const key of keys) {
    try {
      return decodeDrawCommit(bytes, publicKeyFromHex(key));
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
    }
  }
  return unsound(
    "draw.signature",
    where,
    `party ${party.toUpperCase()}'s draw key did not sign it`,
  );
}

/** Step 11: commitments that the parties signed are those of the round's entry. Returns how many rounds have both. */
export function auditCommits(
  files: Files,
  gateway: string,
  parties: Parties,
  log: AuditedLog,
): number {
  const path = evidencePaths.commits;
  const lines = held("draw.format", path, () => linesOf(files.get(path) ?? Buffer.alloc(0)));
  const signed = new Map<bigint, Set<string>>();
  lines.forEach((line, i) => {
    const where = `${path}, line ${i + 1}`;
    const bytes = held("draw.format", where, () => parseCommitLine(line));
    const commit = openCommit(bytes, parties, where);
    const { round, party } = commit;
    const open = log.rounds.opens.get(round);
    if (commit.gateway !== gateway || open === undefined) {
      return unsound(
        "draw.commitment",
        where,
        `it is for round ${round} of ${commit.gateway}, which this log does not open`,
      );
    }
    const same =
      equalBytes(commit.commitment, open[party]) && equalBytes(commit.answers, open.gateway);
    if (!same) {
      const why = `party ${party.toUpperCase()} signed another commitment than the log has in round ${round}`;
      unsound("draw.commitment", where, why);
    }
    signed.set(round, (signed.get(round) ?? new Set()).add(party));
  });
  return [...signed.values()].filter((set) => set.size === 2).length;
}
