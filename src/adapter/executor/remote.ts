/**
 * An executor in a process of its own, boxed in as servers are: the recomputer's end. Nothing that
 * comes back is believed before it is checked; whatever does not fit ends the process.
 */
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/report.ts";
import {
  decodeCandidates,
  decodeReady,
  encodeOpen,
  encodeStep,
  type CandidatesExpected,
  type ExecutorReady,
} from "../../format/executor-link.ts";
import { frameType, type Frame } from "../../format/link.ts";
import type { Candidates } from "../../format/noise.ts";
import type { Wire } from "../../format/wire.ts";
import type { Executor, Move } from "../../recomputer/executor.port.ts";
import { wireOver } from "../link.ts";
import { logSays } from "../power/says.ts";
import { startBox, type Box, type BoxSpec, type SandboxKind } from "../sandbox/box.ts";

export interface RemoteExecutorOptions {
  /** What `chooseSandbox` found. */
  readonly kind: SandboxKind;
  /** The program; its link is descriptor 3. */
  readonly box: BoxSpec;
  /** Time to load the model. */
  readonly readyMs: number;
  readonly logger: Logger;
  readonly clock: Clock;
}

interface Step {
  readonly moves: readonly Move[];
  readonly found: Candidates[];
  readonly resolve: (found: Candidates[]) => void;
  readonly reject: (error: UnavailableError) => void;
}

class RemoteExecutor implements Executor {
  readonly slots: number;
  readonly vocabularySize: number;
  readonly contextTokens: number;
  readonly #wire: Wire;
  readonly #box: Box;
  readonly #logger: Logger;
  readonly #expected = new Map<number, CandidatesExpected>();
  #steps = 0n;
  #step: Step | null = null;
  #down: UnavailableError | null = null;
  #ending: Promise<void> | null = null;

  constructor(wire: Wire, box: Box, ready: ExecutorReady, logger: Logger) {
    this.#wire = wire;
    this.#box = box;
    this.#logger = logger;
    this.slots = ready.slots;
    this.vocabularySize = ready.vocabularySize;
    this.contextTokens = ready.contextTokens;
    wire.onFrame((frame) => {
      this.#receive(frame);
    });
    wire.onClose((reason) => {
      this.#fail(reason);
    });
  }

  open(slot: number, promptIds: readonly number[], count: number): void {
    assert(slot < this.slots && !this.#expected.has(slot), "a free slot is opened");
    const { vocabularySize } = this;
    this.#expected.set(slot, { count: Math.min(count, vocabularySize), vocabularySize });
    const open = encodeOpen({ count: Math.min(count, vocabularySize), promptIds });
    this.#wire.send(frameType.slotOpen, BigInt(slot), open);
  }

  close(slot: number): void {
    assert(this.#expected.delete(slot), "an open slot is closed");
    this.#wire.send(frameType.slotClose, BigInt(slot));
  }

  step(moves: readonly Move[]): Promise<Candidates[]> {
    assert(this.#step === null, "one step at a time");
    if (this.#down !== null) return Promise.reject(this.#down);
    return new Promise((resolve, reject) => {
      this.#step = { moves, found: [], resolve, reject };
      this.#wire.send(frameType.slotStep, ++this.#steps, encodeStep(moves));
    });
  }

  /** An InvalidError closes the wire. */
  #receive({ type, id, payload }: Frame): void {
    const step = this.#step;
    const slot = step?.moves[step.found.length]?.slot;
    const expected = slot === undefined ? undefined : this.#expected.get(slot);
    const due = type === frameType.slotCandidates && slot !== undefined && id === BigInt(slot);
    if (step === null || expected === undefined || !due) {
      throw new InvalidError("executor.frame", `an unexpected frame of type ${type}`);
    }
    step.found.push(decodeCandidates(payload, expected));
    if (step.found.length < step.moves.length) return;
    this.#step = null;
    step.resolve(step.found);
  }

  #fail(reason: string): void {
    this.#down ??= new UnavailableError("engine.down", `the executor is gone: ${reason}`, "none");
    this.#step?.reject(this.#down);
    this.#step = null;
  }

  end(): Promise<void> {
    this.#wire.close("it was ended");
    this.#ending ??= this.#box.kill().catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      this.#logger.log("error", "executor.left-over", { why });
      throw error;
    });
    return this.#ending;
  }
}

/** Our own words for what an executor's output is logged as. */
function executorSays(logger: Logger): Logger {
  return {
    log(level, event, fields) {
      logger.log(level, event.replace(/^server\./, "executor."), fields);
    },
  };
}

function untilReady(wire: Wire, { clock, readyMs }: RemoteExecutorOptions): Promise<ExecutorReady> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      timer.cancel();
      reject(
        new UnavailableError("engine.executor", `the executor does not start: ${why}`, "none"),
      );
    };
    const timer = clock.after(readyMs, () => {
      fail(`it did not load its model in ${Math.round(readyMs)} ms`);
    });
    wire.onClose(fail);
    wire.onFrame(({ type, payload }) => {
      if (type !== frameType.slotReady) {
        throw new InvalidError("executor.frame", `a frame of type ${type} before it was ready`);
      }
      const ready = decodeReady(payload);
      timer.cancel();
      resolve(ready);
    });
  });
}

/** Starts the process and waits for its model. Throws UnavailableError `engine.executor`, `sandbox.*`. */
export async function startExecutor(options: RemoteExecutorOptions): Promise<Executor> {
  const { logger, clock } = options;
  const box = await startBox(options.kind, options.box);
  logSays(box.says, executorSays(logger), clock);
  // No role of a certificate fits: this peer is who we started.
  const wire = wireOver(box.link, { role: "server", name: "executor" });
  void box.gone.then(({ reason }) => {
    wire.close(reason.replace("the server's program", "its program"));
  });
  try {
    return new RemoteExecutor(wire, box, await untilReady(wire, options), logger);
  } catch (error) {
    wire.close("it did not start");
    await box.kill();
    throw error;
  }
}
