/** Where the exporter finds a gateway's log: the publisher's HTTP interface, or the folders of a site. */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import { smallClient } from "../../adapter/http/small-client.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { sha256Hex } from "../../base/hash.ts";
import { limits } from "../../base/limits.ts";
import { openCheckpoint, type SignedCheckpoint } from "../../format/checkpoint.ts";
import { cosignatureOf } from "../../format/cosignature.ts";
import type { PartyKeys } from "../../format/evidence.ts";
import { leafBytes } from "../../format/leaf.ts";
import type { NoteKey } from "../../format/note.ts";
import { decodeBundle, tilePath, tileWidth } from "../../format/tlog-tile.ts";
import type { DataPaths } from "../site/paths.ts";

export interface FoundLog {
  /** The bytes of the newest note that both parties' witnesses cosigned. */
  readonly checkpoint: Buffer;
  readonly size: number;
  readonly entries: Buffer;
  /** Other notes of the log, oldest first. */
  readonly earlier: readonly Buffer[];
}

interface Candidate extends SignedCheckpoint {
  readonly bytes: Buffer;
  readonly cosigned: boolean;
}

export interface LogWanted {
  readonly gateway: string;
  readonly log: NoteKey;
  readonly parties: { readonly a: PartyKeys; readonly b: PartyKeys };
  /** No checkpoint above this; null: the newest. */
  readonly sizeMax: number | null;
  readonly progress: (done: number, of: number) => void;
}

function candidate(bytes: Buffer, { log, parties }: LogWanted): Candidate | null {
  try {
    const checkpoint = openCheckpoint(bytes, log);
    const of = ({ witness }: PartyKeys): boolean =>
      witness.some((key) => cosignatureOf(checkpoint.note, key) !== null);
    return { ...checkpoint, bytes, cosigned: of(parties.a) && of(parties.b) };
  } catch (error) {
    // A mirror that nothing was published to yet holds no note.
    if (error instanceof InvalidError) return null;
    throw error;
  }
}

function choose(
  notes: readonly Buffer[],
  wanted: LogWanted,
): { last: Candidate; earlier: Buffer[] } {
  const all = notes
    .map((bytes) => candidate(bytes, wanted))
    .filter((one) => one !== null)
    .filter(({ size }) => wanted.sizeMax === null || size <= wanted.sizeMax)
    .sort((one, other) => one.size - other.size);
  const last = all.findLast(({ cosigned }) => cosigned);
  if (last === undefined) {
    const text = `no checkpoint of ${wanted.gateway}'s log that both parties' witnesses cosigned was found`;
    throw new UnavailableError("evidence.checkpoint", text, "none");
  }
  const sizes = new Set([last.size]);
  const earlier = all.filter(({ size }) => {
    if (size >= last.size || sizes.has(size)) return false;
    sizes.add(size);
    return true;
  });
  return { last, earlier: earlier.map(({ bytes }) => bytes) };
}

/** The first `size` entries of a file of entries, which only grows. */
function readEntries(path: string, size: number): Buffer | null {
  if (!existsSync(path)) return null;
  const entries = Buffer.alloc(size * leafBytes);
  const file = openSync(path, "r");
  try {
    for (let at = 0; at < entries.length;) {
      const read = readSync(file, entries, at, entries.length - at, at);
      if (read === 0) return null;
      at += read;
    }
  } finally {
    closeSync(file);
  }
  return entries;
}

/** From a site's folder, running or not: checkpoints are replaced whole, and entries only added. */
export function logFromSite(paths: DataPaths, wanted: LogWanted): FoundLog {
  const mirror = (role: string): string =>
    join(paths.log, role, sha256Hex(wanted.log.name).slice(0, 32));
  const own = join(paths.gateways, wanted.gateway, "log");
  const files = [
    ...["publisher", "witness-a", "witness-b"].map((role) => join(mirror(role), "checkpoint")),
    join(own, "cosigned"),
    join(own, "checkpoint"),
  ];
  const { last, earlier } = choose(
    files.filter((path) => existsSync(path)).map((path) => readFileSync(path)),
    wanted,
  );
  const sources = [join(mirror("publisher"), "entries.log"), join(own, "leaves.log")];
  for (const path of sources) {
    const entries = readEntries(path, last.size);
    if (entries !== null) return { checkpoint: last.bytes, size: last.size, entries, earlier };
  }
  const text = `no copy of ${wanted.gateway}'s log with ${last.size} entries is in ${paths.root}`;
  throw new UnavailableError("evidence.entries", text, "none");
}

/** From a publisher: `url` is the log's prefix, `http://HOST:PORT/GATEWAY`. Throws UnavailableError. */
export async function logFromTiles(url: string, wanted: LogWanted): Promise<FoundLog> {
  const client = smallClient(url, 60_000);
  const get = async (path: string, max: number): Promise<Buffer> => {
    const { status, body } = await client.get(path, max);
    if (status === 200) return body;
    throw new UnavailableError("evidence.tiles", `${url}${path} answered ${status}`, "none");
  };
  try {
    const { last, earlier } = choose([await get("/checkpoint", limits.note)], wanted);
    const parts: Buffer[] = [];
    for (let at = 0; at < last.size; at += tileWidth) {
      const width = Math.min(tileWidth, last.size - at);
      const path = `/${tilePath({ level: "entries", index: at / tileWidth, width })}`;
      parts.push(...decodeBundle(await get(path, tileWidth * 1024), width, leafBytes));
      wanted.progress(at + width, last.size);
    }
    return { checkpoint: last.bytes, size: last.size, entries: Buffer.concat(parts), earlier };
  } finally {
    client.close();
  }
}
