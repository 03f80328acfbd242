import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { secretKey } from "../../base/hash.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { logKeyOf } from "../../gateway/identity.ts";
import { devicePaths } from "../device/folder.ts";
import { romDigest } from "../device/manifest.ts";
import { unlock } from "../device/unlock.ts";
import { deviceFolder, ensureDevices } from "./devices.ts";
import { deviceKeyFile, ensureKeys, ringKeyFile } from "./keys.ts";
import { dataPaths, type DataPaths } from "./paths.ts";

async function folder(
  t: TestContext,
): Promise<{ paths: DataPaths; said: string[]; run: () => Promise<string> }> {
  const root = mkdtempSync(join(tmpdir(), "weir-devices-"));
  t.after(() => {
    rmSync(root, { recursive: true });
  });
  const paths = dataPaths(root);
  await ensureKeys(paths.keys, [], Date.now());
  const said: string[] = [];
  return { paths, said, run: () => ensureDevices(paths, ["g1"], (text) => said.push(text)) };
}

test("devices: first start -> a device by ceremony and a manifest; second -> the same, nothing said", async (t) => {
  const { paths, said, run } = await folder(t);
  assert.equal(await run(), romDigest());
  assert.match(said.join(), /device g1: a simulated PUF, made in a ceremony .*simulated here/);
  const files = [
    paths.bootManifest,
    devicePaths(deviceFolder(paths, "g1")).ceremony,
    deviceKeyFile(paths.keys, "g1"),
  ];
  const before = files.map((file) => readFileSync(file, "utf8"));
  said.length = 0;
  await run();
  assert.deepEqual(said, []);
  assert.deepEqual(
    files.map((file) => readFileSync(file, "utf8")),
    before,
  );
});

test("devices: a site with a root key in a file -> keeps that key, and says that it is no root of trust", async (t) => {
  const { paths, run } = await folder(t);
  const key = Buffer.alloc(32, 5);
  writeFileSync(ringKeyFile(paths.keys, "g1"), `${key.toString("hex")}\n`);
  mkdirSync(join(paths.gateways, "g1"), { recursive: true });
  writeFileSync(join(paths.gateways, "g1", "state"), "of an earlier version");
  await run();
  const { root, info } = await unlock(devicePaths(deviceFolder(paths, "g1")).fuses);
  assert.deepEqual(root, key);
  assert.equal(info["uid"], "file");
  assert.match(info["simulated"] ?? "", /no tampering destroys it/);
  assert.equal(publicKeyHex(logKeyOf(secretKey(key))).length, 64);
});

test("devices: data of a gateway whose device is gone -> a refusal that says what to do, nothing made", async (t) => {
  const { paths, run } = await folder(t);
  await run();
  mkdirSync(join(paths.gateways, "g1"), { recursive: true });
  writeFileSync(join(paths.gateways, "g1", "state"), "x");
  rmSync(deviceFolder(paths, "g1"), { recursive: true });
  await assert.rejects(run(), { code: "device.gone" });
});

test("devices: a ceremony that was cut off -> begun again", async (t) => {
  const { paths, said, run } = await folder(t);
  await run();
  const { ceremony } = devicePaths(deviceFolder(paths, "g1"));
  const whole = JSON.parse(readFileSync(ceremony, "utf8")) as Record<string, unknown>;
  delete whole["endorsement-b"];
  writeFileSync(ceremony, JSON.stringify(whole));
  said.length = 0;
  await run();
  assert.match(said.join(), /device g1/);
  assert.notEqual(
    (JSON.parse(readFileSync(ceremony, "utf8")) as { proposal: { nonce: string } }).proposal.nonce,
    (whole["proposal"] as { nonce: string }).nonce,
  );
});
