/** One request: prompt ids in, ids and text out, token by token, under the noise law. */
import { outputRoom, OutputText } from "../format/output-rules.ts";
import type { Candidates, DrawParams } from "../format/noise.ts";
import type { SamplingParams } from "../format/pair.ts";
import type { Engine, Sequence } from "./engine.port.ts";

/**
 * Draws the id of one output position; the honest one is format/noise `drawToken`. `history` holds the
 * output ids so far: honest draws do not read it.
 */
export type Draw = (
  candidates: Candidates,
  params: DrawParams,
  seed: bigint,
  position: number,
  history: readonly number[],
) => number;

export interface GenerateRequest {
  readonly promptIds: readonly number[];
  readonly params: SamplingParams;
  readonly seed: bigint;
}

/** Takes what a request gives, in order. A promise holds the request up: backpressure. */
export interface GenerateSink {
  tokens(ids: readonly number[], text: string): Promise<void> | void;
  end(finish: "stop" | "length"): void;
}

/** Whether the context leaves room for at least one token of output. */
export function fits(request: GenerateRequest, contextTokens: number): boolean {
  const promptTokens = request.promptIds.length;
  return outputRoom({ maxTokens: request.params.maxTokens, promptTokens, contextTokens }) >= 1;
}

/**
 * Runs a request that `fits` on an open sequence until its end or until `cancelled` says so (then
 * nothing more is given to the sink). `evaluated` are the prompt ids that the engine gets: the
 * request's own but in attacks. Throws UnavailableError when the engine fails.
 */
export async function generate(
  engine: Engine,
  sequence: Sequence,
  request: GenerateRequest,
  draw: Draw,
  sink: GenerateSink,
  cancelled: () => boolean,
  evaluated: readonly number[] = request.promptIds,
): Promise<void> {
  const { params, seed, promptIds } = request;
  const output = new OutputText(engine.speller(), (id) => engine.isEndOfGeneration(id), {
    maxTokens: params.maxTokens,
    stops: params.stops,
    promptTokens: promptIds.length,
    contextTokens: engine.contextTokens,
  });
  const history: number[] = [];
  let ids = evaluated;
  for (let position = 0; ; position++) {
    const candidates = await sequence.next(ids);
    if (cancelled()) return;
    const id = draw(candidates, params, seed, position, history);
    history.push(id);
    const step = output.push(id);
    await sink.tokens([id], step.text);
    if (cancelled()) return;
    if (step.finish !== null) {
      sink.end(step.finish);
      return;
    }
    ids = [id];
  }
}
