/**
 * Starts the roles of a site as processes, keeps their logs, starts crashed ones again with growing
 * delays, and stops them all. A role says it is ready by one JSON line on standard output:
 * `{"event":"ready","port":N}`; everything else that it prints goes to its log.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { UnavailableError } from "../../base/assert.ts";
import type { Logger } from "../../base/report.ts";
import { writeAtomic } from "./files.ts";
import { rotatingLog, type RotatingLog } from "./rotate.ts";

/** What a ready role said: its port, and `observe` where observers have a port of their own. */
export interface Ready {
  readonly port: number;
  readonly observe: number;
}

export interface RoleSpec {
  /** Unique in the site, and the name of its files: `gateway-g1`. */
  readonly key: string;
  /** The `weir` subcommand. */
  readonly command: string;
  /** Fuses of the device that it runs on; its first stage then starts it (boot/rom.ts). */
  readonly fuses?: string;
  /** Its configuration; `before` are the ports of its last run, to be taken again, or null. */
  readonly configure: (before: Ready | null) => object;
}

export type RolePhase = "starting" | "ready" | "waiting" | "stopped" | "bricked";

export interface RoleState {
  readonly key: string;
  readonly phase: RolePhase;
  readonly pid: number | null;
  readonly ready: Ready | null;
  readonly restarts: number;
}

export interface SupervisorOptions {
  readonly configFolder: string;
  readonly logFolder: string;
  /** The command line that runs a role with this configuration file. */
  readonly launch: (spec: RoleSpec, configFile: string) => readonly string[];
  readonly logger: Logger;
  readonly onChange: () => void;
  readonly readyMs?: number;
  readonly stopMs?: number;
  readonly backoffMs?: number;
}

/** A gateway whose device was tampered with: starting it again would change nothing (boot/rom.ts). */
const brickedExit = 70;
const backoffMaxMs = 30_000;
/** A role that ran this long has recovered: its next delay is the shortest again. */
const settledMs = 60_000;
/** Lines kept in memory to explain a failed start. */
const tailLines = 12;

function parseReady(line: string): Ready | null {
  if (!line.startsWith("{")) return null;
  try {
    const said = JSON.parse(line) as Record<string, unknown>;
    const { event, port, observe } = said;
    if (event !== "ready") return null;
    const main = typeof port === "number" ? port : 0;
    return { port: main, observe: typeof observe === "number" ? observe : main };
  } catch {
    return null;
  }
}

class ManagedRole {
  readonly spec: RoleSpec;
  readonly #options: SupervisorOptions;
  readonly #log: RotatingLog;
  readonly #tail: string[] = [];
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #failures = 0;
  #startedMs = 0;
  #stopping = false;
  #bricked = false;
  phase: RolePhase = "stopped";
  ready: Ready | null = null;
  restarts = 0;

  constructor(spec: RoleSpec, options: SupervisorOptions) {
    this.spec = spec;
    this.#options = options;
    this.#log = rotatingLog(join(options.logFolder, `${spec.key}.log`));
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** First start: resolves when ready; rejects when it exits or stays silent. */
  async start(): Promise<Ready> {
    const { promise, resolve, reject } = Promise.withResolvers<Ready>();
    const timer = setTimeout(() => {
      reject(this.#failure("did not become ready in time"));
    }, this.#options.readyMs ?? 30_000);
    this.#launch(resolve, (how) => {
      reject(this.#failure(how));
    });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #failure(how: string): UnavailableError {
    const tail = this.#tail.map((line) => `\n  ${line}`).join("");
    return new UnavailableError("site.role", `${this.spec.key} ${how}${tail}`, "none");
  }

  #phase(phase: RolePhase): void {
    this.phase = phase;
    this.#options.onChange();
  }

  #launch(onReady: (ready: Ready) => void, onEnd: (how: string) => void): void {
    const { spec } = this;
    const configFile = join(this.#options.configFolder, `${spec.key}.json`);
    writeAtomic(configFile, `${JSON.stringify(spec.configure(this.ready), null, 2)}\n`, 0o600);
    const [program = "", ...args] = this.#options.launch(spec, configFile);
    // Its own process group: the terminal's Ctrl-C reaches only us, and we stop it in order.
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    this.#child = child;
    this.#startedMs = performance.now();
    child.stdin.on("error", () => undefined);
    this.#read(child.stdout, (line) => {
      const ready = this.phase === "starting" ? parseReady(line) : null;
      if (ready === null) return;
      this.ready = ready;
      this.#phase("ready");
      onReady(ready);
    });
    this.#read(child.stderr, () => undefined);
    const { promise, resolve } = Promise.withResolvers<string>();
    child.once("error", (error) => {
      resolve(`cannot be started: ${error.message}`);
    });
    child.once("close", (code, signal) => {
      this.#bricked = code === brickedExit;
      resolve(signal === null ? `exited with code ${code ?? "?"}` : `was ended by ${signal}`);
    });
    this.#exited = promise.then((how) => {
      this.#ended(how, onEnd);
    });
    this.#phase("starting");
  }

  #read(stream: Readable, onLine: (line: string) => void): void {
    createInterface({ input: stream }).on("line", (line) => {
      this.#log.write(line);
      this.#tail.push(line);
      if (this.#tail.length > tailLines) this.#tail.shift();
      onLine(line);
    });
  }

  #ended(how: string, onEnd: (how: string) => void): void {
    const wasReady = this.phase === "ready";
    this.#child = null;
    if (this.#bricked && !this.#stopping) {
      this.#options.logger.log("error", "site.role-bricked", { key: this.spec.key, how });
      this.#phase("bricked");
      onEnd("is BRICKED");
      return;
    }
    if (this.#stopping || (!wasReady && this.restarts === 0)) {
      this.#phase("stopped");
      onEnd(how);
      return;
    }
    if (performance.now() - this.#startedMs > settledMs) this.#failures = 0;
    const base = this.#options.backoffMs ?? 500;
    const delay = Math.min(base * 2 ** this.#failures, backoffMaxMs);
    this.#failures++;
    this.restarts++;
    const fields = { key: this.spec.key, how, restartInMs: delay };
    this.#options.logger.log("error", "site.role-ended", fields);
    this.#phase("waiting");
    this.#timer = setTimeout(() => {
      this.#launch(
        (ready) => {
          this.#options.logger.log("warn", "site.role-back", {
            key: this.spec.key,
            port: ready.port,
          });
        },
        () => undefined,
      );
    }, delay);
  }

  /** SIGTERM, then after a grace period SIGKILL. Resolves when the process is gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#child === null) {
      if (this.phase !== "stopped" && this.phase !== "bricked") this.#phase("stopped");
      return;
    }
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => {
      this.#options.logger.log("error", "site.role-forced", { key: this.spec.key });
      this.kill();
    }, this.#options.stopMs ?? 15_000);
    await this.#exited;
    clearTimeout(timer);
  }

  /** SIGKILL to the whole process group, now. */
  kill(): void {
    this.#stopping = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      this.#child?.kill("SIGKILL");
    }
  }

  close(): void {
    this.#log.close();
  }
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #roles = new Map<string, ManagedRole>();

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /**
   * Starts a role and resolves with its ports when it is ready. Rejects with UnavailableError
   * `site.role`, with its last lines, when its first start fails; later crashes are restarted.
   */
  start(spec: RoleSpec): Promise<Ready> {
    const role = new ManagedRole(spec, this.#options);
    this.#roles.set(spec.key, role);
    return role.start();
  }

  states(): RoleState[] {
    return [...this.#roles.values()].map(({ spec, phase, pid, ready, restarts }) => ({
      key: spec.key,
      phase,
      pid,
      ready,
      restarts,
    }));
  }

  /** Stops the roles of these groups, one group after the other, then all that are left. */
  async stop(order: readonly (readonly string[])[]): Promise<void> {
    for (const group of [...order, [...this.#roles.keys()]]) {
      const roles = group.map((key) => this.#roles.get(key)).filter((role) => role !== undefined);
      await Promise.all(roles.map((role) => role.stop()));
    }
    for (const role of this.#roles.values()) role.close();
    this.#roles.clear();
  }

  /** Kills every process group at once. */
  kill(): void {
    for (const role of this.#roles.values()) role.kill();
  }
}
