import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { parties, rootAnchor, rootFile, testRoot } from "../../tests/support.ts";
import { openState } from "../adapter/disk/state.ts";
import { openRecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { hmacSha256, secretKey } from "../base/hash.ts";
import { encodeEnvelope } from "../format/dsse.ts";
import { sealWhitelist } from "../format/whitelist.ts";
import {
  readRootChain,
  readWhitelist,
  rememberTrust,
  type Trust,
  type TrustMemory,
} from "./trust.ts";

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-trust-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

/** A version of the whitelist as a role reads it from its files; `expiresMs` tells two of one version apart. */
function taken(dir: string, version: number, expiresMs = 8e15): Trust {
  const draft = { version, rootVersion: testRoot.version, expiresMs, entries: [] };
  writeFileSync(join(dir, "root.jsonl"), rootFile);
  const envelope = sealWhitelist(draft, [parties.a, parties.b]);
  writeFileSync(join(dir, "whitelist.json"), encodeEnvelope(envelope));
  const chain = readRootChain(join(dir, "root.jsonl"), rootAnchor);
  return { chain, whitelist: readWhitelist(join(dir, "whitelist.json"), chain) };
}

const key = secretKey(Buffer.alloc(32, 7));

async function gatewayMemory(dir: string): Promise<TrustMemory> {
  const state = await openState({ path: join(dir, "state"), key });
  return { read: () => state.trust, write: (trust) => state.change({ trust }) };
}

test("gateway: a newer whitelist, a restart, then the older one again -> refused", async (t) => {
  const dir = folder(t);
  await rememberTrust(await gatewayMemory(dir), taken(dir, 2));
  const again = await gatewayMemory(dir);
  await rememberTrust(again, taken(dir, 2));
  await assert.rejects(rememberTrust(again, taken(dir, 1)), { code: "trust.rollback" });
  await assert.rejects(rememberTrust(again, taken(dir, 2, 7e15)), { code: "trust.fork" });
  await rememberTrust(again, taken(dir, 3));
  assert.equal((await gatewayMemory(dir)).read()?.whitelistVersion, 3);
});

test("gateway: its memory taken away -> the older whitelist is taken: what the memory is for", async (t) => {
  const dir = folder(t);
  await rememberTrust(await gatewayMemory(dir), taken(dir, 2));
  rmSync(join(dir, "state"));
  // The store refuses to start then, for its log has leaves of an epoch that the state no longer knows.
  await rememberTrust(await gatewayMemory(dir), taken(dir, 1));
});

test("gateway: its memory changed, or without what it should say -> the state file is damaged", async (t) => {
  const dir = folder(t);
  const path = join(dir, "state");
  await rememberTrust(await gatewayMemory(dir), taken(dir, 2));
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.replace('"whitelistVersion":2', '"whitelistVersion":1'));
  await assert.rejects(gatewayMemory(dir), { code: "state.damaged" });
  // Even with a good authentication: a version 3 without the field is no version 3.
  const rest = { ...(JSON.parse(text.slice(65)) as object), trust: undefined };
  const json = Buffer.from(`${JSON.stringify(rest)}\n`);
  writeFileSync(
    path,
    Buffer.concat([Buffer.from(`${hmacSha256(key, json).toString("hex")}\n`), json]),
  );
  await assert.rejects(gatewayMemory(dir), { code: "state.damaged" });
});

test("recomputer: a newer whitelist, a restart, then the older one again -> refused", async (t) => {
  const dir = folder(t);
  const file = join(dir, "verdicts.sqlite");
  let db = openRecomputerDb(file);
  assert.equal(db.trust.read(), null);
  await rememberTrust(db.trust, taken(dir, 2));
  db.close();
  db = openRecomputerDb(file);
  await assert.rejects(rememberTrust(db.trust, taken(dir, 1)), { code: "trust.rollback" });
  await assert.rejects(rememberTrust(db.trust, taken(dir, 2, 7e15)), { code: "trust.fork" });
  await rememberTrust(db.trust, taken(dir, 4));
  assert.equal(db.trust.read()?.whitelistVersion, 4);
  db.close();
});

test("trust: files that are not there, not signed, or of another anchor -> the error names the file", (t) => {
  const dir = folder(t);
  const { chain } = taken(dir, 1);
  const root = join(dir, "root.jsonl");
  assert.throws(() => readRootChain(join(dir, "none"), rootAnchor), { message: /none/ });
  assert.throws(() => readRootChain(root, "ab".repeat(32)), {
    code: "root.anchor",
    message: /root\.jsonl/,
  });
  copyFileSync(root, join(dir, "whitelist.json"));
  const message = /whitelist .*whitelist\.json: expected/;
  assert.throws(() => readWhitelist(join(dir, "whitelist.json"), chain), { message });
});
