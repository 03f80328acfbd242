/** The executor's end of its link, spec/executor.md: frames become calls of the engine, in their order. */
import { InvalidError } from "../../base/assert.ts";
import {
  decodeOpen,
  decodeStep,
  encodeCandidates,
  encodeReady,
  executorLimits,
  type SlotMove,
  type SlotOpen,
} from "../../format/executor-link.ts";
import { frameType, type Frame } from "../../format/link.ts";
import type { Wire } from "../../format/wire.ts";
import type { Executor } from "../../recomputer/executor.port.ts";

/** What may be asked in the present state, so that a wrong frame is refused before the engine sees it. */
class Slots {
  readonly #executor: Executor;
  /** Tokens that a slot will hold after the moves it was asked for. */
  readonly #open = new Map<number, { prompt: number; length: number }>();

  constructor(executor: Executor) {
    this.#executor = executor;
  }

  opened(slot: number, { promptIds }: SlotOpen): void {
    this.#must(slot < this.#executor.slots && !this.#open.has(slot), `slot ${slot} is not free`);
    for (const id of Array.from(promptIds)) this.#known(id);
    this.#must(promptIds.length <= this.#executor.contextTokens, "the prompt exceeds the context");
    this.#open.set(slot, { prompt: promptIds.length, length: 0 });
  }

  moved(moves: readonly SlotMove[]): void {
    for (const { slot, token } of moves) {
      const state = this.#open.get(slot);
      if (state === undefined) throw this.#wrong(`slot ${slot} is not open`);
      this.#must((token === null) === (state.length === 0), "a slot's first move has no token");
      if (token !== null) this.#known(token);
      state.length += token === null ? state.prompt : 1;
      this.#must(state.length <= this.#executor.contextTokens, "a slot exceeds the context");
    }
  }

  closed(slot: number): void {
    this.#must(this.#open.delete(slot), `slot ${slot} is not open`);
  }

  #known(id: number): void {
    this.#must(id < this.#executor.vocabularySize, `there is no token ${id}`);
  }

  #must(holds: boolean, why: string): void {
    if (!holds) throw this.#wrong(why);
  }

  #wrong(why: string): InvalidError {
    return new InvalidError("executor.frame", why);
  }
}

/**
 * Serves `executor` over `wire` until that closes; resolves with the reason. An engine that fails
 * closes it.
 */
export function serveExecutor(wire: Wire, executor: Executor): Promise<string> {
  const slots = new Slots(executor);
  let last: Promise<unknown> = Promise.resolve();
  const then = (work: () => unknown): void => {
    last = last.then(work).catch((error: unknown) => {
      wire.close(error instanceof Error ? error.message : String(error));
    });
  };
  const step = async (moves: readonly SlotMove[]): Promise<void> => {
    const answers = await executor.step(moves);
    for (const [at, answer] of answers.entries()) {
      const slot = moves[at]?.slot ?? 0;
      wire.send(frameType.slotCandidates, BigInt(slot), encodeCandidates(answer));
    }
  };
  const onFrame = ({ type, id, payload }: Frame): void => {
    if (type === frameType.slotStep) {
      const moves = decodeStep(payload);
      slots.moved(moves);
      then(() => step(moves));
      return;
    }
    if (id >= BigInt(executorLimits.slots)) {
      throw new InvalidError("executor.frame", `there is no slot ${id}`);
    }
    const slot = Number(id);
    if (type === frameType.slotOpen) {
      const open = decodeOpen(payload);
      slots.opened(slot, open);
      then(() => {
        executor.open(slot, Array.from(open.promptIds), open.count);
      });
    } else if (type === frameType.slotClose && payload.length === 0) {
      slots.closed(slot);
      then(() => {
        executor.close(slot);
      });
    } else throw new InvalidError("executor.frame", `an unexpected frame of type ${type}`);
  };
  wire.onFrame(onFrame);
  wire.send(frameType.slotReady, 0n, encodeReady(executor));
  return new Promise((resolve) => {
    wire.onClose(resolve);
  });
}
