/**
 * Tiled logs, C2SP tlog-tiles: where the parts of a log are read, and what they hold (spec/log-tiles.md).
 *
 *   checkpoint
 *   tile/<level>/<index>[.p/<width>]     up to 256 hashes: hash i of tile n is the root over 256^level leaves
 *   tile/entries/<index>[.p/<width>]     up to 256 entries, each u16 length and bytes
 *
 * An index is written in groups of three digits, all but the last with an x before it: 1234067 is x001/x234/067.
 */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";

/** Hashes in a full tile, entries in a full bundle. */
export const tileWidth = 256;
/** Higher tiles would belong to logs that no safe integer counts. */
const levelMax = 6;
/** Groups of three digits of the largest index: 2^53 has sixteen digits. */
const indexMax = Number.MAX_SAFE_INTEGER;

export interface TilePath {
  readonly level: number | "entries";
  readonly index: number;
  /** 1 to 256; below 256 the tile is partial. */
  readonly width: number;
}

/** Where a tile stands, below the log's prefix. */
export function tilePath({ level, index, width }: TilePath): string {
  let digits = String(index);
  digits = digits.padStart(3 * Math.ceil(digits.length / 3), "0");
  const groups = digits.match(/.{3}/g) ?? [];
  const last = groups.length - 1;
  const path = groups.map((group, i) => (i < last ? `x${group}` : group)).join("/");
  return `tile/${level}/${path}${width === tileWidth ? "" : `.p/${width}`}`;
}

/** Parses such a path, in its one spelling. Throws InvalidError `tile.path`. */
export function parseTilePath(path: string): TilePath {
  const match =
    /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/.exec(path);
  const [, level = "", index = "", width = String(tileWidth)] = match ?? [];
  const parsed: TilePath = {
    level: level === "entries" ? "entries" : Number(level),
    index: Number(index.replace(/[x/]/g, "")),
    width: Number(width),
  };
  const known = parsed.level === "entries" || parsed.level <= levelMax;
  if (match === null || !known || parsed.index > indexMax || tilePath(parsed) !== path) {
    throw new InvalidError("tile.path", "not the path of a tile or a bundle");
  }
  if (parsed.width < 1 || parsed.width > tileWidth) {
    throw new InvalidError("tile.path", "a tile has 1 to 256 hashes");
  }
  return parsed;
}

/** How many hashes tile `index` of `level` has in a log of `size` entries; 0: it does not exist. */
export function tileWidthAt(level: number | "entries", index: number, size: number): number {
  const hashes = Math.floor(size / tileWidth ** (level === "entries" ? 0 : level));
  return Math.max(0, Math.min(tileWidth, hashes - index * tileWidth));
}

/** An entry bundle. */
export function encodeBundle(entries: readonly Uint8Array[]): Buffer {
  const out = new Writer(entries.length * 130);
  for (const entry of entries) out.u16(entry.length).raw(entry);
  return out.bytes();
}

/** Parses a bundle of exactly `count` entries of at most `entryMax` bytes each. Throws InvalidError `bundle.*`. */
export function decodeBundle(bytes: Uint8Array, count: number, entryMax = 65_535): Buffer[] {
  const from = new Reader(bytes, "bundle");
  const entries: Buffer[] = [];
  for (let i = 0; i < count; i++) {
    const length = from.u16();
    if (length > entryMax) throw new InvalidError("bundle.entry", "an entry is too long");
    entries.push(from.raw(length));
  }
  from.end();
  return entries;
}
