/** Blind replay put together: text in this process, arithmetic in an executor's (spec/executor.md). */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { systemClock } from "../adapter/clock.ts";
import { startExecutor } from "../adapter/executor/remote.ts";
import { openText, type BareText } from "../adapter/llama/text.ts";
import type { BoxPaths, BoxSpec } from "../adapter/sandbox/box.ts";
import type { Detected } from "../adapter/sandbox/detect.ts";
import { packageRoot } from "../adapter/sandbox/layout.ts";
import { UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { ReplayEngine } from "../recomputer/engine.port.ts";
import { blindEngine, type StepDeadline } from "../recomputer/lockstep.ts";

export interface BlindOptions {
  readonly threads: number;
  /** Pairs in lockstep at most; fewer where their caches would not fit `cacheBytes`. */
  readonly slots: number;
  readonly cacheBytes?: number;
  /** What `chooseSandbox` found. */
  readonly isolation: Detected;
  readonly logger: Logger;
  readonly deadline?: StepDeadline;
  /** Another program than src/bin/executor.ts, and more files to show to it: for tests. */
  readonly program?: { readonly path: string; readonly show?: BoxSpec["show"] };
}

export const blindDefaults = {
  slots: 32,
  cacheBytes: 2 ** 31,
  deadline: { baseMs: 60_000, perTokenMs: 100 },
} as const;

const modelInside = "/model.gguf";
/** Loading: this, and time to read the file at 20 MB/s. */
const readyMs = { base: 60_000, bytesPerMs: 20_000 } as const;
/** The box's in-memory directories are not used. */
const scratch = { memoryBytes: 2 ** 20, scratchBytes: 2 ** 20 } as const;

function boxOf(path: string, contextTokens: number, options: BlindOptions): BoxSpec {
  const { isolation, program, threads, slots } = options;
  const boxed = isolation.kind !== "off";
  const script = program?.path ?? `${packageRoot}/src/bin/executor.ts`;
  return {
    ...scratch,
    show: [{ from: path, to: modelInside }, ...(program?.show ?? [])],
    argv: (paths: BoxPaths) => [
      paths.node,
      program === undefined ? paths.own(script) : script,
      ...["--fd", "3", "--model", boxed ? modelInside : path],
      ...["--context-tokens", String(contextTokens)],
      ...["--slots", String(slots), "--threads", String(threads)],
    ],
  };
}

/** Sequences whose caches of `each` bytes fit together; at least one. */
export function slotsWithin(cacheBytes: number, each: number): number {
  return Math.max(1, Math.floor(cacheBytes / Math.max(1, each)));
}

function slotsFor(text: BareText, contextTokens: number, options: BlindOptions): number {
  const { slots, cacheBytes = blindDefaults.cacheBytes, logger } = options;
  const fitting = slotsWithin(cacheBytes, text.cacheBytes * contextTokens);
  if (fitting >= slots) return slots;
  logger.log("warn", "recomputer.fewer-slots", { wanted: slots, slots: fitting, cacheBytes });
  return fitting;
}

/**
 * Starts an executor on a GGUF file, whose bytes are the caller's to check against the entry. Throws
 * UnavailableError `engine.*`, `sandbox.*`, InvalidError `gguf.*`, `model.*`.
 */
export async function openBlindEngine(
  entry: WhitelistEntry,
  file: string,
  options: BlindOptions,
): Promise<ReplayEngine> {
  const { isolation, logger, deadline = blindDefaults.deadline } = options;
  const { contextTokens } = entry.generation;
  const path = resolve(file);
  const text = await openText(path);
  try {
    const { size } = await stat(path);
    const slots = slotsFor(text, contextTokens, options);
    const executor = await startExecutor({
      kind: isolation.kind,
      box: boxOf(path, contextTokens, { ...options, slots }),
      readyMs: readyMs.base + size / readyMs.bytesPerMs,
      logger,
      clock: systemClock,
    });
    if (
      executor.vocabularySize !== text.vocabularySize ||
      executor.contextTokens !== contextTokens ||
      executor.slots !== slots
    ) {
      await executor.end();
      throw new UnavailableError("engine.broken", "the executor has another model", "none");
    }
    return blindEngine(entry, text, executor, systemClock, deadline);
  } catch (error) {
    text.close();
    throw error;
  }
}
