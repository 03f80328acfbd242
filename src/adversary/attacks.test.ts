/** Each attack, run in the real agent with the real engine, does what it says: and nothing unarmed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { expectedOutput } from "../format/output-rules.ts";
import type { SamplingParams } from "../format/pair.ts";
import { noiseLaw } from "../format/noise.ts";
import { tokenFacts } from "../verification/facts.ts";
import { lawOf } from "../verification/laws/index.ts";
import type { Knobs } from "./attack.ts";
import { adapterRequest } from "./agent.ts";
import { chat, own, type Answer, type Owned } from "./fixture.ts";

const prompts = [
  "Tell me a story about a fox.",
  "How do I make bread?",
  "Describe the old harbour in winter, please.",
  "What is a weir?",
];

/** Every margin of an answer under the whitelisted model, its own claimed prompt ids and its seed. */
async function margins({ reference }: Owned, answer: Answer): Promise<number[]> {
  const sequence = await reference.open();
  try {
    const found: number[] = [];
    let ids: readonly number[] = answer.promptIds;
    for (const [index, claimed] of answer.ids.entries()) {
      const candidates = await sequence.next(ids);
      const position = { candidates, params: answer.params, seed: answer.seed, index };
      found.push(tokenFacts(lawOf(noiseLaw), position, claimed, 0).margin);
      ids = [claimed];
    }
    return found;
  } finally {
    sequence.dispose();
  }
}

/** Whether text and finish are what the ids give. */
function spells({ reference }: Owned, { ids, text, end, params, promptIds }: Answer): boolean {
  const expected = expectedOutput({
    ...params,
    ids,
    speller: reference.speller(),
    isEnd: (id) => reference.isEndOfGeneration(id),
    promptTokens: promptIds.length,
    contextTokens: reference.contextTokens,
  });
  return expected.text === text && expected.finish === end && expected.idsUsed === ids.length;
}

async function askAll(site: Owned, params: Partial<SamplingParams>): Promise<Answer[]> {
  return Promise.all(prompts.map((text, i) => site.ask(chat(text), params, BigInt(100 + i))));
}

const differs = (margin: number): boolean => margin > 0;

interface Tokens {
  readonly id: string;
  readonly knobs?: Knobs;
  readonly params?: Partial<SamplingParams>;
}

/** Attacks that show in the tokens, and in nothing else. */
const inTokens: readonly Tokens[] = [
  { id: "requantise-q8_0" },
  { id: "requantise-q4_0" },
  { id: "nudged-row", knobs: { by: 200 } },
  { id: "dropped-block" },
  { id: "lora", knobs: { share: 1 } },
  { id: "other-model" },
  { id: "kv-q8_0", params: { maxTokens: 160 } },
  { id: "kv-q4_0" },
  { id: "kv-q4_0", knobs: { values: 1 } },
  { id: "own-randomness" },
  { id: "wrong-seed" },
  { id: "seed-reused" },
  { id: "temperature-high" },
  { id: "temperature-low" },
  { id: "top-p-off", params: { topP: 0.5 } },
  { id: "top-k-off", params: { topK: 3 } },
  { id: "repetition-penalty" },
  { id: "hidden-system-prompt" },
  { id: "truncated-context" },
  { id: "sampler-fault", knobs: { q: 0.2 } },
  { id: "some-requests", knobs: { beta: 0.5 } },
  { id: "some-users", knobs: { share: 0.5 } },
  { id: "low-load", knobs: { most: 4 } },
  { id: "late-tokens", knobs: { after: 20 } },
  { id: "ends-early", knobs: { claimEnd: 1, after: 5 } },
  { id: "stego-near-ties", knobs: { gap: 0.5 } },
  { id: "stego-near-ties-insider", knobs: { gap: 0.5 } },
  { id: "stego-ranks" },
  { id: "stego-blocks", knobs: { letters: 40, gap: 0.5 } },
];
for (const { id, knobs = {}, params = {} } of inTokens) {
  const set = JSON.stringify(knobs) === "{}" ? "" : ` ${JSON.stringify(knobs)}`;
  test(`attack ${id}${set}: tokens lie off the whitelisted model's; text, end and prompt fit`, async (t) => {
    const site = await own(t);
    for (const answer of await askAll(site, params)) {
      assert.deepEqual((await margins(site, answer)).filter(differs), [], "honest before");
    }
    await site.server.arm({ attack: id, knobs });
    let off = 0;
    for (const answer of await askAll(site, params)) {
      off += (await margins(site, answer)).filter(differs).length;
      assert.ok(spells(site, answer));
      assert.deepEqual(answer.promptIds, site.reference.promptIds(answer.prompt));
    }
    assert.ok(off > 0, "some token differs");
    await site.server.arm(null);
    for (const answer of await askAll(site, params)) {
      assert.deepEqual((await margins(site, answer)).filter(differs), [], "honest again");
    }
  });
}

test("attack late-tokens: the tokens before its position are honest", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "late-tokens", knobs: { after: 20 } });
  for (const answer of await askAll(site, {})) {
    assert.deepEqual((await margins(site, answer)).slice(0, 20).filter(differs), []);
  }
});

test("attack near ties: no token lies further off than the gap", async (t) => {
  const site = await own(t);
  for (const id of ["stego-near-ties", "stego-near-ties-insider", "stego-blocks"]) {
    await site.server.arm({ attack: id, knobs: { gap: 0.3 } });
    for (const answer of await askAll(site, {})) {
      assert.ok(Math.max(...(await margins(site, answer))) <= 0.3 + 1e-9, id);
    }
  }
});

test("attacks with a share: 0 -> honest; 1 -> not", async (t) => {
  const site = await own(t);
  for (const [id, knob] of [
    ["some-requests", "beta"],
    ["some-users", "share"],
    ["sampler-fault", "q"],
  ] as const) {
    for (const share of [0, 1]) {
      await site.server.arm({ attack: id, knobs: { [knob]: share } });
      let off = 0;
      for (const answer of await askAll(site, {})) {
        off += (await margins(site, answer)).filter(differs).length;
      }
      assert.equal(off > 0, share > 0, `${id} ${knob}=${share}`);
    }
  }
});

test("attack low-load: honest while more requests run than it says", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "low-load", knobs: { most: 0 } });
  for (const answer of await askAll(site, {})) {
    assert.deepEqual((await margins(site, answer)).filter(differs), []);
  }
});

test("attack fine-tuned: needs an adapter; with the demo's it says other things", async (t) => {
  const read = (name: string): Buffer =>
    readFileSync(new URL(`../../models/${name}`, import.meta.url));
  const site = await own(t, { model: read("weir-demo.gguf") });
  await assert.rejects(site.server.arm({ attack: "fine-tuned", knobs: {} }), /smuggled/);
  const text = adapterRequest("g1", read("weir-demo-finetune.lora.gguf"));
  assert.equal((await site.ask({ kind: "text", text })).end, "prompt-too-long");
  for (const armed of [
    { attack: "fine-tuned", knobs: {} },
    { attack: "lora", knobs: {} },
    { attack: "fine-tuned", knobs: { strength: 0.5 } },
  ]) {
    await site.server.arm(armed);
    const [answer] = await askAll(site, {});
    assert.ok(answer !== undefined && (await margins(site, answer)).some(differs));
  }
});

test("attack cached-answers: the first time honest, the second the same for another seed", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "cached-answers", knobs: {} });
  const first = await site.ask(chat("What is a weir?"), {}, 1n);
  const second = await site.ask(chat("What is a weir?"), {}, 2n);
  const other = await site.ask(chat("How do I make bread?"), {}, 3n);
  assert.deepEqual((await margins(site, first)).filter(differs), []);
  assert.deepEqual(second.ids, first.ids);
  assert.ok((await margins(site, second)).some(differs));
  assert.ok(spells(site, second));
  assert.deepEqual((await margins(site, other)).filter(differs), []);
  const shorter = await site.ask(chat("What is a weir?"), { maxTokens: 5 }, 4n);
  assert.deepEqual(shorter.ids, first.ids.slice(0, 5));
  assert.ok(spells(site, shorter));
});

test("attack replayed-answer: one answer for all", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "replayed-answer", knobs: {} });
  const first = await site.ask(chat("What is a weir?"));
  const second = await site.ask(chat("How do I make bread?"));
  assert.deepEqual(second.ids, first.ids);
  assert.ok((await margins(site, second)).some(differs));
});

test("attack ends-early: stops without the token that stops it", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "ends-early", knobs: { after: 6 } });
  const answer = await site.ask(chat("Tell me a story about a fox."));
  assert.deepEqual([answer.ids.length, answer.end], [6, "stop"]);
  assert.ok(!spells(site, answer));
  assert.deepEqual((await margins(site, answer)).filter(differs), []);
});

test("attack unable: fails the prompts of its share, whatever the seed", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "unable", knobs: { share: 0.5 } });
  const many = Array.from({ length: 24 }, (_, i) => `Tell me a story, number ${i}.`);
  const ask = (): Promise<string[]> =>
    Promise.all(many.map(async (text) => (await site.ask(chat(text), { maxTokens: 1 })).end));
  const ends = await ask();
  const failed = ends.filter((end) => end === "internal").length;
  assert.ok(failed > 4 && failed < 20, `${failed} of 24`);
  assert.deepEqual(await ask(), ends);
});

test("attack unable-after-cheating: wrong tokens, and FAILED instead of END", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "unable-after-cheating", knobs: {} });
  const answer = await site.ask(chat("Tell me a story about a fox."));
  assert.equal(answer.end, "internal");
  assert.ok((await margins(site, answer)).some(differs));
});

for (const id of ["invisible-characters", "other-unicode-forms"]) {
  test(`attack ${id}: honest tokens, a text that they do not spell`, async (t) => {
    const site = await own(t);
    await site.server.arm({ attack: id, knobs: { share: 0.5 } });
    for (const answer of await askAll(site, {})) {
      assert.deepEqual((await margins(site, answer)).filter(differs), []);
      if (answer.text.includes(" ") || answer.text.includes("\u00a0")) {
        assert.ok(!spells(site, answer));
      }
    }
  });
}

test("attack expert-iteration: honest in every token, and it counts what it gets", async (t) => {
  const site = await own(t);
  await site.server.arm({ attack: "expert-iteration", knobs: {} });
  const answers = await askAll(site, {});
  for (const answer of answers) {
    assert.deepEqual((await margins(site, answer)).filter(differs), []);
    assert.ok(spells(site, answer));
  }
  const tokens = answers.reduce((sum, { ids }) => sum + ids.length, 0);
  assert.match(site.server.report()[0]?.detail ?? "", new RegExp(`4 replies, ${tokens} tokens`));
});

test("isolation attacks: outside a sandbox -> refused; inside, they report and serve honestly", async (t) => {
  const lab = await own(t);
  for (const attack of ["direct-channels", "memory-after-restart"]) {
    await assert.rejects(lab.server.arm({ attack, knobs: {} }), /sandbox/);
  }
  const said: string[] = [];
  const answer = { what: "x", answer: "no", detail: "" } as const;
  const walls = {
    channels: () => Promise.resolve([answer]),
    mark: (marker: string) => Promise.resolve((said.push(`mark ${marker}`), [answer])),
    find: (marker: string) => Promise.resolve((said.push(`find ${marker}`), [answer])),
  };
  const site = await own(t, { walls });
  await site.server.arm({ attack: "direct-channels", knobs: {} });
  assert.deepEqual(site.server.report(), [answer]);
  await site.server.arm({ attack: "memory-after-restart", knobs: { marker: 5 } });
  await site.server.arm({ attack: "memory-after-restart", knobs: { marker: 5, find: 1 } });
  assert.deepEqual(said, ["mark weir-note-5", "find weir-note-5"]);
  const [reply] = await askAll(site, {});
  assert.ok(reply !== undefined);
  assert.deepEqual((await margins(site, reply)).filter(differs), []);
});
