import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { noSwtpm, softTpm } from "../../adapter/tpm/fixture.ts";
import { InvalidError } from "../../base/assert.ts";
import { privateKeyFromSeed, publicKeyHex } from "../../base/sign.ts";
import {
  checkTranscript,
  encodeTranscript,
  parseTranscript,
  udsOf,
  type Transcript,
} from "../../format/ceremony.ts";
import { addEndorsement, contribute, finish, propose, wholeCeremony } from "./ceremony.ts";
import { devicePaths, type DeviceFuses } from "./folder.ts";
import { unlock } from "./unlock.ts";

const keys = {
  a: privateKeyFromSeed(Buffer.alloc(32, 0xa1)),
  b: privateKeyFromSeed(Buffer.alloc(32, 0xb2)),
};
const partyKeys = { a: publicKeyHex(keys.a), b: publicKeyHex(keys.b) };
const fuses: DeviceFuses = {
  ...{ device: "g1", partyA: partyKeys.a, partyB: partyKeys.b, manifest: "m.json" },
  uid: { kind: "puf" },
};

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-ceremony-"));
  t.after(() => {
    rmSync(dir, { recursive: true });
  });
  return dir;
}

const code = (wanted: string) => (error: unknown) =>
  error instanceof InvalidError && error.code === wanted;

test("ceremony: both contribute and endorse -> one device, that both can check, and that boots", async (t) => {
  const dir = folder(t);
  const transcript = await wholeCeremony({ dir, fuses }, keys);
  const device = checkTranscript(transcript, partyKeys);
  assert.match(device.identity, /^[0-9a-f]{64}$/);
  assert.equal(new Set([device.identity, device.device, device.log]).size, 3);
  const again = parseTranscript(Buffer.from(encodeTranscript(transcript)));
  assert.deepEqual(checkTranscript(again, partyKeys), checkTranscript(transcript, partyKeys));
  const { uds, root, info } = await unlock(devicePaths(dir).fuses);
  assert.equal(root, null);
  assert.equal(info["uid"], "puf");
  assert.deepEqual((await unlock(devicePaths(dir).fuses)).uds, uds);
});

test("ceremony: another UID, another entropy of either party, another proposal -> another secret", async (t) => {
  const { proposal } = await propose({ dir: folder(t), fuses });
  const [uid, a, b] = [1, 2, 3].map((byte) => Buffer.alloc(32, byte)) as [Buffer, Buffer, Buffer];
  const other = Buffer.alloc(32, 9);
  const secrets = [
    udsOf(uid, { a, b }, proposal),
    udsOf(other, { a, b }, proposal),
    udsOf(uid, { a: other, b }, proposal),
    udsOf(uid, { a, b: other }, proposal),
    udsOf(uid, { a: b, b: a }, proposal),
    udsOf(uid, { a, b }, { ...proposal, nonce: "00".repeat(32) }),
  ];
  assert.equal(new Set(secrets.map((secret) => secret.toString("hex"))).size, secrets.length);
});

test("ceremony: out of order, twice, by a stranger, of another device -> refused", async (t) => {
  const dir = folder(t);
  const proposed = await propose({ dir, fuses });
  await assert.rejects(propose({ dir, fuses }), code("device.exists"));
  await assert.rejects(finish(dir, proposed), code("ceremony.missing"));
  const one = contribute(proposed, keys.a);
  assert.throws(() => contribute(one, keys.a), code("ceremony.order"));
  assert.throws(
    () => contribute(one, privateKeyFromSeed(Buffer.alloc(32, 1))),
    code("ceremony.parties"),
  );
  await assert.rejects(finish(dir, one), code("ceremony.missing"));
  assert.throws(() => addEndorsement(one, keys.a), code("ceremony.missing"));
  const both = contribute(one, keys.b);
  const elsewhere = folder(t);
  await propose({ dir: elsewhere, fuses });
  await assert.rejects(finish(elsewhere, both), code("ceremony.proposal"));
  const finished = await finish(dir, both);
  await assert.rejects(finish(dir, both), code("ceremony.order"));
  assert.throws(() => checkTranscript(finished, partyKeys), code("ceremony.missing"));
});

test("ceremony: a contribution sealed other than committed to -> refused by the device", async (t) => {
  const dir = folder(t);
  const proposed = await propose({ dir, fuses });
  const first = contribute(contribute(proposed, keys.a), keys.b);
  const second = contribute(proposed, keys.a);
  const { signContribution } = await import("../../format/ceremony.ts");
  const [one, two] = [first.contributions.a, second.contributions.a];
  assert.ok(one !== undefined && two !== undefined);
  const mixed = { commitment: one.commitment, sealed: two.sealed };
  const a = signContribution(proposed.proposal, "a", mixed, keys.a);
  const forged = { ...first, contributions: { ...first.contributions, a } };
  await assert.rejects(finish(dir, forged), code("ceremony.commitment"));
});

test("ceremony: any field of a finished transcript changed -> the check names it", async (t) => {
  const transcript = await wholeCeremony({ dir: folder(t), fuses }, keys);
  const text = encodeTranscript(transcript);
  const json = JSON.parse(text) as Record<string, Record<string, string> | string | number>;
  let changes = 0;
  for (const [part, value] of Object.entries(json)) {
    const fields = typeof value === "object" ? Object.keys(value) : [""];
    for (const field of fields) {
      const changed = structuredClone(json);
      const flip = (old: unknown): string | number =>
        typeof old === "string" ? old.replace(/[0-9a-z]/, (c) => (c === "1" ? "2" : "1")) : 2;
      if (field === "") changed[part] = flip(value);
      else
        (changed[part] as Record<string, string>)[field] = String(
          flip((value as Record<string, string>)[field]),
        );
      assert.throws(
        () => checkTranscript(parseTranscript(Buffer.from(JSON.stringify(changed))), partyKeys),
        InvalidError,
        `${part}.${field}`,
      );
      changes++;
    }
  }
  assert.ok(changes > 15);
  const { endorsements, ...rest } = transcript;
  for (const missing of ["a", "b"] as const) {
    const left = missing === "a" ? { b: endorsements.b ?? "" } : { a: endorsements.a ?? "" };
    const without: Transcript = { ...rest, endorsements: left };
    assert.throws(() => checkTranscript(without, partyKeys), InvalidError);
  }
  assert.throws(
    () => checkTranscript(transcript, { a: partyKeys.b, b: partyKeys.a }),
    code("ceremony.parties"),
  );
});

test("ceremony: keys that anybody signs for, of a party or of the device -> refused before a signature is looked at", async (t) => {
  const transcript = await wholeCeremony({ dir: folder(t), fuses }, keys);
  const bad = `01${"00".repeat(31)}`;
  const { proposal, result } = transcript;
  assert.ok(result !== null);
  const changed: Transcript[] = [
    ...(["a", "b"] as const).map((party) => ({
      ...transcript,
      proposal: { ...proposal, [party]: bad },
    })),
    ...(["identity", "device", "log"] as const).map((name) => ({
      ...transcript,
      result: { ...result, [name]: bad },
    })),
  ];
  for (const one of changed) {
    assert.throws(() => parseTranscript(Buffer.from(encodeTranscript(one))), code("ceremony.key"));
  }
});

test("ceremony: anew -> another device; what the old one sealed stays shut", async (t) => {
  const dir = folder(t);
  const old = await wholeCeremony({ dir, fuses }, keys);
  const before = (await unlock(devicePaths(dir).fuses)).uds;
  const field = readFileSync(devicePaths(dir).field);
  const anew = await wholeCeremony({ dir, fuses, replace: true }, keys);
  assert.notEqual(anew.result?.identity, old.result?.identity);
  assert.notDeepEqual((await unlock(devicePaths(dir).fuses)).uds, before);
  writeFileSync(devicePaths(dir).field, field);
  await assert.rejects(unlock(devicePaths(dir).fuses), code("device.field"));
  writeFileSync(devicePaths(dir).ceremony, encodeTranscript(old));
  await assert.rejects(unlock(devicePaths(dir).fuses), code("device.helper"));
});

test(
  "ceremony: on a TPM -> a device that needs both boot keys, and is bricked for good",
  { skip: noSwtpm },
  async (t) => {
    const tpm = await softTpm(t);
    const dir = folder(t);
    const pem = (name: string): string => {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const path = join(tpm.dir, name);
      writeFileSync(path, privateKey.export({ format: "pem", type: "pkcs8" }));
      return path;
    };
    const where = { tpm: `tcp:127.0.0.1:${tpm.port}`, nvIndex: 0x01500020 };
    const uid = { kind: "tpm", ...where, bootKeyA: pem("a"), bootKeyB: pem("b") } as const;
    await wholeCeremony({ dir, fuses: { ...fuses, uid } }, keys);
    const { fuses: file } = devicePaths(dir);
    const first = await unlock(file);
    assert.ok(first.counter !== null);
    await tpm.cycle();
    assert.deepEqual((await unlock(file)).uds, first.uds);
    writeFileSync(devicePaths(dir).marker, "the mesh was cut");
    await assert.rejects(unlock(file), code("uid.bricked"));
    rmSync(devicePaths(dir).marker);
    await tpm.cycle();
    await assert.rejects(unlock(file), code("uid.bricked"));
  },
);
