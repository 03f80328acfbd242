/** The measurement: probe the builds, serve on each kind, replay on each kind. One worker at a time. */
import { scaleOf, type HonestCell } from "../../verification/calibration.ts";
import type { DetectorScale } from "../../verification/detector.ts";
import {
  jobOf,
  variedText,
  type JobOptions,
  type PlannedReplay,
  type PlannedShape,
} from "./plan.ts";
import {
  classesOf,
  probeNoise,
  replayWays,
  servingWays,
  type BuildClass,
  type Probed,
  type ProbeNoise,
} from "./probe.ts";
import { replaysOf, type ServedGroup } from "./replays.ts";
import { replayName, siteBuild, type Build, type MadePair, type OpenRequest } from "./protocol.ts";
import { Worker } from "./worker-host.ts";

export interface MeasureSettings {
  readonly model: string;
  /** What the reference replays on: the same, where servers are honest. */
  readonly replayModel: string;
  readonly builds: readonly Build[];
  readonly shapes: readonly PlannedShape[];
  readonly replays: readonly PlannedReplay[];
  /** Tokens to serve in all, not counting further draws. */
  readonly tokens: number;
  readonly seed: number;
  readonly redraws: number;
  readonly contextTokens: number;
  readonly topK: number;
  readonly hasTemplate: boolean;
  readonly heat: number;
  /** Told how far the work is, 0 to 1, and what is done, in words. */
  readonly progress: (done: number, what: string) => void;
  /** Throws when the user asked for an end. */
  readonly check: () => void;
  /** Told of each worker, so that it can be ended from outside; null when it is gone. */
  readonly holds: (worker: Worker | null) => void;
}

export interface Measured {
  readonly servers: readonly BuildClass[];
  readonly references: readonly BuildClass[];
  readonly noise: readonly ProbeNoise[];
  readonly scale: DetectorScale;
  readonly edge: number;
  readonly cells: readonly HonestCell[];
}

/** Shares of the whole time, for the progress line. */
const shares = { probe: 0.1, serve: 0.4, score: 0.5 } as const;
/** Known outputs on which builds are compared. */
const probePairs = 4;
/** Pairs per question to a worker: often enough to hear of progress and of Ctrl-C. */
const scoreChunk = 8;

async function withWorker<T>(
  settings: MeasureSettings,
  build: Build,
  model: string,
  use: (worker: Worker) => Promise<T>,
): Promise<T> {
  settings.check();
  const { contextTokens, topK } = settings;
  const request: OpenRequest = { op: "open", model, build, contextTokens, topK, threads: 1 };
  const worker = await Worker.open(request, settings.holds);
  try {
    return await use(worker);
  } finally {
    await worker.close();
    settings.holds(null);
  }
}

function jobOptions({ hasTemplate, contextTokens, topK, heat }: MeasureSettings): JobOptions {
  return { hasTemplate, contextTokens, topK, heat };
}

/** A few outputs of the site's own engine: the tokens that every build then computes again. */
async function knownPairs(settings: MeasureSettings): Promise<MadePair[]> {
  const options = { ...jobOptions(settings), heat: 1 };
  const jobs = Array.from({ length: probePairs }, (_, i) => jobOf(i, options));
  return withWorker(settings, siteBuild, settings.model, (worker) =>
    worker.generate({ shape: { parallel: 1, threads: 1 }, seed: settings.seed, jobs }),
  );
}

async function probeAll(settings: MeasureSettings): Promise<Probed[]> {
  settings.progress(0, "tokens to compare builds on");
  const pairs = await knownPairs(settings);
  const slotsMax = settings.replays.reduce(
    (max, { replay }) => Math.max(max, replay.mode === "blind" ? replay.slots : 1),
    1,
  );
  const probed: Probed[] = [];
  for (const [at, build] of settings.builds.entries()) {
    settings.progress(
      (shares.probe * (at + 1)) / (settings.builds.length + 1),
      `how build ${build} computes`,
    );
    const rows = await withWorker(settings, build, settings.model, (worker) =>
      worker.probe({ pairs, slots: Math.min(probePairs, slotsMax) }),
    );
    probed.push({ build, rows });
  }
  return probed;
}

/** Serves on every kind of server under every shape: equal shares of the tokens. */
async function serveAll(
  settings: MeasureSettings,
  servers: readonly BuildClass[],
): Promise<ServedGroup[]> {
  const groups: ServedGroup[] = [];
  let [served, index] = [0, 1000];
  for (const { name } of servers) {
    await withWorker(settings, name, settings.model, async (worker) => {
      for (const shape of settings.shapes) {
        const share = (settings.tokens * shape.share) / servers.length;
        const pairs: MadePair[] = [];
        for (let count = 0; count < share;) {
          settings.check();
          const done = shares.probe + (shares.serve * served) / settings.tokens;
          settings.progress(done, `serving on ${name}, ${shape.parallel} at once`);
          const jobs = Array.from({ length: Math.max(4, 2 * shape.parallel) }, () =>
            jobOf(index++, jobOptions(settings)),
          );
          const made = await worker.generate({ shape, seed: settings.seed, jobs });
          const tokens = made.reduce((sum, { ids }) => sum + ids.length, 0);
          count += tokens;
          served += tokens;
          pairs.push(...made);
        }
        groups.push({ server: name, shape, pairs });
      }
    });
  }
  return groups;
}

async function scoreAll(
  settings: MeasureSettings,
  references: readonly BuildClass[],
  groups: readonly ServedGroup[],
  scoring: { readonly scale: DetectorScale; readonly edge: number },
): Promise<HonestCell[]> {
  const cells: HonestCell[] = [];
  const total = references.length * groups.reduce((sum, { pairs }) => sum + pairs.length, 0);
  const ways = settings.replays.reduce((sum, { pairs }) => sum + pairs, 0);
  let scored = 0;
  for (const [at, { name }] of references.entries()) {
    await withWorker(settings, name, settings.replayModel, async (worker) => {
      for (const [way, planned] of replaysOf(settings.replays, groups, at).entries()) {
        const { replay, pairs, redraws } = planned;
        const results: HonestCell["pairs"][number][] = [];
        const chunk = replay.mode === "blind" ? Math.max(scoreChunk, 2 * replay.slots) : scoreChunk;
        for (let from = 0; from < pairs.length; from += chunk) {
          settings.check();
          const done = shares.probe + shares.serve + (shares.score * scored) / (total * ways);
          const what = `${pairs.length} pairs of all servers on ${name} (${replayName(replay)})`;
          settings.progress(Math.min(1, done), `replaying ${what}`);
          const part = pairs.slice(from, from + chunk);
          const stream = at * settings.replays.length + way;
          const request = { pairs: part, replay, seed: settings.seed, stream, ...scoring };
          const draws = Math.round(settings.redraws * redraws);
          results.push(...(await worker.score({ ...request, redraws: draws })));
          scored += part.length;
        }
        cells.push(...cellsOf(groups, results, { reference: name, replay: replayName(replay) }));
      }
    });
  }
  return cells;
}

/** Sorts results by who served: one cell for each group that has any. */
function cellsOf(
  groups: readonly ServedGroup[],
  results: HonestCell["pairs"],
  by: Pick<HonestCell, "reference" | "replay">,
): HonestCell[] {
  return groups.flatMap(({ server, shape, pairs }) => {
    const indices = new Set(pairs.map(({ index }) => index));
    const own = results.filter(({ index }) => indices.has(index));
    const condition = `served ${shape.parallel} at once, ${shape.threads} threads; ${variedText}`;
    return own.length === 0 ? [] : [{ server, ...by, condition, pairs: own }];
  });
}

/** Runs everything. Throws UnavailableError `calibrate.*`; whatever `check` throws. */
export async function measure(settings: MeasureSettings): Promise<Measured> {
  const probed = await probeAll(settings);
  const servers = classesOf(probed, servingWays);
  const references = classesOf(probed, replayWays);
  const noise = probeNoise(servers, references);
  const worst = {
    sigma: noise.reduce((max, { sigma }) => Math.max(max, sigma), 0),
    largest: noise.reduce((max, { largest }) => Math.max(max, largest), 0),
  };
  const scoring = scaleOf(worst);
  const groups = await serveAll(settings, servers);
  const cells = await scoreAll(settings, references, groups, scoring);
  return { servers, references, noise, ...scoring, cells };
}
