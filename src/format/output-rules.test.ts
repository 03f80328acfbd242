import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { expectedOutput, OutputText, type Speller } from "./output-rules.ts";

/** A vocabulary of byte pieces; the last id ends an output. */
function vocabulary(pieces: readonly Uint8Array[]) {
  const endId = pieces.length;
  const speller = (): Speller => {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (id) => utf8.decode(pieces[id] ?? new Uint8Array(0), { stream: true }),
      end: () => utf8.decode(),
    };
  };
  const spell = (ids: readonly number[]): string =>
    new TextDecoder("utf-8", { ignoreBOM: true }).decode(
      Buffer.concat(ids.map((id) => pieces[id] ?? new Uint8Array(0))),
    );
  return { endId, speller, spell, isEnd: (id: number) => id === endId };
}

const letters = vocabulary(["a", "b", "ab", "abc", "c", " "].map((text) => Buffer.from(text)));

function expected(ids: readonly number[], stops: readonly string[], maxTokens = 100) {
  return expectedOutput({
    ids,
    speller: letters.speller(),
    isEnd: letters.isEnd,
    stops,
    maxTokens,
    promptTokens: 1,
    contextTokens: 1000,
  });
}

test("output: an end-of-generation id -> stop, and the id is part of the output", () => {
  assert.deepEqual(expected([0, 1, letters.endId], []), { text: "ab", finish: "stop", idsUsed: 3 });
});

test("output: maxTokens ids drawn -> length", () => {
  assert.deepEqual(expected([0, 1, 4], [], 3), { text: "abc", finish: "length", idsUsed: 3 });
});

test("output: the end-of-generation id as the last allowed id -> stop", () => {
  const output = expected([0, letters.endId], [], 2);
  assert.deepEqual(output, { text: "a", finish: "stop", idsUsed: 2 });
});

test("output: the context is full before maxTokens -> length", () => {
  const output = expectedOutput({
    ids: [0, 1],
    speller: letters.speller(),
    isEnd: letters.isEnd,
    stops: [],
    maxTokens: 50,
    promptTokens: 8,
    contextTokens: 10,
  });
  assert.deepEqual(output, { text: "ab", finish: "length", idsUsed: 2 });
});

test("output: a stop string across tokens -> cut before it, ids include the completing token", () => {
  assert.deepEqual(expected([4, 0, 1, 4], ["ab"]), { text: "c", finish: "stop", idsUsed: 3 });
});

test("output: two stop strings completed by one token -> cut at the earlier position", () => {
  assert.deepEqual(expected([4, 3], ["bc", "ab"]), { text: "c", finish: "stop", idsUsed: 2 });
});

test("output: a shorter stop string completes first -> it wins over a longer one", () => {
  assert.deepEqual(expected([0, 1, 4], ["abc", "b"]), { text: "a", finish: "stop", idsUsed: 2 });
});

test("output: a held-back beginning that comes to nothing -> is part of the text", () => {
  assert.deepEqual(expected([0, 1, 5], ["abc"], 3), { text: "ab ", finish: "length", idsUsed: 3 });
  assert.deepEqual(expected([0, 1], ["abc"], 2), { text: "ab", finish: "length", idsUsed: 2 });
});

test("output: ids end early -> cut-off, without the held-back text", () => {
  assert.deepEqual(expected([4, 0, 1], ["abc"]), { text: "c", finish: "cut-off", idsUsed: 3 });
});

test("output: ids after the end -> not used", () => {
  assert.equal(expected([0, letters.endId, 1], []).idsUsed, 2);
});

test("output: an id pushed after the end -> a bug", () => {
  const params = { stops: [], maxTokens: 1, promptTokens: 1, contextTokens: 10 };
  const output = new OutputText(letters.speller(), letters.isEnd, params);
  output.push(0);
  assert.throws(() => output.push(0), { name: "BugError" });
});

test("output: an unfinished character at the end -> U+FFFD, which a stop string may match", () => {
  const bytes = vocabulary([Uint8Array.of(0xe2), Buffer.from("x")]);
  const ask = (stops: readonly string[]) =>
    expectedOutput({
      ids: [1, 0],
      speller: bytes.speller(),
      isEnd: bytes.isEnd,
      stops,
      maxTokens: 2,
      promptTokens: 1,
      contextTokens: 10,
    });
  assert.deepEqual(ask([]), { text: "x\ufffd", finish: "length", idsUsed: 2 });
  assert.deepEqual(ask(["\ufffd"]), { text: "x", finish: "stop", idsUsed: 2 });
});

const euro = Buffer.from("€");
const smile = Buffer.from("🙂");
const piece = fc.oneof(
  fc
    .constantFrom("a", "b", "ab", "ba", "\n", "€a")
    .map((text) => new Uint8Array(Buffer.from(text))),
  fc.constantFrom(euro.subarray(0, 1), euro.subarray(1), smile.subarray(0, 2), smile.subarray(2)),
  fc.uint8Array({ maxLength: 3 }),
);
const stop = fc.oneof(
  fc.stringMatching(/^[ab]{1,4}$/),
  fc.constantFrom("€", "🙂", "\ufffd", "a\n", "€a"),
);

/** The rule of spec/pair.md written plainly: spells anew after each id, no streaming. */
function plainRule(
  words: ReturnType<typeof vocabulary>,
  ids: readonly number[],
  stops: readonly string[],
  room: number,
): { text: string; finish: string; idsUsed: number } {
  const complete = (count: number): string => {
    const speller = words.speller();
    return ids
      .slice(0, count)
      .map((id) => speller.push(id))
      .join("");
  };
  const cutOf = (text: string): number => {
    const places = stops.map((each) => text.indexOf(each)).filter((at) => at >= 0);
    return places.length === 0 ? -1 : Math.min(...places);
  };
  for (let count = 1; count <= ids.length; count++) {
    const ends = words.isEnd(ids[count - 1] ?? 0);
    const last = ends || count === room;
    const text = complete(count);
    const early = ends ? -1 : cutOf(text);
    if (early >= 0) return { text: text.slice(0, early), finish: "stop", idsUsed: count };
    if (!last) continue;
    const whole = words.spell(ids.slice(0, count));
    const cut = cutOf(whole);
    if (cut >= 0) return { text: whole.slice(0, cut), finish: "stop", idsUsed: count };
    return { text: whole, finish: ends ? "stop" : "length", idsUsed: count };
  }
  return { text: complete(ids.length), finish: "cut-off", idsUsed: ids.length };
}

test("output: arbitrary pieces and stops, streamed -> same text and finish as the plain rule", () => {
  const inputs = fc.record({
    pieces: fc.array(piece, { minLength: 1, maxLength: 8 }),
    draws: fc.array(fc.nat(8), { maxLength: 30 }),
    stops: fc.array(stop, { maxLength: 4 }),
    room: fc.integer({ min: 1, max: 30 }),
  });
  fc.assert(
    fc.property(inputs, ({ pieces, draws, stops, room }) => {
      const words = vocabulary(pieces);
      const ids = draws.map((draw) => draw % (pieces.length + 1));
      const output = expectedOutput({
        ids,
        speller: words.speller(),
        isEnd: words.isEnd,
        stops,
        maxTokens: room,
        promptTokens: 3,
        contextTokens: 1000,
      });
      const plain = plainRule(words, ids, stops, room);
      assert.equal(output.finish, plain.finish);
      assert.equal(output.idsUsed, plain.idsUsed);
      if (plain.finish !== "cut-off") assert.equal(output.text, plain.text);
      else {
        // What is held back is no more than the longest stop string less one.
        assert.ok(plain.text.startsWith(output.text));
        const held = plain.text.slice(output.text.length);
        assert.ok(held === "" || stops.some((each) => each.startsWith(held) && each !== held));
      }
    }),
    { numRuns: 2000, seed: 1 },
  );
});
