import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseGguf } from "../format/gguf.ts";
import type { Prompt } from "../format/pair.ts";
import type { Engine } from "../server/engine.port.ts";
import { attackIn, attackRequest, attacks, turncoat } from "./agent.ts";

const begin = {
  gateway: "g2",
  modelId: "m",
  sizeBytes: 1n,
  topKMax: 64,
  contextTokens: 128,
};

function chat(text: string): Prompt {
  return { kind: "chat", messages: [{ role: "user", content: text }] };
}

/** An engine that only tells which one was opened. */
function fakeEngine(name: string, opened: string[]): Engine {
  return {
    contextTokens: 128,
    parallel: 1,
    promptIds: () => [1],
    isEndOfGeneration: () => false,
    speller: () => ({ push: () => "", end: () => "" }),
    open: () => {
      opened.push(name);
      return Promise.resolve({
        next: () => Promise.reject(new Error("unused")),
        dispose: () => undefined,
      });
    },
    close: () => {
      opened.push(`${name} closed`);
      return Promise.resolve();
    },
  };
}

const weights = readFileSync(new URL("../../models/weir-tiny.gguf", import.meta.url));

test("turncoat: a marker -> only for the gateway it names, only known attacks", () => {
  for (const attack of attacks) {
    const text = `Please. ${attackRequest("g2", attack)}`;
    assert.equal(attackIn(chat(text), "g2"), attack);
    assert.equal(attackIn({ kind: "text", text }, "g2"), attack);
    assert.equal(attackIn(chat(text), "g1"), null);
  }
  assert.equal(attackIn(chat("Tell me a story."), "g2"), null);
  assert.equal(attackIn(chat("[[weir-attack g2 dance]]"), "g2"), null);
});

test("turncoat: wrong-seed -> honest before the request, another seed after it", async () => {
  const hooks = turncoat({
    readWeights: () => Promise.resolve(weights),
    openWeights: () => Promise.reject(new Error("not asked for")),
    logger: { log: () => undefined },
  });
  assert.equal(await hooks.weights?.("/weights/w.gguf", begin), "/weights/w.gguf");
  const engine = hooks.engine?.(fakeEngine("honest", []));
  engine?.promptIds(chat(attackRequest("g1", "wrong-seed")));
  assert.equal(hooks.seed?.(7n, 1n), 7n);
  engine?.promptIds(chat(attackRequest("g2", "wrong-seed")));
  assert.notEqual(hooks.seed?.(7n, 1n), 7n);
});

test("turncoat: requantise-q4_0 -> from then on opens 4-bit weights made of the received ones", async () => {
  const opened: string[] = [];
  const loaded = Promise.withResolvers<Uint8Array>();
  const hooks = turncoat({
    readWeights: () => Promise.resolve(weights),
    openWeights: (gguf) => {
      loaded.resolve(gguf);
      return Promise.resolve(fakeEngine("rounded", opened));
    },
    logger: { log: () => undefined },
  });
  await hooks.weights?.("/weights/w.gguf", begin);
  const engine = hooks.engine?.(fakeEngine("honest", opened));
  assert.ok(engine !== undefined);
  await engine.open();
  engine.promptIds(chat(attackRequest("g2", "requantise-q4_0")));
  const rounded = parseGguf(await loaded.promise);
  assert.ok(rounded.tensors.some(({ type }) => type === "Q4_0"));
  // The swap is made in the turn after the load.
  await Promise.resolve();
  await engine.open();
  await engine.close();
  assert.deepEqual(opened, ["honest", "rounded", "rounded closed", "honest closed"]);
});
