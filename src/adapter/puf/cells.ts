/**
 * SIMULATED SRAM cells. A cell comes up as one iff mismatch + noise > 0: its mismatch is fixed when it is made (normal
 * around `shift`), its noise is fresh at each power-up (normal, `noise` times as wide). So most cells are steady and
 * a few flicker, as in silicon. A file holds the seed of the mismatches; tampering overwrites it.
 *
 * Trust: this proves the algebra and the handling, not physics. Who copies the file has the cells: silicon's cannot be
 * copied, and here putting an old copy back undoes a brick (docs/TRUST.md).
 */
import { createCipheriv } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { fromHex, toHex } from "../../base/bytes.ts";
import { randomBytes, type RandomSource } from "../../base/random.ts";
import { Fields, parseJson } from "../../format/json.ts";
import type { ReadCells } from "../../base/puf/extractor.ts";

/** Mismatch around 0.1, noise a fifth as wide: about 54 % ones, and about 8.8 % of cells differ between two power-ups. */
export const cellModel = { shift: 0.1, noise: 0.2 } as const;

/** `count` standard normal numbers from uniform words (Box and Muller). */
function normals(words: Buffer, count: number): Float64Array {
  const out = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const u = (words.readUInt32LE(4 * i) + 0.5) / 2 ** 32;
    const v = (words.readUInt32LE(4 * i + 4) + 0.5) / 2 ** 32;
    const r = Math.sqrt(-2 * Math.log(u));
    out[i] = r * Math.cos(2 * Math.PI * v);
    if (i + 1 < count) out[i + 1] = r * Math.sin(2 * Math.PI * v);
  }
  return out;
}

/** A power-up of the cells that grew from `seed` (32 bytes). */
export function cellsFrom(
  seed: Uint8Array,
  random: RandomSource,
  model: { readonly shift: number; readonly noise: number } = cellModel,
): ReadCells {
  return (count) => {
    const words = 4 * (count + (count % 2));
    const cipher = createCipheriv("aes-256-ctr", seed, Buffer.alloc(16));
    const fixed = normals(cipher.update(Buffer.alloc(words)), count);
    const fresh = normals(randomBytes(random, words), count);
    const cells = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      cells[i] = (fixed[i] ?? 0) + model.shift + model.noise * (fresh[i] ?? 0) > 0 ? 1 : 0;
    }
    return cells;
  };
}

function writeDurably(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.tmp`;
  const file = openSync(draft, "w", 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(draft, path);
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Overwrites the old seed where it lies, before the new one takes its place. */
function overwrite(path: string, random: RandomSource): void {
  if (!existsSync(path)) return;
  const old = readFileSync(path).length;
  const file = openSync(path, "r+");
  try {
    writeSync(file, randomBytes(random, old));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

export interface SimulatedCells {
  /** One power-up. Throws InvalidError `uid.bricked` when the file is not one. */
  readonly read: ReadCells;
  /** What drilling, probing or cutting does: other cells, for good. Throws UnavailableError `uid.brick`. */
  tamper(): void;
}

function seedOf(path: string): Uint8Array {
  try {
    const fields = new Fields(parseJson(readFileSync(path, "utf8")), "cells");
    fields.integer("format", 1, 1);
    fields.text("simulated");
    const seed = fromHex(fields.text("seed"), 32);
    fields.end();
    return seed;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("uid.bricked", `the cells are gone: ${why}`);
  }
}

/** Grows new cells: another device. */
export function growCells(path: string, random: RandomSource): void {
  const seed = toHex(randomBytes(random, 32));
  const simulated = "stands in for the mismatch of SRAM cells; nobody could read this from silicon";
  writeDurably(path, `${JSON.stringify({ format: 1, simulated, seed })}\n`);
}

/** The cells of the device whose file is `path`. */
export function openCells(path: string, random: RandomSource): SimulatedCells {
  return {
    read: (count) => cellsFrom(seedOf(path), random)(count),
    tamper(): void {
      try {
        overwrite(path, random);
        growCells(path, random);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new UnavailableError(
          "uid.brick",
          `the cells could not be changed: ${why}`,
          "unknown",
        );
      }
    },
  };
}
