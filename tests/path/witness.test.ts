/** The log's walk: durable entries, a signed checkpoint, the publisher, both witnesses, and a receipt for offline. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { leafHash } from "../../src/base/merkle.ts";
import { parseTlogProof, verifyTlogProof } from "../../src/format/tlog-proof.ts";
import {
  entry,
  logVkey,
  openLogHouse,
  removeFolder,
  temporaryFolder,
  witnessKey,
} from "../log-house.ts";
import { until } from "./house.ts";

test("witness path: entries become durable -> signed, published, cosigned by both, and provable offline", async (t) => {
  const dir = temporaryFolder();
  t.after(() => removeFolder(dir));
  const house = await openLogHouse(dir);
  const { checkpoints } = house.gateway;
  await until("the empty log is cosigned", () => checkpoints.full?.size === 0);
  for (const [from, to] of [
    [0, 1],
    [1, 300],
    [300, 301],
    [301, 1100],
  ] as const) {
    await house.gateway.grow(Array.from({ length: to - from }, (_, i) => entry(from + i)));
    await until(`${to} entries are cosigned by both`, () => checkpoints.full?.size === to);
  }
  assert.deepEqual(
    checkpoints.status().parties.map(({ party, size }) => [party, size]),
    [
      ["a", 1100],
      ["b", 1100],
    ],
  );
  assert.equal(checkpoints.status().backlog, 0);
  const policy = { log: logVkey(checkpoints), witnesses: [witnessKey("a"), witnessKey("b")] };
  for (const index of [0, 255, 256, 511, 1023, 1024, 1099]) {
    const proof = await checkpoints.proofOf(index);
    verifyTlogProof(parseTlogProof(Buffer.from(proof ?? "")), leafHash(entry(index)), policy);
  }
  assert.equal(await checkpoints.proofOf(1100), null);
  // Each witness holds every entry that it cosigned.
  for (const { mirror } of Object.values(house.witnesses)) {
    assert.deepEqual(await mirror.entries(1099, 1), entry(1099));
  }
  await house.close();
});

test("witness path: everything restarts -> goes on where it was, and the gateway knows what was cosigned", async (t) => {
  const dir = temporaryFolder();
  t.after(() => removeFolder(dir));
  const first = await openLogHouse(dir);
  await first.gateway.grow(Array.from({ length: 10 }, (_, i) => entry(i)));
  await until("cosigned", () => first.gateway.checkpoints.full?.size === 10);
  await first.close();
  const again = await openLogHouse(dir);
  assert.equal(again.gateway.checkpoints.status().cosigned, 10);
  await again.gateway.grow([entry(10)]);
  await until("cosigned again", () => again.gateway.checkpoints.full?.size === 11);
  await again.close();
});
