/** Gathers the files of a bundle from a site's folder, or from what the options name instead. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { KeyObject } from "node:crypto";
import { readRecomputerRecord, type KeptRecord } from "../../adapter/sqlite/record.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { secretKey } from "../../base/hash.ts";
import { encodeEnvelope, parseEnvelope } from "../../format/dsse.ts";
import {
  encodeDisclosedPair,
  evidencePaths,
  sealRecord,
  type PartyKeys,
  type RecomputerRecord,
} from "../../format/evidence.ts";
import { saltOf } from "../../format/leaf.ts";
import { parseVkey, type NoteKey } from "../../format/note.ts";
import { decodeProofRequest } from "../../format/proof-request.ts";
import { asTag, tagEpoch } from "../../format/tag.ts";
import { parseWhitelist } from "../../format/whitelist.ts";
import { devicePaths } from "../device/folder.ts";
import { askStatus, roleOf } from "../site/client.ts";
import { logKeyFile } from "../site/keys.ts";
import type { DataPaths } from "../site/paths.ts";
import { runningSite } from "../site/site-file.ts";
import { logFromSite, logFromTiles } from "./log.ts";

export interface GatherOptions {
  readonly paths: DataPaths;
  readonly gateway: string;
  readonly parties: { readonly a: PartyKeys; readonly b: PartyKeys };
  /** Each null: from the site's folder. */
  readonly tiles: string | null;
  readonly vkey: string | null;
  readonly trustRoot: string | null;
  readonly whitelists: readonly string[];
  /** Boot manifests of earlier starts. */
  readonly bootManifests: readonly string[];
  readonly db: string | null;
  /** Signs the record; null: the bundle has none. */
  readonly orderKey: KeyObject | null;
  readonly sizeMax: number | null;
  /** Tags (16 hex digits) whose texts are shown; "fails": of every FAILed pair. */
  readonly disclose: "fails" | readonly string[];
  readonly nowMs: number;
  readonly progress: (done: number, of: number) => void;
}

export interface Gathered {
  readonly files: Map<string, Buffer>;
  readonly log: NoteKey;
  /** What could not be had, in words. */
  readonly lacking: readonly string[];
}

function need(path: string, what: string): Buffer {
  if (!existsSync(path)) {
    throw new UnavailableError("evidence.file", `there is no ${what} at ${path}`, "none");
  }
  return readFileSync(path);
}

function addWhitelists(files: Map<string, Buffer>, { paths, whitelists }: GatherOptions): void {
  const all = [
    ...whitelists,
    ...(whitelists.length === 0 || existsSync(paths.whitelist) ? [paths.whitelist] : []),
  ];
  for (const path of all) {
    const bytes = need(path, "whitelist");
    const { version } = parseWhitelist(parseEnvelope(bytes).payload);
    const name = `trust/whitelist-${version}.json`;
    if (files.get(name)?.equals(bytes) === false) {
      throw new InvalidError(
        "evidence.whitelist",
        `${path} is another whitelist of version ${version}`,
      );
    }
    files.set(name, bytes);
  }
}

function addManifest(files: Map<string, Buffer>, bytes: Buffer, path: string): void {
  const payload = parseEnvelope(bytes).payload.toString("latin1");
  const version = /^weir boot manifest\/1\nversion ([1-9]\d{0,8})\n/.exec(payload)?.[1];
  if (version === undefined)
    throw new InvalidError("evidence.manifest", `${path} is no boot manifest`);
  const name = `boot/manifest-${version}.json`;
  if (files.get(name)?.equals(bytes) === false) {
    throw new InvalidError(
      "evidence.manifest",
      `${path} is another boot manifest of version ${version}`,
    );
  }
  files.set(name, bytes);
}

/** The ceremony, the boot manifest, and the chain of the running boot, as far as they are there. */
async function addBoot(files: Map<string, Buffer>, options: GatherOptions): Promise<string[]> {
  const { paths, gateway } = options;
  const lacking: string[] = [];
  const ceremony = devicePaths(join(paths.devices, gateway)).ceremony;
  if (existsSync(ceremony)) files.set(evidencePaths.ceremony, readFileSync(ceremony));
  else lacking.push("the ceremony's transcript");
  for (const path of options.bootManifests) addManifest(files, need(path, "boot manifest"), path);
  if (existsSync(paths.bootManifest)) {
    addManifest(files, readFileSync(paths.bootManifest), paths.bootManifest);
  } else lacking.push("the newest boot manifest");
  try {
    const site = runningSite(paths.root);
    const status = await askStatus(site, roleOf(site, "gateway", gateway));
    const boot = status.role === "gateway" ? status.boot : undefined;
    if (boot === undefined || boot.attestation === "")
      lacking.push("the boot chain: the gateway shows none");
    else {
      const { device, identity, measurement, subject, certificate, log, attestation } = boot;
      const chain = { device, identity, measurement, subject, certificate, log, attestation };
      files.set(evidencePaths.chain, Buffer.from(`${JSON.stringify(chain)}\n`));
    }
  } catch (error) {
    if (!(error instanceof UnavailableError) && !(error instanceof InvalidError)) throw error;
    lacking.push(`the boot chain: ${error.message}`);
  }
  return lacking;
}

function recordOf(kept: KeptRecord, options: GatherOptions, origin: string): RecomputerRecord {
  return {
    ...{ gateway: options.gateway, origin, atMs: options.nowMs },
    verdicts: kept.verdicts.map(({ tag, index, kind, atMs, requestDigest, findings }) => ({
      ...{ tag, index, kind: kind === "fail" ? "fail" : "pass", atMs },
      request: requestDigest.toString("hex"),
      findings: findings.map(({ id }) => id),
    })),
    orders: kept.orders.map(({ digest, settledMs }) => ({ digest, settledMs })),
    releases: kept.releases.map(({ digest }) => digest),
  };
}

/** The lines of the pairs that are to be shown. Throws InvalidError for a pair that cannot be. */
function disclosed(kept: KeptRecord, { disclose }: GatherOptions, size: number): string {
  const chosen =
    disclose === "fails"
      ? kept.verdicts.filter(({ request, index }) => request !== null && index < size)
      : disclose.map((tag) => {
          const found = kept.verdicts.find((verdict) => verdict.tag === tag);
          if (found !== undefined && found.request !== null) return found;
          const why =
            found === undefined
              ? "it was not judged here"
              : "only FAILed pairs are kept with their texts";
          throw new InvalidError("evidence.disclose", `the pair ${tag} cannot be shown: ${why}`);
        });
  return chosen
    .map(({ tag, index, request }) => {
      const id = asTag(BigInt(`0x${tag}`));
      const key = kept.epochs.get(tagEpoch(id));
      if (key === undefined || request === null) {
        throw new InvalidError(
          "evidence.disclose",
          `the key of the epoch of ${tag} is not known here`,
        );
      }
      const { input, output } = decodeProofRequest(request);
      return encodeDisclosedPair({ index, salt: saltOf(secretKey(key), id), input, output });
    })
    .join("");
}

function addRecord(
  files: Map<string, Buffer>,
  options: GatherOptions,
  origin: string,
  size: number,
): string[] {
  const { paths, gateway, orderKey } = options;
  const db = options.db ?? join(paths.recomputer, "verdicts.sqlite");
  if (!existsSync(db)) return [`verdicts and orders: there is no ${db}`];
  const kept = readRecomputerRecord(db, gateway);
  const sealed = [...kept.orders, ...kept.releases].map((order) => `${order.sealed.toString()}\n`);
  files.set(evidencePaths.orders, Buffer.from(sealed.join("")));
  const pairs = disclosed(kept, options, size);
  if (pairs !== "") files.set(evidencePaths.pairs, Buffer.from(pairs));
  if (orderKey === null) return ["the recomputer's record: nobody can sign it here (--order-key)"];
  const envelope = sealRecord(recordOf(kept, options, origin), orderKey);
  files.set(evidencePaths.record, Buffer.from(`${encodeEnvelope(envelope)}\n`));
  return [];
}

/** Everything of a bundle but its manifest. Throws UnavailableError, InvalidError that name what is missing. */
export async function gather(options: GatherOptions): Promise<Gathered> {
  const { paths, gateway, parties, sizeMax, progress } = options;
  const vkey =
    options.vkey ?? need(logKeyFile(paths.keys, gateway), "key of the log").toString().trim();
  const log = parseVkey(vkey);
  const files = new Map<string, Buffer>();
  files.set(evidencePaths.root, need(options.trustRoot ?? paths.trustRoot, "trust root"));
  addWhitelists(files, options);
  const wanted = { gateway, log, parties, sizeMax, progress };
  const found =
    options.tiles === null ? logFromSite(paths, wanted) : await logFromTiles(options.tiles, wanted);
  files.set(evidencePaths.logKey, Buffer.from(`${vkey}\n`));
  files.set(evidencePaths.checkpoint, found.checkpoint);
  found.earlier.forEach((note, i) => files.set(`log/earlier-${i + 1}`, note));
  files.set(evidencePaths.entries, found.entries);
  const lacking = await addBoot(files, options);
  lacking.push(...addRecord(files, options, log.name, found.size));
  return { files, log, lacking };
}
