/** trials.jsonl: one line per trial, written when it is over, so that nothing is lost and a run goes on. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from "node:fs";
import { dirname } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import type { Line, RunHead, Skipped, Trial } from "./trial.ts";

export interface TrialKey {
  readonly attack: string;
  readonly mode: "live" | "lab";
  readonly seed: number;
}

const keyOf = ({ attack, mode, seed }: TrialKey): string => `${mode} ${attack} ${seed}`;

function parseLine(text: string, path: string, at: number): Line {
  const refuse = (why: string): never => {
    throw new InvalidError("redteam.trials", `${path}, line ${at + 1}: ${why}`);
  };
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return refuse("is not JSON");
  }
  const { schema, kind } = (line ?? {}) as { schema?: unknown; kind?: unknown };
  if (schema !== 1) refuse("is of another version of this format");
  if (kind !== "trial" && kind !== "skipped" && kind !== "run") refuse("is no trial");
  return line as Line;
}

/** Reads a file of trials. A last line that was cut off in the middle is left out. Throws InvalidError. */
export function readTrials(path: string): Line[] {
  const lines = readFileSync(path, "utf8").split("\n");
  const whole = lines.slice(0, -1);
  return whole.filter((text) => text !== "").map((text, at) => parseLine(text, path, at));
}

export class Journal {
  readonly #path: string;
  readonly #lines: Line[];
  readonly #done: Set<string>;

  private constructor(path: string, lines: Line[]) {
    this.#path = path;
    this.#lines = lines;
    const over = lines.filter((line) => line.kind !== "run");
    this.#done = new Set(over.map(keyOf));
  }

  /** A new file. Throws InvalidError when there is one already. */
  static create(path: string): Journal {
    if (existsSync(path)) {
      throw new InvalidError(
        "redteam.trials",
        `${path} exists: continue it with --resume ${path}, or name another folder with --out`,
      );
    }
    mkdirSync(dirname(path), { recursive: true });
    return new Journal(path, []);
  }

  /** Goes on with a file of an earlier run. */
  static resume(path: string): Journal {
    if (!existsSync(path)) throw new InvalidError("redteam.trials", `there is no file ${path}`);
    const text = readFileSync(path, "utf8");
    // A trial whose line was cut off by a crash is run again.
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole));
    return new Journal(path, readTrials(path));
  }

  /** Appends one line, durable as far as the system's cache. */
  add(line: Line): void {
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`);
    this.#lines.push(line);
    if (line.kind !== "run") this.#done.add(keyOf(line));
  }

  has(key: TrialKey): boolean {
    return this.#done.has(keyOf(key));
  }

  get trials(): Trial[] {
    return this.#lines.filter((line) => line.kind === "trial");
  }

  get skipped(): Skipped[] {
    return this.#lines.filter((line) => line.kind === "skipped");
  }

  get heads(): RunHead[] {
    return this.#lines.filter((line) => line.kind === "run");
  }
}
