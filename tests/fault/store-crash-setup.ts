/** What the crash test and the process it kills must agree on. */
import { systemRandom } from "../../src/adapter/random.ts";
import type { GatewayStoreOptions } from "../../src/adapter/disk/store.ts";
import { secretKey } from "../../src/base/hash.ts";
import { encodeInput } from "../../src/format/pair.ts";
import type { GatewayStore } from "../../src/gateway/store.port.ts";

/** The store that the worker has open, for whoever runs it in its own process. */
export const current: { store?: GatewayStore } = {};

export const entryDigest = Buffer.alloc(32, 0xe1);

/** A small store, so that the ring goes round several times in a test. */
export function storeOptions(dir: string): GatewayStoreOptions {
  return {
    dir,
    rootKey: secretKey(Buffer.alloc(32, 0x11)),
    entry: { generation: { contextTokens: 1000 } },
    random: systemRandom,
    ringBytes: 16 * 16_384,
    segments: 16,
    recordBytes: 3000,
    pairBytes: 65_536,
    outboxPairs: 1000,
  };
}

/** mulberry32: reproducible numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function inputOf(random: () => number): { seed: Buffer; input: Buffer } {
  const text = "word ".repeat(1 + Math.floor(random() * 60));
  const params = { maxTokens: 1000, temperature: 1, topK: 40, topP: 1, stops: [] };
  const input = encodeInput({ modelId: "demo", params, prompt: { kind: "text", text } });
  return { seed: Buffer.alloc(8, 1), input };
}
