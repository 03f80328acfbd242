import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidError } from "../base/assert.ts";
import { parseWatch } from "./dashboard.ts";

test("parseWatch: ROLE/NAME=HOST:PORT -> a target", () => {
  assert.deepEqual(parseWatch("gateway/g1=127.0.0.1:9001"), {
    role: "gateway",
    name: "g1",
    host: "127.0.0.1",
    port: 9001,
  });
  assert.deepEqual(parseWatch("router/main=[::1]:1"), {
    role: "router",
    name: "main",
    host: "::1",
    port: 1,
  });
});

test("parseWatch: anything else -> refused, naming what is wrong", () => {
  const wrong: [string, RegExp][] = [
    ["g1=127.0.0.1:1", /ROLE\/NAME=HOST:PORT/],
    ["server/g1=127.0.0.1:1", /"server" is none of gateway, recomputer, router, depot/],
    ["gateway/G 1=127.0.0.1:1", /"G 1" is no role name/],
    ["gateway/=127.0.0.1:1", /"" is no role name/],
    ["gateway/g1=127.0.0.1", /HOST:PORT/],
    ["gateway/g1=127.0.0.1:99999", /HOST:PORT/],
  ];
  for (const [text, why] of wrong) {
    assert.throws(
      () => parseWatch(text),
      (error) => error instanceof InvalidError && why.test(error.message),
      text,
    );
  }
});
