/** Receivers read what senders send, where no gateway stands between them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Knobs, Received } from "./attack.ts";
import { attackNamed, knobsOf } from "./attacks/index.ts";
import { chat, own, seen, tiny, type Answer, type Owned } from "./fixture.ts";
import { Ballot, messageBits, messageKnobs, Sender } from "./message.ts";

interface Sent {
  readonly answers: readonly Answer[];
  readonly received: Received;
}

/** So many replies of a server that is armed with an attack, or honest, and what is read out of them. */
async function send(
  site: Owned,
  id: string,
  set: Knobs,
  replies: number,
  armed = true,
  parallel = 4,
): Promise<Sent> {
  const attack = attackNamed(id);
  const knobs = knobsOf(attack, set);
  await site.server.arm(armed ? { attack: id, knobs } : null);
  const answers: Answer[] = [];
  for (let i = 0; i < replies; i += parallel) {
    const some = Array.from({ length: Math.min(parallel, replies - i) }, (_, j) =>
      site.ask(chat(`Tell me a story, number ${i + j}.`), { maxTokens: 120 }),
    );
    answers.push(...(await Promise.all(some)));
  }
  assert.ok(attack.receive !== undefined);
  return { answers, received: await attack.receive(seen(answers), knobs, site.receiver) };
}

/** A receiver at an honest server: coin flips, and nothing recovered. */
function nothing({ bits, wrong, recovered }: Received): void {
  assert.equal(recovered, false);
  // Six standard deviations of a fair coin.
  assert.ok(Math.abs(wrong - bits / 2) <= 3 * Math.sqrt(bits) + 1, `${wrong} of ${bits} wrong`);
}

test("message: sent once for each bit -> recovered; one vote wrong -> seen, not recovered", () => {
  for (const knobs of [messageKnobs, { ...messageKnobs, weights: 1, offset: 400_000 }]) {
    const sender = new Sender(knobs, tiny);
    const [good, bad] = [new Ballot(knobs, tiny), new Ballot(knobs, tiny)];
    for (let place = 0; place < 1500; place++) {
      good.vote(9n, place, sender.bit(9n, place));
      bad.vote(9n, place, 1 - sender.bit(9n, place));
    }
    const result = good.result([]);
    assert.deepEqual([result.wrong, result.recovered, result.message.wrong], [0, true, 0]);
    assert.equal(result.information, 1500);
    assert.equal(bad.result([]).recovered, false);
  }
});

test("message: of the weights -> their bytes", () => {
  const bits = messageBits({ ...messageKnobs, weights: 1, offset: 400_000 }, tiny);
  const first = bits.slice(0, 8).reduce((byte, bit) => 2 * byte + bit, 0);
  assert.equal(first, tiny[400_000]);
});

test("stego-near-ties-insider: every bit that it reads is right", async (t) => {
  const site = await own(t);
  const knobs = { gap: 0.5, bytes: 1 };
  const { received, answers } = await send(site, "stego-near-ties-insider", knobs, 24);
  assert.deepEqual([received.wrong, received.recovered], [0, true]);
  assert.ok(received.bits > 100);
  const tokens = answers.reduce((sum, { ids }) => sum + ids.length, 0);
  assert.ok(received.tokens > 0.95 * tokens && received.tokens <= tokens);
  nothing((await send(site, "stego-near-ties-insider", knobs, 12, false)).received);
});

test("stego-ranks: nearly every bit is right, the message is recovered", async (t) => {
  const site = await own(t);
  const { received } = await send(site, "stego-ranks", { bytes: 4 }, 12);
  assert.ok(received.wrong < 0.1 * received.bits, JSON.stringify(received));
  assert.ok(received.recovered && received.message.wrong === 0);
  nothing((await send(site, "stego-ranks", { bytes: 4 }, 12, false)).received);
});

test("stego-near-ties: votes recover the message, real bytes of the weights", async (t) => {
  const site = await own(t);
  const knobs = { gap: 2, bytes: 1, weights: 1, offset: 300_000 };
  const { received } = await send(site, "stego-near-ties", knobs, 24);
  assert.ok(received.wrong < 0.4 * received.bits, JSON.stringify(received));
  assert.ok(received.recovered);
  nothing((await send(site, "stego-near-ties", knobs, 16, false)).received);
});

test("stego-blocks: nearly every stretch shows its bit, by the text alone", async (t) => {
  const site = await own(t);
  const knobs = { gap: 1, letters: 60, bytes: 1 };
  const { received } = await send(site, "stego-blocks", knobs, 40);
  assert.ok(received.wrong <= 0.05 * received.bits, JSON.stringify(received));
  assert.ok(received.recovered);
  nothing((await send(site, "stego-blocks", knobs, 24, false)).received);
});

test("stego-cuts: gaps in the tags are the message", async (t) => {
  const site = await own(t);
  const knobs = { bytes: 1, share: 1 };
  const attack = attackNamed("stego-cuts");
  await site.server.arm({ attack: "stego-cuts", knobs });
  const answers: Answer[] = [];
  for (let i = 0; i < 300; i++) {
    answers.push(await site.ask(chat("Hello."), { maxTokens: 1 }));
  }
  const failed = answers.filter(({ end }) => end === "internal").length;
  assert.ok(failed > 60 && failed < 240, `${failed} of 300`);
  const whole = knobsOf(attack, knobs);
  const received = await attack.receive?.(seen(answers), whole, site.receiver);
  assert.deepEqual([received?.wrong, received?.recovered], [0, true]);
});

test("stego-timing: pauses are the message", async (t) => {
  const site = await own(t);
  const { received } = await send(site, "stego-timing", { bytes: 2 }, 6, true, 1);
  assert.deepEqual([received.wrong, received.recovered], [0, true]);
  assert.ok(received.seconds > 1);
});

test("stego-framing: sizes of frames are the message; joined together they are not", async (t) => {
  const site = await own(t);
  const { received, answers } = await send(site, "stego-framing", { bytes: 2 }, 12);
  assert.ok(received.wrong <= 0.02 * received.bits, JSON.stringify(received));
  assert.ok(received.recovered);
  // What a gateway that joins all of a reply leaves.
  const joined = seen(answers).map((each) => ({ ...each, chunks: [{ text: each.text, atMs: 0 }] }));
  const attack = attackNamed("stego-framing");
  const knobs = knobsOf(attack, { bytes: 2 });
  assert.equal((await attack.receive?.(joined, knobs, site.receiver))?.bits, 0);
});
