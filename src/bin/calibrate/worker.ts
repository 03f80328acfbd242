/**
 * A process of the calibration: one CPU build of llama.cpp as server, or as recomputer, or both.
 * Started by worker-host.ts, which it does not outlive.
 */
import { openReplayEngine } from "../../adapter/llama/replay.ts";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { noiseLaw, type Candidates } from "../../format/noise.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { ReplayEngine } from "../../recomputer/engine.port.ts";
import {
  siteBuild,
  type MadePair,
  type OpenRequest,
  type ProbeRows,
  type Request,
} from "./protocol.ts";
import { scoreAll } from "./scoring.ts";
import { rowsOf, Serving } from "./serving.ts";

interface Opened {
  readonly from: OpenRequest;
  readonly serving: Serving;
  replay: ReplayEngine | null;
}

let opened: Opened | null = null;

/** The entry that a replay stands for: only its context is read. */
function entryOf(from: OpenRequest): WhitelistEntry {
  const none = Buffer.alloc(32);
  const { contextTokens, topK } = from;
  return {
    modelId: "calibration",
    weights: { sizeBytes: 1, chunkBytes: 4096, root: none },
    ...{ tokenizerDigest: none, templateDigest: none, engine: "", noiseLaw },
    generation: { temperatureMax: 2, topPMin: 0, topKMax: topK, maxTokens: 1, contextTokens },
    ...{ profile: none, digest: none },
  };
}

async function replayEngine(held: Opened): Promise<ReplayEngine> {
  const { model, build, threads } = held.from;
  const native = build === siteBuild ? {} : { binding: "native" as const, cpuBuild: build };
  held.replay ??= await openReplayEngine(entryOf(held.from), model, { threads, ...native });
  return held.replay;
}

async function probe(held: Opened, pairs: readonly MadePair[]): Promise<ProbeRows[]> {
  const engine = await replayEngine(held);
  const seen: Candidates[] = [];
  for (const { promptIds, ids } of pairs) {
    seen.push(...(await engine.replay(Array.from(promptIds), Array.from(ids), held.from.topK)));
  }
  return [
    { way: "prefill", ...rowsOf(seen) },
    await held.serving.probe(pairs, 1),
    await held.serving.probe(pairs, 4),
  ];
}

async function answer(request: Request): Promise<unknown> {
  if (request.op === "open") {
    opened = { from: request, serving: new Serving(request), replay: null };
    return null;
  }
  assert(opened !== null, "a worker is opened first");
  if (request.op === "generate") return opened.serving.generate(request);
  if (request.op === "probe") return probe(opened, request.pairs);
  return scoreAll(request, await replayEngine(opened));
}

process.on("message", (request: Request) => {
  answer(request).then(
    (value) => process.send?.({ value }),
    (error: unknown) => {
      const known = error instanceof InvalidError || error instanceof UnavailableError;
      const message =
        error instanceof Error ? (known ? error.message : error.stack) : String(error);
      process.send?.({ error: message });
    },
  );
});
// The terminal's Ctrl-C reaches all of its processes; the main one decides what becomes of workers.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit(0));
