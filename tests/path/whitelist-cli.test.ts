/** `weir root` and `weir whitelist`: two parties, each with its own folder and key, up to a whitelist in force. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../../src/bin/weir.ts", import.meta.url));
const model = fileURLToPath(new URL("../../models/weir-tiny.gguf", import.meta.url));
const profile = fileURLToPath(new URL("../../models/weir-tiny.profile.json", import.meta.url));

interface Done {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

async function weir(...argv: string[]): Promise<Done> {
  const args = ["--disable-warning=ExperimentalWarning", script, ...argv];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
  await once(child, "close");
  return { code: child.exitCode, out, err };
}

/** Runs with --json, which must succeed, and gives what it says. */
async function said(...argv: string[]): Promise<Record<string, unknown>> {
  const { code, out, err } = await weir(...argv, "--json");
  assert.equal(code, 0, `${argv.join(" ")}: ${err}`);
  return JSON.parse(out) as Record<string, unknown>;
}

function folder(t: TestContext): (name: string) => string {
  const path = mkdtempSync(join(tmpdir(), "weir-parties-"));
  t.after(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return (name) => join(path, name);
}

const text = (value: unknown): string => (typeof value === "string" ? value : "");

/** Two parties with a key each and a root that both have signed. */
async function parties(at: (name: string) => string): Promise<{ anchor: string }> {
  const north = await said("root", "key", "--out", at("north.key"));
  const south = await said("root", "key", "--out", at("south.key"));
  const names = ["--a-name", "North", "--b-name", "South", "--out", at("root.jsonl")];
  const keys = ["--a-key", text(north["publicKey"]), "--b-key", text(south["publicKey"])];
  const { digest } = await said("root", "init", ...keys, ...names);
  await said("root", "sign", at("root.jsonl"), "--key", at("north.key"));
  const { missing } = await said("root", "sign", at("root.jsonl"), "--key", at("south.key"));
  assert.equal(missing, null);
  return { anchor: text(digest) };
}

test("two parties: keys, root, draft, signatures of each -> a whitelist in force; an older one refused", async (t) => {
  const at = folder(t);
  const { anchor } = await parties(at);
  assert.equal(statSync(at("north.key")).mode & 0o777, 0o600);
  const root = ["--trust-root", at("root.jsonl"), "--root-anchor", anchor];
  await said("root", "verify", at("root.jsonl"), "--root-anchor", anchor);

  const first = at("one.json");
  const add = ["whitelist", "add", "--model", model, "--profile", profile, ...root];
  const { digest } = await said(...add, "--out", first);
  const signing = ["whitelist", "sign", first, ...root, "--digest", text(digest), "--key"];
  const half = await said(...signing, at("north.key"));
  assert.deepEqual([half["party"], half["complete"]], ["North", false]);
  const before = await weir("whitelist", "verify", first, ...root);
  assert.equal(before.code, 1);
  assert.match(before.err, /South has given 0 of 1/);
  const shown = await weir("whitelist", "show", first, ...root);
  assert.equal(shown.code, 1);
  assert.match(shown.out, /NOT IN FORCE: South/);
  assert.equal((await said(...signing, at("south.key")))["complete"], true);
  await said("whitelist", "verify", first, ...root);

  const second = at("two.json");
  const next = await said(...add, "--whitelist", first, "--top-k-max", "32", "--out", second);
  assert.deepEqual(next["changes"], [
    "  version: 1 -> 2",
    "~ weir-tiny: changed",
    "    generation.topKMax: 64 -> 32",
  ]);
  for (const key of ["north.key", "south.key"]) {
    await said("whitelist", "sign", second, ...root, "--key", at(key));
  }
  await said("whitelist", "verify", second, ...root, "--against", first);
  const back = await weir("whitelist", "verify", first, ...root, "--against", second);
  assert.equal(back.code, 1);
  assert.match(back.err, /is version 1, and version 2 is in force/);
  assert.deepEqual(
    readdirSync(at("")).filter((name) => name.endsWith(".tmp")),
    [],
  );
});

test("two parties: a root changed by one party alone -> not in force; by both -> old whitelists are signed anew", async (t) => {
  const at = folder(t);
  const { anchor } = await parties(at);
  const root = ["--trust-root", at("root.jsonl"), "--root-anchor", anchor];
  const add = ["whitelist", "add", "--model", model, "--profile", profile, ...root];
  await said(...add, "--out", at("one.json"));
  for (const key of ["north.key", "south.key"]) {
    await said("whitelist", "sign", at("one.json"), ...root, "--key", at(key));
  }
  const fresh = await said("root", "key", "--out", at("north-2.key"));
  const change = ["--a-key", text(fresh["publicKey"]), "--out", at("root2.jsonl")];
  await said("root", "propose", at("root.jsonl"), ...change);
  const sign = ["root", "sign", at("root2.jsonl"), "--key"];
  await said(...sign, at("north-2.key"));
  await said(...sign, at("south.key"));
  const alone = await weir("root", "verify", at("root2.jsonl"), "--root-anchor", anchor);
  assert.equal(alone.code, 1);
  assert.match(alone.err, /under version 1: North has given 0 of 1/);
  await said(...sign, at("north.key"));
  await said("root", "verify", at("root2.jsonl"), "--root-anchor", anchor);

  const newer = ["--trust-root", at("root2.jsonl"), "--root-anchor", anchor];
  const stale = await weir("whitelist", "verify", at("one.json"), ...newer);
  assert.equal(stale.code, 1);
  assert.match(stale.err, /North has given 0 of 1/);
  await said(
    "whitelist",
    "renew",
    "--whitelist",
    at("one.json"),
    ...newer,
    "--out",
    at("two.json"),
  );
  const gone = await weir("whitelist", "sign", at("two.json"), ...newer, "--key", at("north.key"));
  assert.match(gone.err, /does not name the key/);
  for (const key of ["north-2.key", "south.key"]) {
    await said("whitelist", "sign", at("two.json"), ...newer, "--key", at(key));
  }
  await said("whitelist", "verify", at("two.json"), ...newer, "--against", at("one.json"));
});

test("two parties: wrong keys, files and words -> refused by name, and every file is as it was", async (t) => {
  const at = folder(t);
  await parties(at);
  const before = readFileSync(at("root.jsonl"), "utf8");
  writeFileSync(at("stranger.key"), `${"07".repeat(32)}\n`, { mode: 0o600 });
  const sign = ["root", "sign", at("root.jsonl"), "--key"];
  assert.match((await weir(...sign, at("stranger.key"))).err, /names the key/);
  assert.match((await weir(...sign, at("north.key"))).err, /already/);
  chmodSync(at("north.key"), 0o644);
  assert.match((await weir(...sign, at("north.key"))).err, /others may read/);
  assert.match((await weir(...sign, at("none.key"))).err, /none\.key/);
  assert.match((await weir("root", "key", "--out", at("north.key"))).err, /not written over/);
  const other = await weir("root", "verify", at("root.jsonl"), "--root-anchor", "ab".repeat(32));
  assert.equal(other.code, 1);
  assert.match(other.err, /not the anchor/);
  assert.equal(readFileSync(at("root.jsonl"), "utf8"), before);
  const same = ["--a-name", "N", "--a-key", "01".repeat(32), "--b-name", "S", "--b-key"];
  const bad = await weir("root", "init", ...same, "01".repeat(32), "--out", at("bad.jsonl"));
  assert.equal(bad.code, 1);
  assert.equal(existsSync(at("bad.jsonl")), false);
  for (const words of [
    ["root", "sing"],
    ["whitelist", "sing"],
    ["whitelist", "add"],
  ]) {
    assert.equal((await weir(...words)).code, 2, words.join(" "));
  }
  for (const words of [["root"], ["whitelist"], ["root", "init"], ["whitelist", "add"]]) {
    const help = await weir(...words, "--help");
    assert.equal(help.code, 0);
    assert.match(help.out, /^Usage: weir /);
  }
});
