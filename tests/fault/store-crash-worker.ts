/**
 * The process that store-crash.test.ts kills: a gateway's storage under a random load of interleaved
 * pairs. It says on stdout what is durable, always after it became so:
 *
 *   halt DIGEST | lifted DIGEST | closed
 *   epoch E | begin TAG | record TAG KIND SHA | leaf TAG INDEX | root SIZE ROOT | kept TAG SHA | settled TAG
 */
import { writeSync } from "node:fs";
import { openGatewayStore } from "../../src/adapter/disk/store.ts";
import { systemClock } from "../../src/adapter/clock.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import { encodeLeaf, inputDigestOf, outputDigestOf } from "../../src/format/leaf.ts";
import { encodeOutput } from "../../src/format/pair.ts";
import { encodeProofRequest } from "../../src/format/proof-request.ts";
import { encodeEnd, encodePrompt, encodeTokens } from "../../src/format/server-link.ts";
import { makeTag, type Tag } from "../../src/format/tag.ts";
import { PairAssembler } from "../../src/gateway/pair.ts";
import { recoverStore } from "../../src/gateway/recover.ts";
import { saltsOf } from "../../src/gateway/tag.ts";
import type { RingKind } from "../../src/gateway/store.port.ts";
import { current, entryDigest, inputOf, randomOf, storeOptions } from "./store-crash-setup.ts";

const [dir = "", seedText = "0", roundsText = "0"] = process.argv.slice(2);
/** 0: until it is killed. */
const rounds = Number(roundsText);
const random = randomOf(Number(seedText));
const below = (n: number): number => Math.floor(random() * n);

const say = (...words: readonly (string | number | bigint)[]): void => {
  writeSync(1, `${words.join(" ")}\n`);
};
const hex = (tag: Tag): string => tag.toString(16);

const { store, epoch, close } = await openGatewayStore(storeOptions(dir));
current.store = store;
say("epoch", epoch);
const keep = (): boolean => random() < 0.3;
const { ring, log, outbox } = store;
const saltOf = saltsOf(storeOptions(dir).rootKey);
await recoverStore({ store, entryDigest, clock: systemClock, saltOf, keep });
say("root", log.size, log.root().toString("hex"));

interface Pair {
  readonly tag: Tag;
  readonly input: Buffer;
  readonly assembler: PairAssembler;
  frames: number;
  ended: boolean;
}

const open = new Map<Tag, Pair>();
let counter = 0;
let lines: string[] = [];

function add(kind: RingKind, tag: Tag, payload: Uint8Array): void {
  ring.add(kind, tag, payload);
  lines.push(`record ${hex(tag)} ${kind} ${sha256Hex(payload)}`);
}

function begin(): void {
  const tag = makeTag(epoch, ++counter);
  say("begin", hex(tag));
  const { seed, input } = inputOf(random);
  add("input", tag, Buffer.concat([seed, input]));
  open.set(tag, { tag, input, assembler: new PairAssembler(1000), frames: 0, ended: false });
}

function step(pair: Pair): void {
  if (pair.frames++ === 0) {
    const prompt = encodePrompt(Array.from({ length: below(30) }, () => below(5000)));
    pair.assembler.prompt(prompt);
    add("prompt", pair.tag, prompt);
  } else if (random() < 0.8) {
    const ids = Array.from({ length: 1 + below(5) }, () => below(5000));
    const tokens = encodeTokens(ids, "x".repeat(below(below(20) === 0 ? 2000 : 40)));
    pair.assembler.tokens(tokens);
    add("tokens", pair.tag, tokens);
  } else {
    const end = encodeEnd("stop");
    pair.assembler.end(end);
    add("end", pair.tag, end);
    pair.ended = true;
  }
}

/** Leaves of what ended, coins, outbox: the order of gateway/serve.ts. */
async function finish(pairs: readonly Pair[]): Promise<void> {
  const logged = pairs.map((pair) => {
    const output = encodeOutput(pair.assembler.output("stop"));
    const leaf = encodeLeaf({
      tag: pair.tag,
      completedMs: 1,
      seed: 1n,
      entryDigest,
      inputDigest: inputDigestOf(saltOf(pair.tag), pair.input),
      outputDigest: outputDigestOf(saltOf(pair.tag), output),
      finish: "stop",
      tokens: pair.assembler.tokenCount,
    });
    return { pair, output, leaf, leafIndex: log.append(leaf) };
  });
  await log.commit();
  for (const { pair, leafIndex } of logged) {
    say("leaf", hex(pair.tag), leafIndex);
    open.delete(pair.tag);
  }
  say("root", log.size, log.root().toString("hex"));
  const coins = logged.map((one) => ({ ...one, keep: keep() }));
  const items = coins
    .filter((one) => one.keep)
    .map(({ pair, output, leaf, leafIndex }) => {
      const request = encodeProofRequest({ leafIndex, leaf, input: pair.input, output });
      return { tag: pair.tag, request };
    });
  outbox.put(items);
  for (const { tag, request } of items) say("kept", hex(tag), sha256Hex(request));
  for (const { pair, keep: kept } of coins) add("coin", pair.tag, Buffer.of(kept ? 1 : 0));
  const [first] = outbox.list(null, 1);
  if (first === undefined || outbox.waiting < 20) return;
  outbox.settle([{ tag: first.tag, verdict: "pass" }]);
  say("settled", hex(first.tag));
}

/** Halts are laid on and lifted by turns; two stand at most. */
async function order(round: number): Promise<void> {
  const { halts } = store.state;
  const [first, ...others] = halts;
  if (first === undefined || others.length === 0) {
    const digest = `${epoch}-${round}`;
    await store.state.change({
      halts: [...halts, { digest, reason: "test", sinceMs: 1, signer: "" }],
    });
    say("halt", digest);
    return;
  }
  await store.state.change({ halts: others, released: [first.digest] });
  say("lifted", first.digest);
}

for (let round = 1; rounds === 0 || round <= rounds; round++) {
  while (open.size < 8) begin();
  for (const pair of open.values()) if (!pair.ended && random() < 0.5) step(pair);
  const announced = lines;
  lines = [];
  const commit = ring.commit();
  // What arrives while a commit is in flight belongs to the next one.
  const late = [...open.values()].find((pair) => !pair.ended);
  const ended = [...open.values()].filter((pair) => pair.ended);
  if (late !== undefined) step(late);
  await commit;
  for (const line of announced) say(line);
  if (ended.length > 0) await finish(ended);
  if (round % 3 === 0) await order(round);
}
await close();
say("closed");
