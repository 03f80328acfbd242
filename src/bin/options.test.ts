import assert from "node:assert/strict";
import { test } from "node:test";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { readOptions, type OptionSpecs } from "./options.ts";

const specs: OptionSpecs = { releaseKeys: { kind: "list", help: "public keys" } };
const good = publicKeyHex(privateKeyFromSeed(Buffer.alloc(32, 7)));
const keysOf = (...given: string[]): string[] | undefined =>
  readOptions(
    given.flatMap((key) => ["--release-keys", key]),
    specs,
  )?.keys("releaseKeys");

test("options: public keys -> as given; one of small order, one that is none -> refused by name", () => {
  assert.deepEqual(keysOf(good), [good]);
  assert.deepEqual(keysOf(), []);
  const identity = `01${"00".repeat(31)}`;
  for (const [bad, why] of [
    [identity, /its order is small/],
    [`ee${"ff".repeat(30)}7f`, /not canonical/],
    [good.slice(2), /64 lower-case hex digits/],
  ] as const) {
    const named = (error: Error): boolean => why.test(error.message) && error.message.includes(bad);
    assert.throws(() => keysOf(good, bad), named);
  }
});
