/**
 * The first stage of a gateway: what stands in for a boot ROM.
 *
 *   1. measure   the boot manifest is signed by both parties (whose keys are fuses); the node binary and every file of
 *                the next stage have its digests; nothing else is started
 *   2. unlock    the measured unlock program (in silicon: the PUF or TPM block) gives the unique device secret
 *   3. derive    DICE: CDI_Attest from the code, CDI_Seal from who may sign code; the UDS is erased
 *   4. certify   the identity key, of the UDS, signs the next stage's key with its measurement
 *   5. start     the next stage gets its secrets through a pipe: never environment, arguments or disk
 *
 * It refuses: a manifest older than one it has started, any difference, a missing fuse. A refusal starts nothing.
 *
 * Trust: imports nothing but Node's own modules and its three neighbours. Being files, it can be replaced by whoever
 * owns the disk, which no ROM can: its digest stands in the manifest, and whoever starts it checks that (docs/TRUST.md).
 * Files are read twice, to measure and to run: who can write them in between is not stopped here.
 */
import { spawn } from "node:child_process";
import { createHash, sign, timingSafeEqual } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { diceKey, publicBytes } from "./dice.ts";
import {
  BootRefused,
  digestOf,
  digestOfFiles,
  openManifest,
  romFiles,
  type Manifest,
} from "./manifest.ts";
import { bootStateText, certificateMessage, rootKeyOf, stageCdis } from "./stage.ts";

/** What is burnt into the device: JSON, spec/boot.md. The rest of its folder lies beside it. */
interface Fuses {
  readonly device: string;
  readonly partyA: string;
  readonly partyB: string;
  readonly manifest: string;
}

/** What the unlock program answers. `root`: an old site's root key, where the UID is a plain file. */
interface Unlocked {
  readonly uds: Buffer;
  readonly root: Buffer | null;
  readonly counter: bigint | null;
  /** Words for the status: kind of UID, what is simulated, digest of the ceremony. */
  readonly info: Readonly<Record<string, string>>;
}

const root = fileURLToPath(new URL("../../", import.meta.url));
/** Exit codes: 78 as EX_CONFIG, the stage was refused; 70, the device is bricked. */
const refusedExit = 78;
const brickedExit = 70;

function refuse(code: string, message: string): never {
  throw new BootRefused(code, message);
}

function readFuses(path: string): Fuses {
  let json: Partial<Record<keyof Fuses, unknown>>;
  try {
    json = (JSON.parse(readFileSync(path, "utf8")) ?? {}) as typeof json;
  } catch {
    return refuse("boot.fuses", "the fuses of this device cannot be read");
  }
  const { device, partyA, partyB, manifest } = json;
  const keys = [partyA, partyB].every(
    (key) => typeof key === "string" && /^[0-9a-f]{64}$/.test(key),
  );
  if (!keys || typeof device !== "string" || typeof manifest !== "string") {
    return refuse("boot.fuses", "the fuses of this device are malformed");
  }
  return { device, partyA: partyA as string, partyB: partyB as string, manifest };
}

function readMeasured(path: string): Buffer {
  try {
    return readFileSync(join(root, path));
  } catch {
    return refuse("boot.measure", `${path} cannot be read`);
  }
}

/** SHA-256 of a file too large to hold. */
function digestOfLarge(path: string): string {
  const hash = createHash("sha256");
  const file = openSync(path, "r");
  const piece = Buffer.alloc(1 << 20);
  for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
    hash.update(piece.subarray(0, read));
  }
  closeSync(file);
  return hash.digest("hex");
}

/** Step 1. Throws BootRefused `boot.measure` that names the first file that differs. */
function measure(manifest: Manifest): void {
  const rom = digestOfFiles(romFiles.map((path) => ({ path, bytes: readMeasured(path) })));
  if (rom !== manifest.rom) refuse("boot.rom", "the manifest is for another first stage");
  for (const { path, digest } of manifest.files) {
    if (digestOf(readMeasured(path)) === digest) continue;
    refuse("boot.measure", `${path} is not what both parties signed`);
  }
  if (digestOfLarge(process.execPath) !== manifest.node) {
    refuse("boot.measure", "the node binary is not what both parties signed");
  }
}

function openSealed(path: string, fuses: Fuses): ReturnType<typeof openManifest> {
  let envelope: Buffer;
  try {
    envelope = readFileSync(path);
  } catch {
    return refuse("boot.manifest", "there is no boot manifest");
  }
  return openManifest(envelope, fuses.partyA, fuses.partyB);
}

async function unlock(manifest: Manifest, fusesFile: string): Promise<Unlocked> {
  const program = (await import(pathToFileURL(join(root, manifest.unlock)).href)) as {
    readonly unlock: (fusesFile: string) => Promise<Unlocked>;
  };
  return program.unlock(fusesFile);
}

/** Refuses a manifest older than one this device has started; remembers a newer one. */
function checkAge(path: string, uds: Uint8Array, version: number): void {
  const text = existsSync(path) ? readFileSync(path, "latin1") : "";
  const highest = Number(/^[0-9a-f]{64} (\d{1,9})\n$/.exec(text)?.[1] ?? NaN);
  const expected = Buffer.from(bootStateText(uds, highest));
  const got = Buffer.from(text, "latin1");
  if (expected.length !== got.length || !timingSafeEqual(expected, got)) {
    refuse("boot.state", "the record of manifests that this device has started is gone or changed");
  }
  if (version < highest) {
    refuse("boot.rollback", `boot manifest ${version} is older than ${highest}, which ran before`);
  }
  if (version === highest) return;
  const draft = `${path}.tmp`;
  const file = openSync(draft, "w", 0o600);
  writeSync(file, bootStateText(uds, version));
  fsyncSync(file);
  closeSync(file);
  renameSync(draft, path);
}

/** Steps 2 to 4: everything the next stage is handed, as bytes (bin/device/handover.ts reads them). */
async function handover(
  fusesFile: string,
  fuses: Fuses,
  opened: { readonly manifest: Manifest; readonly payload: Buffer },
): Promise<Buffer> {
  const { manifest, payload } = opened;
  const { uds, root: fileRoot, counter, info } = await unlock(manifest, fusesFile);
  try {
    checkAge(join(dirname(fusesFile), "boot-state"), uds, manifest.version);
    const cdis = stageCdis(uds, fuses, payload);
    const identity = diceKey(uds);
    const subject = publicBytes(diceKey(cdis.attest)).toString("hex");
    const measurement = digestOf(payload);
    const message = certificateMessage(fuses.device, measurement, subject);
    const words = JSON.stringify({
      ...info,
      device: fuses.device,
      measurement,
      manifestVersion: manifest.version,
      counter: counter === null ? "" : String(counter),
      identity: publicBytes(identity).toString("hex"),
      subject,
      certificate: sign(null, message, identity).toString("hex"),
    });
    const secrets = Buffer.concat([fileRoot ?? rootKeyOf(cdis), cdis.attest]);
    return Buffer.concat([secrets, Buffer.from(words, "utf8")]);
  } finally {
    uds.fill(0);
    fileRoot?.fill(0);
  }
}

/** Step 5. Resolves with the exit code of the stage. */
function start(manifest: Manifest, secrets: Buffer, args: readonly string[]): Promise<number> {
  const flags = ["--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, join(root, manifest.entry), ...args], {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
  });
  // Length first. The pipe stays open: when this process dies, its end tells the stage, which dies too.
  const pipe = child.stdio[3] as NodeJS.WritableStream;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(secrets.length);
  pipe.on("error", () => undefined);
  pipe.write(Buffer.concat([length, secrets]), () => secrets.fill(0));
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => child.kill(signal));
  }
  return new Promise((settle) => {
    child.once("error", () => {
      settle(refusedExit);
    });
    child.once("exit", (code) => {
      settle(code ?? 1);
    });
  });
}

async function main(argv: readonly string[]): Promise<number> {
  const at = argv.indexOf("--");
  const [flag, file] = argv;
  if (flag !== "--fuses" || file === undefined || at !== 2) {
    process.stderr.write("usage: rom.ts --fuses FILE -- OPTIONS OF THE GATEWAY\n");
    return 2;
  }
  try {
    const fusesFile = resolve(file);
    const fuses = readFuses(fusesFile);
    const opened = openSealed(resolve(dirname(fusesFile), fuses.manifest), fuses);
    measure(opened.manifest);
    const secrets = await handover(fusesFile, fuses, opened);
    return await start(opened.manifest, secrets, argv.slice(at + 1));
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
    const known = typeof code === "string";
    process.stderr.write(`boot refused: ${String(message)}${known ? ` (${code})` : ""}\n`);
    return code === "uid.bricked" ? brickedExit : refusedExit;
  }
}

process.exit(await main(process.argv.slice(2)));
