/**
 * The first stage on a tree of its own: what it starts, and everything that keeps it from starting anything. Each file
 * of the device and of the tree is cut, corrupted, swapped, lost and rolled back.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { publicKeyHex } from "../../src/base/sign.ts";
import { digestOf, manifestText, openManifest, type Manifest } from "../../src/boot/manifest.ts";
import { wholeCeremony } from "../../src/bin/device/ceremony.ts";
import { devicePaths, openUid, type DevicePaths } from "../../src/bin/device/folder.ts";
import { measureTree, romDigest, sealManifest } from "../../src/bin/device/manifest.ts";
import { certificateMessage } from "../../src/boot/stage.ts";
import { bootCertificateMessage, checkBootChain } from "../../src/format/boot-certificate.ts";
import { parties } from "../support.ts";

const home = mkdtempSync(join(tmpdir(), "weir-boot-"));
after(() => {
  rmSync(home, { recursive: true });
});

const entry = "tests/path/boot-probe.ts";
const partyKeys = { partyA: publicKeyHex(parties.a), partyB: publicKeyHex(parties.b) };
const both = [parties.a, parties.b];

let count = 0;

interface Rig {
  readonly tree: string;
  readonly manifestFile: string;
  readonly manifest: Manifest;
  readonly paths: DevicePaths;
  /** Runs the first stage to its end. */
  readonly boot: (...args: string[]) => { code: number | null; said: Probe | null; why: string };
  readonly seal: (manifest: Manifest, keys?: typeof both) => void;
}

interface Probe {
  readonly root: string;
  readonly leaked: boolean;
  readonly args: readonly string[];
  readonly pid: number;
  readonly info: Readonly<
    Record<"identity" | "measurement" | "subject" | "certificate" | "device", string>
  >;
}

const measured = measureTree({ version: 1, entry });

/** A copy of the measured tree, and a device beside it. */
async function rig(device = "g1"): Promise<Rig> {
  const dir = join(home, String(count++));
  const tree = join(dir, "tree");
  for (const { path } of measured.files) {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    copyFileSync(path, join(tree, path));
  }
  const paths = devicePaths(join(dir, "device"));
  const manifestFile = join(dir, "manifest.json");
  const seal = (manifest: Manifest, keys = both): void => {
    writeFileSync(manifestFile, sealManifest(manifest, keys));
  };
  seal(measured);
  const fuses = {
    device,
    ...partyKeys,
    manifest: "../manifest.json",
    uid: { kind: "puf" } as const,
  };
  await wholeCeremony({ dir: paths.dir, fuses }, parties);
  const boot: Rig["boot"] = (...args) => {
    const rom = join(tree, "src/boot/rom.ts");
    const argv = [
      "--disable-warning=ExperimentalWarning",
      rom,
      "--fuses",
      paths.fuses,
      "--",
      ...args,
    ];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8" });
    const said = stdout === "" ? null : (JSON.parse(stdout) as Probe);
    return { code: status, said, why: stderr };
  };
  return { tree, manifestFile, manifest: measured, paths, boot, seal };
}

function refused(result: ReturnType<Rig["boot"]>, why: RegExp): void {
  assert.equal(result.said, null, "nothing was started");
  assert.match(result.why, why);
  assert.ok(result.code === 78 || result.code === 70, `exit code ${result.code}`);
}

test("boot: an untouched device -> the same root key each time, handed over by the pipe alone, and certified", async () => {
  const { boot, paths } = await rig();
  const first = boot("--config", "x.json");
  assert.equal(first.code, 0, first.why);
  assert.ok(first.said !== null);
  assert.deepEqual(first.said.args, ["--config", "x.json"]);
  assert.equal(first.said.leaked, false);
  assert.equal(boot().said?.root, first.said.root);
  const { result } = JSON.parse(readFileSync(paths.ceremony, "utf8")) as {
    result: { identity: string };
  };
  const measurement = digestOf(Buffer.from(manifestText(measured)));
  assert.equal(first.said.info.identity, result.identity);
  assert.equal(first.said.info.measurement, measurement);
  // The probe attests to nothing; the certificate itself is checked up to there.
  const shown = {
    ...first.said.info,
    device: "00".repeat(32),
    log: "00".repeat(32),
    attestation: "00".repeat(64),
  };
  assert.throws(() => checkBootChain("g1", { identity: result.identity, measurement }, shown), {
    code: "boot.attestation",
  });
  const forged = { ...shown, subject: result.identity };
  assert.throws(() => checkBootChain("g1", { identity: result.identity, measurement }, forged), {
    code: "boot.certificate",
  });
});

test("boot: any measured file cut, changed or lost -> refused by name", async () => {
  const { tree, boot, manifest } = await rig();
  const some = manifest.files.filter(({ path }, i) => i % 30 === 0 || path.endsWith("probe.ts"));
  for (const { path } of some.filter(({ path }) => !path.startsWith("src/boot/"))) {
    const file = join(tree, path);
    const good = readFileSync(file);
    const named = new RegExp(`${path.replaceAll(".", "\\.")} `);
    appendFileSync(file, "\n");
    refused(boot(), named);
    truncateSync(file, 10);
    refused(boot(), named);
    rmSync(file);
    refused(boot(), named);
    writeFileSync(file, good);
  }
  assert.equal(boot().code, 0);
});

test("boot: the first stage changed -> its digest is not the manifest's, which its starter looks at", async () => {
  const { tree, boot, manifest } = await rig();
  assert.equal(romDigest(), manifest.rom);
  appendFileSync(join(tree, "src/boot/dice.ts"), "// \n");
  // It still measures honestly here; one that does not is the starter's to refuse (site/run-site.ts).
  refused(boot(), /another first stage \(boot\.rom\)/);
});

test("boot: another node binary -> refused", async () => {
  const { boot, seal, manifest } = await rig();
  seal({ ...manifest, node: "00".repeat(32) });
  refused(boot(), /node binary is not what both parties signed/);
});

test("boot: a manifest signed by one party, by one twice, by strangers, or changed -> refused", async () => {
  const { boot, seal, manifest, manifestFile } = await rig();
  seal(manifest, [parties.a]);
  refused(boot(), /party B has not signed/);
  seal(manifest, [parties.b, parties.b]);
  refused(boot(), /party A has not signed/);
  seal(manifest, []);
  refused(boot(), /has not signed/);
  seal(manifest);
  const envelope = JSON.parse(readFileSync(manifestFile, "utf8")) as { payload: string };
  const text = Buffer.from(envelope.payload, "base64").toString().replace("version 1", "version 2");
  writeFileSync(
    manifestFile,
    JSON.stringify({ ...envelope, payload: Buffer.from(text).toString("base64") }),
  );
  refused(boot(), /has not signed/);
  truncateSync(manifestFile, 100);
  refused(boot(), /boot\.manifest/);
  rmSync(manifestFile);
  refused(boot(), /no boot manifest/);
});

test("boot: a manifest that leaves out what it starts, or reaches outside the tree -> refused", async () => {
  const { boot, seal, manifest } = await rig();
  seal({ ...manifest, files: manifest.files.filter(({ path }) => path !== entry) });
  refused(boot(), /does not measure what it starts/);
  seal({ ...manifest, files: [...manifest.files, { path: "../x", digest: "00".repeat(32) }] });
  refused(boot(), /outside the tree/);
});

test("boot: an authorised update -> the same root key, another certified key; then the older one is refused", async () => {
  const { tree, boot, seal, manifest, manifestFile } = await rig();
  const before = boot();
  const old = readFileSync(manifestFile);
  appendFileSync(join(tree, entry), "// an update\n");
  const files = manifest.files.map((file) =>
    file.path === entry ? { path: entry, digest: digestOf(readFileSync(join(tree, entry))) } : file,
  );
  seal({ ...manifest, version: 2, files });
  const updated = boot();
  assert.equal(updated.code, 0, updated.why);
  assert.equal(updated.said?.root, before.said?.root);
  assert.notEqual(updated.said?.info.subject, before.said?.info.subject);
  // Manifest and tree rolled back together, both rightly signed.
  writeFileSync(manifestFile, old);
  copyFileSync(entry, join(tree, entry));
  refused(boot(), /boot manifest 1 is older than 2/);
});

test("boot: fuses and manifest of an impostor -> not the parties of the ceremony", async () => {
  const { boot, seal, manifest, paths } = await rig();
  const { privateKeyFromSeed } = await import("../../src/base/sign.ts");
  const evil = privateKeyFromSeed(Buffer.alloc(32, 0xee));
  const fuses = JSON.parse(readFileSync(paths.fuses, "utf8")) as object;
  writeFileSync(paths.fuses, JSON.stringify({ ...fuses, partyA: publicKeyHex(evil) }));
  seal(manifest, [evil, parties.b]);
  refused(boot(), /another key of party a/);
});

test("boot: each file of the device cut, corrupted, swapped or lost -> refused, never service", async () => {
  const { paths, boot } = await rig();
  const other = await rig();
  const sameName = other.paths;
  for (const part of ["fuses", "cells", "helper", "field", "ceremony", "bootState"] as const) {
    const file = paths[part];
    const good = readFileSync(file);
    truncateSync(file, Math.floor(good.length / 2));
    refused(boot(), /refused/);
    const at = good.length - 20;
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 1;
    // Of the fuses' text, where a flipped bit is another name.
    if (part === "fuses") bad.set(Buffer.from("g2"), good.indexOf("g1"));
    writeFileSync(file, bad);
    refused(boot(), /refused/);
    if (part !== "fuses") {
      copyFileSync(sameName[part], file);
      refused(boot(), /refused/);
    }
    rmSync(file);
    refused(boot(), /refused/);
    writeFileSync(file, good);
  }
  assert.equal(boot().code, 0);
});

test("boot: bricked -> code 70, also when mark and helper data are put back as they were", async () => {
  const { paths, boot } = await rig();
  const kept = `${paths.dir}.kept`;
  cpSync(paths.dir, kept, { recursive: true });
  writeFileSync(paths.marker, '{"why":"the lid was opened"}');
  const result = boot();
  assert.equal(result.code, 70);
  refused(result, /BRICKED .*lid was opened.*only a new ceremony/);
  rmSync(paths.marker);
  refused(boot(), /./);
  copyFileSync(join(kept, "helper.bin"), paths.helper);
  const again = boot();
  refused(again, /does not come back/);
  assert.equal(again.code, 70);
  await assert.rejects(
    openUid(paths.dir, { device: "g1", ...partyKeys, manifest: "", uid: { kind: "puf" } }).unlock(),
  );
});

test("boot: the first stage is killed -> what it started dies with it", async () => {
  const { tree, paths } = await rig();
  const rom = join(tree, "src/boot/rom.ts");
  const argv = [
    "--disable-warning=ExperimentalWarning",
    rom,
    "--fuses",
    paths.fuses,
    "--",
    "--wait",
  ];
  const child = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  const line = await new Promise<string>((resolve) => {
    createInterface({ input: child.stdout }).once("line", resolve);
  });
  const { pid } = JSON.parse(line) as Probe;
  process.kill(pid, 0);
  // Its standard output is inherited: the pipe closes when the last of the two is gone.
  const closed = new Promise((resolve) => child.stdout.once("close", resolve));
  child.kill("SIGKILL");
  await closed;
});

test("boot: what the first stage signs is what verifiers check", () => {
  const of = { measurement: "ab", subject: "cd" };
  assert.deepEqual(certificateMessage("g1", "ab", "cd"), bootCertificateMessage("g1", of));
});

test("boot manifest: text and back; anything else is refused", async () => {
  const { default: fc } = await import("fast-check");
  const text = manifestText(measured);
  const sealed = Buffer.from(sealManifest(measured, both));
  assert.deepEqual(openManifest(sealed, partyKeys.partyA, partyKeys.partyB).manifest, measured);
  const { parseManifest, BootRefused } = await import("../../src/boot/manifest.ts");
  fc.assert(
    fc.property(
      fc.nat(text.length - 1),
      fc.string({ minLength: 1, maxLength: 3 }),
      (at, insert) => {
        const changed = text.slice(0, at) + insert + text.slice(at);
        try {
          assert.equal(manifestText(parseManifest(changed)), changed);
        } catch (error) {
          assert.ok(error instanceof BootRefused);
        }
      },
    ),
  );
});
