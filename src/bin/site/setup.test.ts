import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Whitelist } from "../../format/whitelist.ts";
import { testProfile } from "../../../tests/support.ts";
import { homeFolder, siteConfig, type SiteConfig } from "./config.ts";
import { dataPaths, type DataPaths } from "./paths.ts";
import { readRootChain, readWhitelist } from "../trust.ts";
import { claimFolder, setUp } from "./setup.ts";

const model = join(homeFolder, "models/weir-tiny.gguf");

interface Rig {
  readonly config: SiteConfig;
  readonly paths: DataPaths;
  readonly said: string[];
  readonly run: (config?: Partial<SiteConfig>) => ReturnType<typeof setUp>;
}

/** The whitelist of a folder, as a role would open it. */
function opened(paths: DataPaths): Whitelist {
  const anchor = readFileSync(paths.anchor, "utf8").trim();
  return readWhitelist(paths.whitelist, readRootChain(paths.trustRoot, anchor));
}

/** A stand-in for the measurement, which takes a minute: writes wide numbers. */
async function calibrate(_model: string, out: string): Promise<void> {
  await writeFile(out, testProfile.bytes);
}

async function withFolder(body: (rig: Rig) => Promise<void>): Promise<void> {
  const data = mkdtempSync(join(tmpdir(), "weir-setup-"));
  const config = siteConfig({}, { data, model, servers: 2 }, "/");
  const paths = dataPaths(data);
  const said: string[] = [];
  const run: Rig["run"] = (more = {}) => {
    claimFolder(paths);
    return setUp({ ...config, ...more }, paths, (text) => said.push(text), calibrate);
  };
  try {
    await body({ config, paths, said, run });
  } finally {
    rmSync(data, { recursive: true });
  }
}

test("set-up: first start -> private keys, a whitelist both parties signed; second -> nothing new", async () => {
  await withFolder(async ({ paths, said, run }) => {
    const first = await run();
    const whitelist = opened(paths);
    assert.equal(whitelist.rootVersion, 1);
    assert.equal(first.trust.byHand, false);
    assert.equal(whitelist.version, 1);
    assert.equal(whitelist.entries[0]?.modelId, "weir-tiny");
    assert.equal(whitelist.entries[0].weights.sizeBytes, statSync(model).size);
    assert.equal(statSync(paths.keys).mode & 0o777, 0o700);
    for (const name of ["ca.key", "gateway-g2.key", "party-a.seed", "boot-b.seed"]) {
      assert.equal(statSync(join(paths.keys, name)).mode & 0o777, 0o600, name);
    }
    said.length = 0;
    const second = await run();
    assert.deepEqual(second.trust, first.trust);
    assert.deepEqual(said, []);
  });
});

test("set-up: cut off anywhere -> continued, with the keys that were already made", async () => {
  await withFolder(async ({ paths, said, run }) => {
    const first = await run();
    const authority = readFileSync(join(paths.keys, "ca.crt"), "utf8");
    // What a crash in the middle leaves: the marker of a begun set-up and only some files.
    writeFileSync(paths.marker, JSON.stringify({ format: 1, setUp: "begun" }));
    for (const path of [paths.whitelist, join(paths.keys, "router-router.crt")]) rmSync(path);
    said.length = 0;
    const second = await run();
    assert.match(said.join("\n"), /cut off: continuing/);
    assert.equal(second.trust.anchor, first.trust.anchor);
    assert.equal(readFileSync(join(paths.keys, "ca.crt"), "utf8"), authority);
    assert.ok(existsSync(join(paths.keys, "router-router.crt")));
    assert.match(readFileSync(paths.marker, "utf8"), /complete/);
  });
});

test("set-up: another model or policy -> a new whitelist version, and it says what changed", async () => {
  await withFolder(async ({ paths, said, run }) => {
    await run();
    await run({ generation: { topKMax: 8 } });
    assert.match(said.at(-1) ?? "", /version 2: weir-tiny \(changed: generation\)/);
    const renamed = await run({ modelId: "other", generation: { topKMax: 8 } });
    assert.match(said.at(-1) ?? "", /version 3: other replaces weir-tiny/);
    assert.equal(renamed.trust.whitelistVersion, 3);
    assert.equal(opened(paths).entries[0]?.modelId, "other");
  });
});

test("set-up: a whitelist that the parties did not sign -> refused and left alone", async () => {
  await withFolder(async ({ paths, run }) => {
    await run();
    const text = readFileSync(paths.whitelist, "utf8");
    const { signatures } = JSON.parse(text) as { signatures: { sig: string }[] };
    const forged = text.replaceAll(signatures[1]?.sig ?? "", signatures[0]?.sig ?? "");
    writeFileSync(paths.whitelist, forged);
    await assert.rejects(run(), { code: "whitelist.unsigned" });
    assert.equal(readFileSync(paths.whitelist, "utf8"), forged);
  });
});

test("set-up: a folder of something else, a missing model -> refused, nothing written", async () => {
  await withFolder(async ({ paths, run }) => {
    await assert.rejects(run({ model: "/no/such.gguf" }), { code: "site.model" });
    assert.equal(existsSync(paths.keys), false);
    writeFileSync(join(paths.root, "thesis.txt"), "mine");
    assert.throws(() => claimFolder(paths), { code: "site.folder", message: /thesis|not empty/ });
  });
});
