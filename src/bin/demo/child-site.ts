/** A whole site as a child process, in a folder that goes with it. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { UnavailableError } from "../../base/assert.ts";
import { findSite, type Site } from "../site/site-file.ts";

const weirScript = fileURLToPath(new URL("../weir.ts", import.meta.url));

export interface SiteUp {
  readonly endpoint: string;
  readonly page: string;
  readonly modelId: string;
  readonly servers: readonly {
    readonly gateway: string;
    readonly state: string;
    readonly isolation: { readonly kind: string; readonly detail: string } | null;
  }[];
}

export class ChildSite {
  readonly folder: string;
  readonly #child: ChildProcess;
  readonly #up = Promise.withResolvers<SiteUp>();
  readonly #exited: Promise<void>;
  #words = "";

  /** Starts `weir up` with these options, on a fresh folder under the system's temporary one. */
  constructor(options: readonly string[], onEvent: (event: string, text: string) => void) {
    this.folder = mkdtempSync(join(tmpdir(), "weir-demo-"));
    const argv = [
      weirScript,
      "up",
      "--data",
      this.folder,
      "--json",
      "--die-with-stdin",
      ...options,
    ];
    // A group of its own: Ctrl-C comes to us, and we stop it in order.
    this.#child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...argv], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    this.#child.stdin?.on("error", () => undefined);
    this.#child.stderr?.on("data", (bytes: Buffer) => {
      this.#words = (this.#words + bytes.toString()).slice(-4000);
    });
    if (this.#child.stdout !== null) {
      createInterface({ input: this.#child.stdout }).on("line", (line) => {
        const said = JSON.parse(line) as { event: string; text?: string };
        if (said.event === "up") this.#up.resolve(said as unknown as SiteUp);
        else onEvent(said.event, said.text ?? "");
      });
    }
    this.#exited = new Promise((resolve) => {
      const ended = (): void => {
        const words = this.#words.trim();
        this.#up.reject(new UnavailableError("demo.site", `the site ended: ${words}`, "none"));
        resolve();
      };
      this.#child.once("error", ended);
      this.#child.once("close", ended);
    });
    this.#up.promise.catch(() => undefined);
  }

  /** What it said when it was up. Rejects with UnavailableError when it ended before. */
  get up(): Promise<SiteUp> {
    return this.#up.promise;
  }

  site(): Site {
    return findSite(this.folder);
  }

  /** Stops it, waits, and removes its folder unless that is to be kept. */
  async stop(keep: boolean): Promise<void> {
    this.#child.kill("SIGTERM");
    const force = setTimeout(() => {
      this.#child.kill("SIGTERM");
    }, 30_000);
    await this.#exited;
    clearTimeout(force);
    if (!keep) rmSync(this.folder, { recursive: true, force: true });
  }

  /** Stops it without waiting for open requests. */
  hurry(): void {
    this.#child.kill("SIGTERM");
  }
}
