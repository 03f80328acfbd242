/**
 * The joint draw of one gateway with both parties, on real storage: rounds turn, a crash changes no coin, and the
 * recomputer finds what the gateway leaves out. Pairs are leaves here; their way through a server is tests/path/pair.test.ts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/adapter/clock.ts";
import { openSecretFile } from "../../src/adapter/disk/secret-file.ts";
import { openGatewayStore, type OpenGatewayStore } from "../../src/adapter/disk/store.ts";
import { systemRandom } from "../../src/adapter/random.ts";
import { deriveKey, secretKey } from "../../src/base/hash.ts";
import { publicKeyHex } from "../../src/base/sign.ts";
import { coinBits, jointKey, thresholdOf, type DrawParty } from "../../src/format/draw.ts";
import { encodeLeaf, type RoundReveal } from "../../src/format/leaf.ts";
import { frameType } from "../../src/format/link.ts";
import { makeTag, type Tag } from "../../src/format/tag.ts";
import { JointDraw, type DrawFile } from "../../src/gateway/draw-run.ts";
import { deviceKeyOf } from "../../src/gateway/identity.ts";
import { Sampler } from "../../src/gateway/sample.ts";
import { RoundWalk } from "../../src/recomputer/round-walk.ts";
import {
  drawKeys,
  openParties,
  publish,
  viewOf,
  type Parties,
  type Tamper,
} from "../draw-parties.ts";
import { quiet, wirePair } from "../support.ts";
import { removeDirectory, temporaryDirectory, until } from "./house.ts";

const rootKey = secretKey(Buffer.alloc(32, 0x5e));
const deviceKey = deviceKeyOf(rootKey);
const epsilon = 0.25;

interface Box {
  readonly opened: OpenGatewayStore;
  readonly draw: JointDraw;
  readonly sampler: Sampler;
  readonly alarms: string[];
  readonly refusals: string[];
  readonly fatal: string[];
  /** Appends leaves of pairs and draws their coins as the pair path does: durable first. */
  pairs(count: number): Promise<Map<Tag, boolean>>;
}

interface BoxOptions {
  readonly dir: string;
  readonly parties: Parties;
  readonly tamper?: Tamper;
  readonly epsilon?: number;
  readonly wrapFile?: (file: DrawFile) => DrawFile;
}

/** A gateway's storage, sampler and draw, with both parties behind a publisher in memory. */
async function openBox({ dir, parties, tamper, wrapFile, ...options }: BoxOptions): Promise<Box> {
  const opened = await openGatewayStore({
    ...{ dir, rootKey, entry: { generation: { contextTokens: 100 } }, random: systemRandom },
    ...{ ringBytes: 16 * 1_048_576, segments: 4, outboxPairs: 100 },
  });
  const { log } = opened.store;
  const sampler = new Sampler(options.epsilon ?? epsilon, systemRandom);
  const file = await openSecretFile({
    ...{ path: `${dir}/draw`, random: systemRandom },
    key: deriveKey(rootKey, Buffer.alloc(0), "test draw file"),
  });
  const [alarms, refusals, fatal]: string[][] = [[], [], []];
  const drawing = JointDraw.open({
    ...{ gateway: "g1", epoch: opened.epoch, deviceKey, log, keys: drawKeys },
    ...{ random: systemRandom, clock: systemClock, logger: quiet },
    file: wrapFile?.(file) ?? file,
    limits: { roundMs: 3_600_000, roundLeaves: 50, lateMs: 36_000_000, lateLeaves: 5000 },
    alarms: { raise: (_, kind, text) => alarms?.push(`${kind}: ${text}`), clear: () => undefined },
    epsilon: () => sampler.epsilon,
    durable: () => log.commit(),
    onChange: () => undefined,
    onFatal: (error) => fatal?.push(error.message),
  });
  drawing.catch(() => void opened.close());
  const draw = await drawing;
  sampler.rounds = draw;
  const { left, right } = wirePair(
    { role: "publisher", name: "p" },
    { role: "gateway", name: "g1" },
  );
  const view = (party: DrawParty) => viewOf(party, "g1", publicKeyHex(deviceKey), log);
  publish(right, parties, { a: view("a"), b: view("b") }, refusals, tamper);
  left.onFrame((frame) => {
    draw.onFrame(frame);
  });
  draw.attach(left);
  draw.start();
  let counter = 0;
  const pairs = async (count: number): Promise<Map<Tag, boolean>> => {
    const drawn = Array.from({ length: count }, () => {
      const tag = makeTag(opened.epoch, ++counter);
      return { tag, index: log.append(leafOf(tag)) };
    });
    await log.commit();
    const coins = sampler.draw(drawn);
    return new Map(drawn.map(({ tag }, i) => [tag, coins[i] === true]));
  };
  return {
    opened,
    draw,
    sampler,
    alarms: alarms ?? [],
    refusals: refusals ?? [],
    fatal: fatal ?? [],
    pairs,
  };
}

function leafOf(tag: Tag): Buffer {
  const digest = Buffer.alloc(32, 1);
  return encodeLeaf({
    ...{ tag, completedMs: 1, seed: 1n, finish: "stop", tokens: 1 },
    ...{ entryDigest: digest, inputDigest: digest, outputDigest: digest },
  });
}

const round = (box: Box, number: number): Promise<void> =>
  until(`round ${number}`, () => {
    box.draw.tick();
    return box.draw.status().round === number && box.draw.status().step === "idle";
  });

async function withDirectory(run: (dir: string) => Promise<void>): Promise<void> {
  const dir = temporaryDirectory();
  try {
    await run(dir);
  } finally {
    removeDirectory(dir);
  }
}

test("draw: rounds with both parties -> the recomputer gets the very coins that the gateway drew, from the log alone", async () => {
  await withDirectory(async (dir) => {
    const box = await openBox({ dir, parties: await openParties() });
    assert.equal(box.draw.ready, false, "no pair before the first round");
    await round(box, 1);
    assert.ok(box.draw.ready);
    const coins = new Map<Tag, boolean>();
    for (let next = 2; next <= 4; next++) {
      for (const [tag, coin] of await box.pairs(60)) coins.set(tag, coin);
      await round(box, next);
    }
    const { log } = box.opened.store;
    const walk = new RoundWalk({ epsilonMin: epsilon, lateEntries: 1000 });
    const news = walk.add(await log.entries(0n, Number(log.size)));
    const kept = news.flatMap((one) => (one.kind === "round" ? one.kept : []));
    assert.deepEqual(
      news.map(({ kind }) => kind),
      ["round", "round", "round"],
    );
    assert.deepEqual(
      kept.map(({ tag }) => tag),
      [...coins].filter(([, coin]) => coin).map(([tag]) => tag),
    );
    assert.ok(kept.length > 10 && kept.length < 90, `${kept.length} of 180 kept`);
    assert.deepEqual([walk.root(), box.alarms, box.fatal], [log.root(), [], []]);
    await box.opened.close();
  });
});

test("draw: a crash -> the round goes on with the secrets of the file, and a coin drawn again is the same", async () => {
  await withDirectory(async (dir) => {
    const parties = await openParties();
    const first = await openBox({ dir, parties });
    await round(first, 1);
    const before = await first.pairs(40);
    await first.opened.close();
    const second = await openBox({ dir, parties });
    assert.equal(second.draw.status().round, 1);
    const { log } = second.opened.store;
    for (const [tag, coin] of before) {
      assert.equal(second.sampler.keep(tag, log.find(tag) ?? -1n), coin);
    }
    await second.pairs(20);
    await round(second, 2);
    for (const [tag, coin] of before) {
      assert.equal(
        second.sampler.keep(tag, log.find(tag) ?? -1n),
        coin,
        "also after the next round",
      );
    }
    await second.opened.close();
  });
});

test("draw: the file of secrets lost, put back or damaged -> the gateway does not start", async () => {
  await withDirectory(async (dir) => {
    const parties = await openParties();
    const box = await openBox({ dir, parties });
    await round(box, 1);
    await box.opened.close();
    const lost: DrawFile = { read: () => Promise.resolve(null), write: () => Promise.resolve() };
    await assert.rejects(openBox({ dir, parties, wrapFile: () => lost }), { code: "draw.lost" });
  });
});

test("draw: a publisher that changes a secret on its way -> refused, nobody is accused, and no round", async () => {
  await withDirectory(async (dir) => {
    const box = await openBox({
      ...{ dir, parties: await openParties() },
      tamper: (type, party, answer) =>
        type === frameType.drawSecret && party === "b" ? forgedSecret(answer) : answer,
    });
    await until("the secret of party A alone", () => {
      box.draw.tick();
      const { step, waitingFor } = box.draw.status();
      return step === "showing" && waitingFor.join() === "party B";
    });
    // A publisher cannot forge: what it changed is not signed by B, so nobody is accused.
    assert.deepEqual([box.alarms, box.draw.ready], [[], false]);
    await box.opened.close();
  });
});

/** What a lying publisher makes of a party's answer. */
function forgedSecret(answer: Buffer): Buffer {
  const changed = Buffer.from(answer);
  changed[changed.length - 80] = (changed[changed.length - 80] ?? 0) ^ 1;
  return changed;
}

test("draw: a gateway that asks twice for a round, with another commitment -> refused by both parties", async () => {
  await withDirectory(async (dir) => {
    const parties = await openParties();
    const box = await openBox({ dir, parties });
    await round(box, 1);
    await box.opened.close();
    // The disk is put back as a whole to before the first round: the gateway takes round 1 for new.
    removeDirectory(dir);
    const again = await openBox({ dir, parties });
    await until("both refusals", () => {
      again.draw.tick();
      return new Set(again.refusals.map((why) => why.slice(0, 1))).size === 2;
    });
    assert.match(again.refusals.join("\n"), /a: a second commitment of the gateway for round 1/);
    assert.equal(again.draw.ready, false);
    await again.opened.close();
  });
});

test("draw: an order raises epsilon -> at once by the gateway's own coins, then by a new round's", async () => {
  await withDirectory(async (dir) => {
    const box = await openBox({ dir, parties: await openParties(), epsilon: 0.1 });
    await round(box, 1);
    box.sampler.floor = 1;
    assert.ok([...(await box.pairs(30)).values()].every(Boolean), "nothing waits for the round");
    await round(box, 2);
    assert.equal(box.draw.status().epsilon, 1);
    await box.opened.close();
  });
});

test("draw: everything but one secret -> the coins look like any others; no share of them is told", async () => {
  await withDirectory(async (dir) => {
    const box = await openBox({ dir, parties: await openParties() });
    await round(box, 1);
    await box.pairs(55);
    await round(box, 2);
    const reveal = box.opened.store.log.marks.find(({ entry }) => entry.kind === "round-reveal");
    assert.ok(reveal?.entry.kind === "round-reveal");
    for (const missing of ["gateway", "a", "b"] as const) {
      const agreement = agreementWithout(reveal.entry, missing);
      // 4000 guesses at chance: 5/8 agree for epsilon 1/4; 5 standard deviations are 0.038.
      assert.ok(Math.abs(agreement - 0.625) < 0.038, `without ${missing}: ${agreement}`);
    }
    await box.opened.close();
  });
});

/** How often the coins guessed with one secret missing (zeros in its place) are the true ones. */
function agreementWithout(reveal: RoundReveal, missing: "gateway" | "a" | "b"): number {
  const [truth, guess] = [jointKey(reveal), jointKey({ ...reveal, [missing]: Buffer.alloc(32) })];
  const threshold = thresholdOf(epsilon);
  let agree = 0;
  for (let counter = 1; counter <= 4000; counter++) {
    const tag = makeTag(1, counter);
    if (coinBits(truth, tag) < threshold === coinBits(guess, tag) < threshold) agree++;
  }
  return agree / 4000;
}
