/** The laws against vectors of independent code: spec/vectors/noise-laws.py, spec/vectors/noise-law.py. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { gumbel } from "../../format/noise.ts";
import type { GumbelLaw } from "../law.ts";
import { gumbelPhilox } from "./gumbel-philox.ts";
import { laws, lawOf, positionOf } from "./index.ts";
import { llamaMt19937 } from "./llama-mt19937.ts";
import { murmur3, sglangHash, sglangMurmur, sglangOldHash } from "./sglang-hash.ts";
import { vllmPhilox, vllmUniform } from "./vllm-philox.ts";

interface Row {
  readonly seed: string;
  readonly position: number;
  readonly token: number;
  readonly value: number;
  readonly u: number;
  readonly blocks: [number, number, number, number];
  readonly hash: number;
}

const folder = new URL("../../../spec/vectors/", import.meta.url);
const read = (name: string): Record<string, Row[]> =>
  JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Record<string, Row[]>;
const vectors = read("noise-laws.json");

function rows(name: string, atLeast: number): Row[] {
  const found = vectors[name] ?? [];
  assert.ok(found.length >= atLeast, `${name}: ${found.length} vectors`);
  return found;
}
const seedOf = (row: Row): bigint => BigInt(`0x${row.seed}`);

test("laws: gumbel-philox/1 -> the vectors of spec/noise-law.md, whichever seed came before", () => {
  const found = read("noise-law.json")["gumbel"] ?? [];
  assert.ok(found.length > 20);
  for (const row of [...found, ...found.toReversed()]) {
    const noise = gumbelPhilox.noise(seedOf(row), row.position, row.token);
    assert.equal(noise, gumbel(seedOf(row), row.position, row.token));
    assert.ok(Math.abs(noise - row.value) < 1e-12);
  }
});

test("laws: llama-mt19937/1 -> the vectors exactly, in any order of positions", () => {
  const found = rows("llama-mt19937/1", 30);
  for (const row of [...found, ...found.toReversed()]) {
    assert.equal(llamaMt19937.uniform(seedOf(row), row.position), row.value);
  }
});

function within(law: GumbelLaw, tolerance: number): void {
  for (const row of rows(law.name, 36)) {
    const noise = law.noise(seedOf(row), row.position, row.token);
    assert.ok(
      Math.abs(noise - row.value) <= tolerance,
      `${law.name} ${JSON.stringify(row)} ${noise}`,
    );
  }
}

test("laws: vllm-philox/1 -> tl.rand exactly, the noise to float32's last bit", () => {
  for (const row of rows("tl.rand", 80)) {
    assert.equal(vllmUniform(seedOf(row), row.position, row.token), row.u);
  }
  within(vllmPhilox, 2e-6);
});

test("laws: both SGLang laws -> the vectors; MurmurHash3 exactly", () => {
  for (const row of rows("murmur3", 36)) assert.equal(murmur3(row.blocks), row.hash);
  within(sglangMurmur, 1e-12);
  within(sglangHash, 2e-6);
});

test("laws: SGLang's old hash in 32-bit arithmetic -> equals its formula in whole integers", () => {
  const word = fc.nat(0xffffffff);
  fc.assert(
    fc.property(word, fc.nat(1 << 20), fc.nat(300_000), (seed, position, column) => {
      const step = (BigInt(seed) * 19349663n) ^ (BigInt(position) * 73856093n);
      const hash = (step * 8589934591n) ^ (BigInt(column) * 479001599n);
      assert.equal(sglangOldHash(seed, position, column), Number(BigInt.asUintN(24, hash)));
    }),
  );
});

test("laws: SGLang's old hash -> seeds that agree in 24 bits give the same noise; the new one's not", () => {
  const [one, other] = [5n, 5n + (1n << 24n)];
  assert.equal(sglangHash.noise(one, 3, 99), sglangHash.noise(other, 3, 99));
  assert.notEqual(sglangMurmur.noise(one, 3, 99), sglangMurmur.noise(other, 3, 99));
});

test("laws: noise and uniforms -> finite, and as many as there should be beyond the quartiles", () => {
  const count = 4000;
  for (const law of laws) {
    if (law.family === "greedy") continue;
    let below = 0;
    for (let i = 0; i < count; i++) {
      const [seed, position] = [BigInt(i % 40) * 0x1_0000_0001n, Math.floor(i / 40)];
      const value =
        law.family === "gumbel" ? law.noise(seed, position, 7 * i) : law.uniform(seed, position);
      assert.ok(Number.isFinite(value), law.name);
      // A Gumbel number lies below -ln(ln 4) with probability 1/4.
      if (value < (law.family === "gumbel" ? -Math.log(Math.log(4)) : 0.25)) below++;
    }
    const room = 5 * Math.sqrt(count * 0.1875);
    assert.ok(Math.abs(below - count / 4) < room, `${law.name}: ${below}`);
  }
});

test("laws: lawOf -> every law by its name; another name -> law.unknown, with those there are", () => {
  for (const law of laws) assert.equal(lawOf(law.name), law);
  assert.throws(() => lawOf("gumbel"), { code: "law.unknown", message: /gumbel-philox\/1/ });
});

test("laws: positionOf -> output tokens from 0, or the place in the sequence of the token fed last", () => {
  assert.equal(positionOf(gumbelPhilox, 10, 3), 3);
  assert.equal(positionOf(vllmPhilox, 10, 0), 9);
});
