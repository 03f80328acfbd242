/** One admitted request at the server, and how the honest server answers it. */
import { drawToken } from "../format/noise.ts";
import type { Prompt } from "../format/pair.ts";
import type { ServerFailure } from "../format/server-link.ts";
import type { Engine } from "./engine.port.ts";
import { generate, type Draw, type GenerateRequest, type GenerateSink } from "./generate.ts";

/** What a request gives to the gateway, in this order: prompt, tokens, end; or failed at any time. */
export interface JobSink extends GenerateSink {
  prompt(ids: readonly number[]): void;
  /** Ends the request without an END. */
  failed(code: ServerFailure): void;
}

export interface Job {
  readonly tag: bigint;
  /** As the client sent it. */
  readonly prompt: Prompt;
  /** Its token ids, parameters and the gateway's seed. It fits the context. */
  readonly request: GenerateRequest;
  readonly engine: Engine;
  readonly sink: JobSink;
  /** The client left, or the link closed: nothing more is to be given to the sink. */
  readonly cancelled: () => boolean;
}

/** What a dishonest server does otherwise; the honest one has none of these. */
export interface Deviation {
  /** Computes the distributions instead of the job's own engine. */
  readonly engine?: Engine;
  /** Prompt ids that are really evaluated; the honest ones are claimed. */
  readonly evaluated?: readonly number[];
  /** Parameters and seed that are really used to draw. */
  readonly request?: GenerateRequest;
  readonly draw?: Draw;
  /** Takes the place of the job's sink. */
  readonly sink?: JobSink;
}

export type Serve = (job: Job, deviation?: Deviation) => Promise<void>;

/** Answers a job. Throws UnavailableError when the engine fails. */
export const serveJob: Serve = async (job, deviation = {}) => {
  const { cancelled } = job;
  const engine = deviation.engine ?? job.engine;
  const sink = deviation.sink ?? job.sink;
  const sequence = await engine.open();
  try {
    if (cancelled()) return;
    sink.prompt(job.request.promptIds);
    await generate(
      engine,
      sequence,
      deviation.request ?? job.request,
      deviation.draw ?? drawToken,
      sink,
      cancelled,
      deviation.evaluated,
    );
  } finally {
    sequence.dispose();
  }
};
