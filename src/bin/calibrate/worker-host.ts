/** Starts, asks and ends the worker processes of a calibration. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { UnavailableError } from "../../base/assert.ts";
import type { HonestPair } from "../../verification/calibration.ts";
import type {
  GenerateRequest,
  MadePair,
  OpenRequest,
  ProbeRequest,
  ProbeRows,
  Request,
  ScoreRequest,
} from "./protocol.ts";

const program = fileURLToPath(new URL("./worker.ts", import.meta.url));

interface Answer {
  readonly value?: unknown;
  readonly error?: string;
}

/** One worker: one question at a time. */
export class Worker {
  readonly build: string;
  readonly #child: ChildProcess;

  private constructor(build: string, child: ChildProcess) {
    this.build = build;
    this.#child = child;
  }

  /**
   * `holds` hears of the worker before it works. Throws UnavailableError `calibrate.worker` when the
   * build or the model cannot be opened.
   */
  static async open(from: OpenRequest, holds: (worker: Worker) => void): Promise<Worker> {
    const child = fork(program, {
      execArgv: ["--disable-warning=ExperimentalWarning"],
      serialization: "advanced",
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const worker = new Worker(from.build, child);
    holds(worker);
    try {
      await worker.#ask(from);
      return worker;
    } catch (error) {
      await worker.close();
      throw error;
    }
  }

  #ask(request: Request): Promise<unknown> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        const message = `build ${this.build}: ${why}`;
        reject(new UnavailableError("calibrate.worker", message, "none"));
      };
      const onExit = (code: number | null, signal: string | null): void => {
        child.off("message", onMessage);
        fail(`its process ended (${signal ?? code ?? "?"})`);
      };
      const onMessage = (answer: Answer): void => {
        child.off("exit", onExit);
        if (answer.error === undefined) resolve(answer.value);
        else fail(answer.error);
      };
      child.once("exit", onExit);
      child.once("message", onMessage);
      child.send(request, (error) => {
        if (error !== null) fail(error.message);
      });
    });
  }

  async generate(request: Omit<GenerateRequest, "op">): Promise<MadePair[]> {
    return (await this.#ask({ op: "generate", ...request })) as MadePair[];
  }

  async probe(request: Omit<ProbeRequest, "op">): Promise<ProbeRows[]> {
    return (await this.#ask({ op: "probe", ...request })) as ProbeRows[];
  }

  async score(request: Omit<ScoreRequest, "op">): Promise<HonestPair[]> {
    return (await this.#ask({ op: "score", ...request })) as HonestPair[];
  }

  /** Resolves when the process is gone. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
  }
}
