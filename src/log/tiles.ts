/** Serving a log's read interface, C2SP tlog-tiles, and fetching entries over it. Paths: format/tlog-tile.ts. */
import { InvalidError } from "../base/assert.ts";
import { leafHash } from "../base/merkle.ts";
import { leafBytes } from "../format/leaf.ts";
import {
  decodeBundle,
  encodeBundle,
  parseTilePath,
  tileWidth,
  tileWidthAt,
  type TilePath,
} from "../format/tlog-tile.ts";
import type { BundleSource, LogReader, Mirror } from "./mirror.port.ts";

/** What is answered to a GET. */
export interface Served {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

const notFound: Served = {
  status: 404,
  type: "text/plain; charset=utf-8",
  body: Buffer.from("not here\n"),
};

function split(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / leafBytes }, (_, i) =>
    bytes.subarray(i * leafBytes, (i + 1) * leafBytes),
  );
}

async function tile(log: LogReader, { level, index, width }: TilePath): Promise<Buffer> {
  const from = index * tileWidth;
  if (level === "entries") return encodeBundle(split(await log.entries(from, width)));
  if (level === 0) return Buffer.concat(split(await log.entries(from, width)).map(leafHash));
  const hashes = Array.from({ length: width }, (_, i) => log.node(8 * (level - 1), from + i));
  return Buffer.concat(hashes);
}

/** Answers a GET below the log's prefix: `checkpoint`, or the path of a tile or bundle. */
export async function serveTiles(log: LogReader, path: string): Promise<Served> {
  if (path === "checkpoint") {
    if (log.note === null) return notFound;
    return { status: 200, type: "text/plain; charset=utf-8", body: log.note };
  }
  let asked: TilePath;
  try {
    asked = parseTilePath(path);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    return notFound;
  }
  const here = tileWidthAt(asked.level, asked.index, log.size);
  if (asked.width > here) return notFound;
  return { status: 200, type: "application/octet-stream", body: await tile(log, asked) };
}

/** Why an entry may not be in a tree that is cosigned; null when it may. */
export type EntryCheck = (entry: Buffer) => string | null;

/**
 * Fetches the entries [mirror.size, to) and holds them aside. Throws InvalidError `bundle.*`, `log.entry` (what `check`
 * said), UnavailableError.
 */
export async function stageFrom(
  source: BundleSource,
  mirror: Mirror,
  to: number,
  check: EntryCheck = () => null,
): Promise<void> {
  for (let at = mirror.size + mirror.staged; at < to;) {
    const index = Math.floor(at / tileWidth);
    const width = Math.min(tileWidth, to - index * tileWidth);
    const bundle = decodeBundle(await source.bundle(index, width), width, leafBytes);
    const entries = bundle.slice(at - index * tileWidth);
    for (const entry of entries) {
      if (entry.length !== leafBytes) {
        throw new InvalidError("bundle.entry", "an entry is not 128 bytes");
      }
      const why = check(entry);
      if (why !== null) throw new InvalidError("log.entry", why);
    }
    await mirror.stage(Buffer.concat(entries));
    at = index * tileWidth + width;
  }
}
