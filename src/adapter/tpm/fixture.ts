/** A software TPM (swtpm) for tests: starts, cuts power, puts old state back. Only tests import this. */
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import type { ApproveBoot } from "../../gateway/uid.port.ts";
import { connectTpm, type TpmStream } from "./stream.ts";

/** Why the tests are skipped, or false. */
export const noSwtpm: string | false =
  spawnSync("swtpm", ["--version"]).status === 0 &&
  spawnSync("tpm2_getrandom", ["--version"]).status === 0
    ? false
    : "SKIPPED: swtpm or tpm2-tools are not installed; nothing about the TPM was tested";

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => {
      resolve(false);
    });
  });
}

function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => {
      resolve(false);
    });
    server.listen(port, "127.0.0.1", () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

/** Two neighbouring free ports: tpm2-tools find the control channel one above the TPM. */
async function portPair(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 30_000);
    if ((await free(port)) && (await free(port + 1))) return port;
  }
}

export class SoftTpm {
  readonly dir: string = mkdtempSync(join(tmpdir(), "weir-tpm-"));
  port = 0;
  #process: ChildProcess | null = null;

  get #state(): string {
    return join(this.dir, "state");
  }

  async on(): Promise<void> {
    mkdirSync(this.#state, { recursive: true });
    const port = this.port === 0 ? await portPair() : this.port;
    const child = spawn(
      "swtpm",
      [
        ...["socket", "--tpm2", "--tpmstate", `dir=${this.#state}`],
        ...["--ctrl", `type=tcp,bindaddr=127.0.0.1,port=${port + 1}`],
        ...["--server", `type=tcp,bindaddr=127.0.0.1,port=${port}`],
        ...["--flags", "not-need-init,startup-clear"],
      ],
      { stdio: "ignore" },
    );
    this.port = port;
    this.#process = child;
    // The control port: a connection to the TPM's own would be its only one.
    while (child.exitCode === null && !(await listens(port + 1))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async off(): Promise<void> {
    const child = this.#process;
    if (child?.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }

  /** Power off and on again. */
  async cycle(): Promise<void> {
    await this.off();
    await this.on();
  }

  /** A copy of the state folder, as a thief of the disk has it. */
  keepState(): void {
    cpSync(this.#state, `${this.#state}.kept`, { recursive: true });
  }

  /** Puts the copy back; while the TPM is off. */
  restoreState(): void {
    rmSync(this.#state, { recursive: true });
    cpSync(`${this.#state}.kept`, this.#state, { recursive: true });
  }

  readonly open = (): Promise<TpmStream> => connectTpm("127.0.0.1", this.port);

  /** One of tpm2-tools, on this TPM; standard output. */
  async tool(name: string, ...args: readonly string[]): Promise<string> {
    const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:host=127.0.0.1,port=${this.port}` };
    const { stdout } = await promisify(execFile)(name, args, { env, cwd: this.dir });
    return stdout;
  }

  async remove(): Promise<void> {
    await this.off();
    if (existsSync(this.dir)) rmSync(this.dir, { recursive: true });
  }
}

/** A running TPM that is gone after the test. */
export async function softTpm(t: TestContext): Promise<SoftTpm> {
  const tpm = new SoftTpm();
  t.after(() => tpm.remove());
  await tpm.on();
  return tpm;
}

export interface BootKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export function bootKey(): BootKey {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}

/** Signs as a party does. */
export function signBoot(key: BootKey, message: Buffer): Buffer {
  return sign("sha256", message, { key: key.privateKey, dsaEncoding: "ieee-p1363" });
}

/** An approver that signs with the key it is given for each party, in order. */
export function approver(keys: Readonly<Record<"a" | "b", BootKey>>): ApproveBoot {
  return ({ party, message }) => Promise.resolve(signBoot(keys[party], message));
}
