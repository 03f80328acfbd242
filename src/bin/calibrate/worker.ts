/**
 * A process of the calibration: one CPU build of llama.cpp as server, or as recomputer, or both.
 * Started by worker-host.ts, which it does not outlive.
 */
import { systemClock } from "../../adapter/clock.ts";
import { openReplayEngine } from "../../adapter/llama/replay.ts";
import { openSlots } from "../../adapter/llama/slots.ts";
import { assert, InvalidError, UnavailableError } from "../../base/assert.ts";
import { noiseLaw, type Candidates } from "../../format/noise.ts";
import type { WhitelistEntry } from "../../format/whitelist.ts";
import type { ReplayEngine } from "../../recomputer/engine.port.ts";
import { Lockstep } from "../../recomputer/lockstep.ts";
import { blindDefaults } from "../blind.ts";
import {
  siteBuild,
  type MadePair,
  type OpenRequest,
  type ProbeRequest,
  type ProbeRows,
  type Replay,
  type Request,
} from "./protocol.ts";
import { scoreAll } from "./scoring.ts";
import { rowsOf, Serving } from "./serving.ts";

interface Opened {
  readonly from: OpenRequest;
  readonly serving: Serving;
  replay: ReplayEngine | null;
  /** The recomputer's own instructor, over the executor's own arithmetic in this process. */
  blind: { readonly slots: number; readonly lockstep: Lockstep } | null;
}

let opened: Opened | null = null;

/** The entry that a replay stands for: only its context is read. */
function entryOf(from: OpenRequest): WhitelistEntry {
  const none = Buffer.alloc(32);
  const { contextTokens, topK } = from;
  return {
    modelId: "calibration",
    weights: { sizeBytes: 1, chunkBytes: 4096, root: none },
    ...{ tokenizerDigest: none, templateDigest: none, engine: "", engineBuild: none, noiseLaw },
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

async function blindly(held: Opened, slots: number): Promise<Lockstep> {
  if (held.blind?.slots === slots) return held.blind.lockstep;
  const { model, build, threads, contextTokens } = held.from;
  await held.blind?.lockstep.close();
  held.blind = null;
  const native = build === siteBuild ? {} : { cpuBuild: build };
  const executor = await openSlots(model, { slots, threads, contextTokens, ...native });
  const lockstep = new Lockstep(executor, systemClock, blindDefaults.deadline);
  held.blind = { slots, lockstep };
  return lockstep;
}

/** What replays one pair, in the way that is asked for. */
async function replayer(
  held: Opened,
  replay: Replay,
): Promise<(pair: MadePair, count: number) => Promise<Candidates[]>> {
  const engine =
    replay.mode === "prefill" ? await replayEngine(held) : await blindly(held, replay.slots);
  return ({ promptIds, ids }, count) =>
    engine.replay(Array.from(promptIds), Array.from(ids), count);
}

async function probe(held: Opened, { pairs, slots }: ProbeRequest): Promise<ProbeRows[]> {
  const { topK } = held.from;
  const prefill = await replayer(held, { mode: "prefill" });
  const seen: Candidates[] = [];
  for (const pair of pairs) seen.push(...(await prefill(pair, topK)));
  const blind = await replayer(held, { mode: "blind", slots });
  const together = await Promise.all(pairs.map((pair) => blind(pair, topK)));
  return [
    { way: "prefill", ...rowsOf(seen) },
    { way: "blind", ...rowsOf(together.flat()) },
    await held.serving.probe(pairs, 1),
    await held.serving.probe(pairs, 4),
  ];
}

async function answer(request: Request): Promise<unknown> {
  if (request.op === "open") {
    opened = { from: request, serving: new Serving(request), replay: null, blind: null };
    return null;
  }
  assert(opened !== null, "a worker is opened first");
  if (request.op === "generate") return opened.serving.generate(request);
  if (request.op === "probe") return probe(opened, request);
  return scoreAll(request, await replayer(opened, request.replay));
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
