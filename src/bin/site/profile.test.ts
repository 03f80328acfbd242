import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { noiseLaw } from "../../format/noise.ts";
import { sealProfile } from "../../format/profile.ts";
import { assumedProfile } from "../../verification/calibration.ts";
import { siteConfig, type SiteConfig } from "./config.ts";
import { dataPaths, type DataPaths } from "./paths.ts";
import { ensureProfile, profileBeside } from "./profile.ts";

const root = Buffer.alloc(32, 7);
const entry = { weights: { sizeBytes: 1, chunkBytes: 4096, root }, noiseLaw };
const measured = (of: Buffer, sigma: number): ReturnType<typeof sealProfile> =>
  sealProfile({
    ...assumedProfile,
    ...{ basis: "measured", sigma, model: { name: "m.gguf", root: of.toString("hex") } },
    runs: [
      {
        ...{ condition: "c", pairs: 1, tokens: 1, mismatches: 0, outside: 0 },
        ...{ meanMargin: 0, maxMargin: 0 },
      },
    ],
  });

interface Rig {
  readonly config: SiteConfig;
  readonly paths: DataPaths;
  readonly asked: string[];
  /** Measures sigma 0.9, or fails. */
  readonly run: (more?: Partial<SiteConfig>, fails?: boolean) => ReturnType<typeof ensureProfile>;
}

async function withSite(body: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "weir-profile-"));
  const config = siteConfig({}, { data: folder, model: join(folder, "m.gguf") }, "/");
  const paths = dataPaths(folder);
  const asked: string[] = [];
  const run: Rig["run"] = (more = {}, fails = false) =>
    ensureProfile({ ...config, ...more }, paths, entry, (model, out) => {
      asked.push(model);
      if (fails) return Promise.reject(new Error("no luck"));
      writeFileSync(out, measured(root, 0.9).bytes);
      return Promise.resolve();
    });
  try {
    await body({ config, paths, asked, run });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("site profile: none anywhere -> measured once, kept for later starts", async () => {
  await withSite(async ({ config, paths, asked, run }) => {
    const first = await run();
    assert.equal(first.profile.sigma, 0.9);
    assert.deepEqual(asked, [config.model]);
    const again = await run();
    assert.deepEqual(again.digest, first.digest);
    assert.equal(asked.length, 1);
    // Another model in the same folder: the old profile does not speak for it.
    writeFileSync(paths.profile, measured(Buffer.alloc(32, 8), 0.1).bytes);
    assert.equal((await run()).profile.sigma, 0.9);
    assert.equal(asked.length, 2);
  });
});

test("site profile: one beside the model, one that is configured -> the latter wins; nothing measured", async () => {
  await withSite(async ({ config, paths, asked, run }) => {
    writeFileSync(profileBeside(config.model), measured(root, 0.2).bytes);
    assert.equal((await run()).profile.sigma, 0.2);
    const named = join(paths.root, "named.json");
    writeFileSync(named, measured(root, 0.3).bytes);
    assert.equal((await run({ profile: named })).profile.sigma, 0.3);
    assert.deepEqual(readFileSync(paths.profile), measured(root, 0.3).bytes);
    assert.deepEqual(asked, []);
  });
});

test("site profile: of other weights, not JSON, missing, or not measurable -> an error that names the file", async () => {
  await withSite(async ({ config, paths, run }) => {
    const beside = profileBeside(config.model);
    writeFileSync(beside, measured(Buffer.alloc(32, 8), 0.2).bytes);
    await assert.rejects(run(), { code: "profile.other", message: /m\.profile\.json.*weights/ });
    writeFileSync(beside, "{");
    await assert.rejects(run(), { code: "json.syntax", message: /m\.profile\.json/ });
    rmSync(beside);
    await assert.rejects(run({ profile: "/no/such.json" }), {
      code: "profile.file",
      message: /no\/such/,
    });
    await assert.rejects(run({}, true), /no luck/);
    assert.equal(existsSync(paths.profile), false);
  });
});
