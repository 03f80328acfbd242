/** What the draw's file holds (draw.ts#StoredDraw), as bytes. Only this gateway reads it: adapter/disk/secret-file.ts. */
import { InvalidError } from "../base/assert.ts";
import { Reader, Writer } from "../base/bytes.ts";
import type { AgreedRound, ComingRound, LoggedRound, PartyShare, StoredDraw } from "./draw.ts";

const version = 1;
const commitMax = 1024;

function writeMaybe(out: Writer, value: Buffer | null): void {
  if (value === null) out.u8(0);
  else out.u8(1).blob(value);
}

function writeLogged(out: Writer, { index, atMs, threshold }: LoggedRound): void {
  out.u64(index).u64(BigInt(atMs)).u64(threshold);
}

function writeCurrent(out: Writer, round: AgreedRound): void {
  out.u64(round.round);
  writeLogged(out, round);
  out.raw(round.secrets.gateway).raw(round.secrets.a).raw(round.secrets.b);
}

function writeComing(out: Writer, round: ComingRound): void {
  out.u64(round.round).raw(round.secret).raw(round.sealKey);
  for (const share of [round.a, round.b]) {
    writeMaybe(out, share.commit);
    writeMaybe(out, share.commitment);
    writeMaybe(out, share.secret);
  }
}

/** The place of a coming round's entry is not written: the log knows it. */
export function encodeDraw({ last, current, coming }: StoredDraw): Buffer {
  const out = new Writer().u8(version).u64(last);
  out.u8(current === null ? 0 : 1);
  if (current !== null) writeCurrent(out, current);
  out.u8(coming === null ? 0 : 1);
  if (coming !== null) writeComing(out, coming);
  return out.bytes();
}

const copy32 = (from: Reader): Buffer => Buffer.from(from.raw(32));

function readMaybe(from: Reader): Buffer | null {
  return from.u8() === 0 ? null : Buffer.from(from.blob(commitMax));
}

function readCurrent(from: Reader): AgreedRound {
  const round = from.u64();
  const logged = { index: from.u64(), atMs: Number(from.u64()), threshold: from.u64() };
  const secrets = { gateway: copy32(from), a: copy32(from), b: copy32(from) };
  return { round, ...logged, secrets };
}

function readShare(from: Reader): PartyShare {
  return { commit: readMaybe(from), commitment: readMaybe(from), secret: readMaybe(from) };
}

function readComing(from: Reader): ComingRound {
  const round = from.u64();
  const [secret, sealKey] = [copy32(from), copy32(from)];
  return { round, secret, sealKey, a: readShare(from), b: readShare(from), logged: null };
}

/** Throws InvalidError `draw-file.*`. */
export function decodeDraw(bytes: Uint8Array): StoredDraw {
  const from = new Reader(bytes, "draw-file");
  if (from.u8() !== version) throw new InvalidError("draw-file.version", "another version");
  const last = from.u64();
  const current = from.u8() === 0 ? null : readCurrent(from);
  const coming = from.u8() === 0 ? null : readComing(from);
  from.end();
  return { last, current, coming };
}
