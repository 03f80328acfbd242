import assert from "node:assert/strict";
import { test } from "node:test";
import type { Prompt } from "../format/pair.ts";
import { adapterRequest, attackIn, attackRequest } from "./agent.ts";
import { attackGroups, expectations } from "./attack.ts";
import { attackNamed, attacks, knobsOf } from "./attacks/index.ts";
import { chat, own, tiny } from "./fixture.ts";
import { randomAdapter } from "./alter.ts";
import { Dice } from "./dice.ts";

test("attacks: every one has a name of its own that a prompt can say, a reason, and finite knobs", () => {
  const ids = new Set<string>();
  for (const attack of attacks) {
    assert.match(attack.id, /^[a-z0-9_.-]{1,31}$/);
    assert.ok(!ids.has(attack.id), attack.id);
    ids.add(attack.id);
    assert.ok(attackGroups.includes(attack.group) && expectations.includes(attack.expected));
    assert.ok(attack.why.length > 40 && attack.title.length > 10, attack.id);
    for (const value of Object.values(attack.knobs)) assert.ok(Number.isFinite(value), attack.id);
    assert.equal(attack.receive !== undefined, attack.group === "steganography", attack.id);
  }
  assert.ok(!ids.has("off"));
});

test("attacks: an unknown name or knob -> an error that names it", () => {
  assert.throws(() => attackNamed("dance"), /attack\.unknown|"dance"/);
  const { knobs } = attackNamed("sampler-fault");
  assert.deepEqual(knobsOf(attackNamed("sampler-fault"), { q: 0.5 }), { ...knobs, q: 0.5 });
  assert.throws(() => knobsOf(attackNamed("sampler-fault"), { p: 1 }), /"p"/);
  assert.throws(() => knobsOf(attackNamed("sampler-fault"), { q: Number.NaN }), /q is not/);
});

test("turncoat: a marker -> only for the gateway it names, only known attacks and knobs", () => {
  for (const { id, knobs } of attacks) {
    const text = `Please. ${attackRequest("g2", id, knobs)}`;
    const expected = { attack: id, knobs };
    assert.deepEqual(attackIn(chat(text), "g2"), expected);
    assert.deepEqual(attackIn({ kind: "text", text }, "g2"), expected);
    assert.equal(attackIn(chat(text), "g1"), null);
  }
  assert.deepEqual(attackIn(chat("[[weir-attack g2 off]]"), "g2"), { attack: "off", knobs: {} });
  const nothing = [
    "Tell me a story.",
    "[[weir-attack g2 dance]]",
    "[[weir-attack g2 wrong-seed p=1]]",
    "[[weir-attack g2 sampler-fault q=e]]",
  ];
  for (const text of nothing) assert.equal(attackIn(chat(text), "g2"), null, text);
});

test("turncoat: honest until a request takes it over, honest again after off", async (t) => {
  const { ask, server } = await own(t);
  const story: Prompt = chat("Tell me a story about a fox.");
  const before = await ask(story, {}, 11n);
  await ask(chat(attackRequest("g2", "wrong-seed")));
  assert.deepEqual((await ask(story, {}, 11n)).ids, before.ids, "meant for another gateway");
  await ask(chat(attackRequest("g1", "wrong-seed")));
  await server.arm({ attack: "wrong-seed", knobs: {} });
  assert.notDeepEqual((await ask(story, {}, 11n)).ids, before.ids);
  await ask(chat(attackRequest("g1", "off")), { maxTokens: 1 });
  assert.deepEqual((await ask(story, {}, 11n)).ids, before.ids);
});

test("turncoat: an adapter smuggled in by a prompt -> lora uses it", async (t) => {
  const { ask, server } = await own(t);
  const story = chat("Tell me a story about a fox.");
  const honest = await ask(story, {}, 11n);
  // An adapter of zeros changes nothing; were it not used, the attack would make a random one.
  const nothing = randomAdapter(tiny, 2, 0, new Dice(1n));
  await ask({ kind: "text", text: adapterRequest("g1", nothing) }, { maxTokens: 1 });
  await server.arm({ attack: "lora", knobs: {} });
  assert.deepEqual((await ask(story, {}, 11n)).ids, honest.ids);
});

test("turncoat: taken over while requests run -> those end, nothing hangs", async (t) => {
  const { ask, server } = await own(t);
  const story = chat("Tell me a long story.");
  const running = [ask(story), ask(story), ask(story)];
  await server.arm({ attack: "requantise-q4_0", knobs: {} });
  const more = [ask(story), ask(story)];
  await server.arm({ attack: "requantise-q8_0", knobs: {} });
  await server.arm(null);
  for (const { end } of await Promise.all([...running, ...more])) {
    assert.ok(end === "stop" || end === "length");
  }
});
