/** Sending ids that were not just drawn, with the text and end that follow from them. */
import { OutputText } from "../format/output-rules.ts";
import type { Job } from "./attack.ts";

/** A fresh follower of a job's output: what its ids spell, and where it ends. */
export function followerOf({ engine, request }: Job): OutputText {
  const { maxTokens, stops } = request.params;
  return new OutputText(engine.speller(), (id) => engine.isEndOfGeneration(id), {
    maxTokens,
    stops,
    promptTokens: request.promptIds.length,
    contextTokens: engine.contextTokens,
  });
}

/** Gives ids one by one until they, or the output, end. Returns whether the output ended. */
export async function emit(
  job: Job,
  ids: readonly number[],
  follower = followerOf(job),
): Promise<boolean> {
  for (const id of ids) {
    if (job.cancelled()) return true;
    const { text, finish } = follower.push(id);
    await job.sink.tokens([id], text);
    if (finish === null) continue;
    if (!job.cancelled()) job.sink.end(finish);
    return true;
  }
  return false;
}
