import assert from "node:assert/strict";
import { test } from "node:test";
import { noCarriers, type CarrierCounts } from "../format/carriers.ts";
import { carrierBits } from "../verification/release.ts";
import { CarrierBook } from "./carriers.ts";

/** A server that lets so many ticks pass a second, at four places each. */
const after = (seconds: number, ticksPerSecond: number, base = noCarriers): CarrierCounts => ({
  ...base,
  ms: base.ms + 1000 * seconds,
  ticks: base.ticks + ticksPerSecond * seconds,
  places: base.places + 4 * ticksPerSecond * seconds,
  tokens: base.tokens + ticksPerSecond * seconds,
});

function book(bitsPerSecond: number): { book: CarrierBook; told: string[] } {
  const told: string[] = [];
  const alarms = {
    raise: (severity: string, kind: string, subject: string, text: string) => {
      told.push(`${severity} ${kind} ${subject}: ${text}`);
    },
    clear: (kind: string, subject: string) => void told.push(`clear ${kind} ${subject}`),
  };
  return { book: new CarrierBook({ bitsPerSecond }, alarms), told };
}

test("carriers: below the limit -> no alarm; bits per token and second are those of the counts", () => {
  const { book: mine, told } = book(1000);
  for (let s = 0; s <= 30; s++) mine.take("g1", after(s, 50));
  assert.deepEqual(told, ["clear release.rate g1"]);
  const [one] = mine.status();
  const { total } = carrierBits(after(30, 50));
  assert.equal(one?.tokens, 1500);
  assert.equal(one.bitsPerToken, total / 1500);
  assert.ok(Math.abs((one.bitsPerSecond ?? 0) - total / 30) < 1);
});

test("carriers: above the limit -> one alarm, and an end to it once the last minute is below again", () => {
  const { book: mine, told } = book(1000);
  for (let s = 0; s <= 20; s++) mine.take("g1", after(s, 500));
  assert.equal(told.length, 2);
  assert.match(
    told[1] ?? "",
    /^critical release\.rate g1: .* may carry \d+ bits per second, limit 1000$/,
  );
  const before = after(20, 500);
  for (let s = 1; s <= 90; s++) mine.take("g1", after(s, 5, before));
  assert.deepEqual(told.slice(2), ["clear release.rate g1"]);
});

test("carriers: a burst in an hour of quiet -> found, because the rate is of the last minute", () => {
  const { book: mine, told } = book(1000);
  for (let s = 0; s <= 3600; s += 10) mine.take("g1", after(s, 0));
  const quiet = after(3600, 0);
  for (let s = 1; s <= 40; s++) mine.take("g1", after(s, 500, quiet));
  assert.equal(told.filter((text) => text.startsWith("critical")).length, 1);
});

test("carriers: counts that fell -> counting began anew; no rate over less than ten seconds", () => {
  const { book: mine, told } = book(1);
  mine.take("g1", after(1000, 500));
  for (let s = 0; s < 10; s++) mine.take("g1", after(s, 500));
  assert.equal(mine.status()[0]?.bitsPerSecond, null);
  assert.equal(
    told.some((text) => text.startsWith("critical")),
    false,
  );
  mine.take("g1", after(10, 500));
  assert.ok(told.some((text) => text.startsWith("critical")));
});
