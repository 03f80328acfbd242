/**
 * `weir calibrate`: measures what honest servers show, on every CPU build that this machine runs,
 * with the engine that serves and the engine that replays (spec/verdict.md section 5).
 */
import { cpus } from "node:os";
import { basename } from "node:path";
import { readFileSync } from "node:fs";
import { cpuBuilds } from "../adapter/llama/cpu-builds.ts";
import { describeModel, type ModelDescription } from "../adapter/llama/describe.ts";
import { metadataOf } from "../adapter/llama/metadata.ts";
import { UnavailableError } from "../base/assert.ts";
import { sealProfile, type Profile } from "../format/profile.ts";
import { edgeOf, profileOf, runOf } from "../verification/calibration.ts";
import { blindDefaults, slotsWithin } from "./blind.ts";
import { measure, type Measured, type MeasureSettings } from "./calibrate/measure.ts";
import { quickReplays, quickShapes, replays, shapes } from "./calibrate/plan.ts";
import { siteBuild } from "./calibrate/protocol.ts";
import {
  buildsText,
  cellsText,
  detectorsText,
  edgeText,
  evidenceMeans,
  progressLine,
} from "./calibrate/report.ts";
import { detectors } from "./calibrate/scoring.ts";
import { fitting } from "./calibrate/replays.ts";
import { help, readSettings, type Settings } from "./calibrate/settings.ts";
import type { Worker } from "./calibrate/worker-host.ts";
import { untilStopped, withErrors } from "./process.ts";
import { writeAtomic } from "./site/files.ts";
import { homeFolder } from "./site/config.ts";

/** Longest context that is measured: it costs time in proportion, and memory. */
const contextMax = 1024;
/** Of every bound in the profile. */
const confidence = 0.99;

/** Runs the measurement. Returns the exit code: 1 when the machine cannot be calibrated. */
export function runCalibrate(argv: string[]): Promise<number> {
  return withErrors("weir calibrate", async () => {
    const settings = readSettings(argv);
    if (settings === null) {
      process.stdout.write(help);
      return 0;
    }
    const runnable = settings.builds === "here" ? [] : await cpuBuilds();
    if (settings.builds === "list") {
      process.stdout.write(settings.json ? `${JSON.stringify(runnable)}\n` : lines(runnable));
      return 0;
    }
    return calibrate(settings, runnable);
  });
}

const lines = (texts: readonly string[]): string => texts.map((text) => `${text}\n`).join("");

/** The builds to measure; the site's own choice always comes first. */
function chosen(settings: Settings, runnable: readonly string[]): string[] {
  const { builds } = settings;
  if (builds === "here") return [siteBuild];
  if (builds === "all" || builds === "list") return [siteBuild, ...runnable];
  const missing = builds.filter((name) => !runnable.includes(name));
  if (missing.length > 0) {
    const message = `this machine does not run ${missing.join(", ")}; --builds list shows what it runs`;
    throw new UnavailableError("calibrate.build", message, "none");
  }
  return [siteBuild, ...builds];
}

async function calibrate(settings: Settings, runnable: readonly string[]): Promise<number> {
  const found = await describeModel(settings.model);
  const contextTokens = Math.min(found.contextTokens, contextMax);
  const { cacheBytes } = await metadataOf(settings.model);
  const slotsMax = slotsWithin(blindDefaults.cacheBytes, cacheBytes * contextTokens);
  const progress = progressLine(process.stderr, () => performance.now());
  const stopped = { asked: false };
  let working: Worker | null = null;
  void untilStopped().then(() => {
    stopped.asked = true;
    // Whoever waits for its answer hears that it ended.
    void working?.close();
  });
  const plan: MeasureSettings = {
    ...settings,
    builds: chosen(settings, runnable),
    shapes: settings.quick ? quickShapes : shapes,
    replays: fitting(settings.quick ? quickReplays : replays, slotsMax),
    contextTokens,
    hasTemplate: found.hasTemplate,
    progress: progress.tell,
    holds: (worker) => {
      working = worker;
      if (stopped.asked) void worker?.close();
    },
    check: () => {
      if (stopped.asked) throw new UnavailableError("calibrate.stopped", "stopped", "none");
    },
  };
  try {
    return conclude(settings, found, await measure(plan));
  } catch (error) {
    if (!stopped.asked) throw error;
    return 130;
  } finally {
    progress.end();
  }
}

function machine(): string {
  const [first] = cpus();
  return `${process.platform} ${process.arch}, ${first?.model.trim() ?? "unknown processor"}`;
}

function weirVersion(): string {
  const text = readFileSync(`${homeFolder}/package.json`, "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function honestProfile(settings: Settings, found: ModelDescription, measured: Measured): Profile {
  return profileOf(measured.cells, {
    model: { name: basename(settings.model), root: found.root.toString("hex") },
    engines: { server: found.engine, reference: found.engine },
    scale: measured.scale,
    detectors,
    confidence,
    provenance: {
      command: settings.command,
      seed: settings.seed,
      machine: machine(),
      weir: weirVersion(),
      atMs: Date.now(),
    },
  });
}

function conclude(settings: Settings, found: ModelDescription, measured: Measured): number {
  const honest = settings.replayModel === settings.model && settings.heat === 1;
  const runs = measured.cells.map(runOf);
  const outside = runs.reduce((sum, run) => sum + run.outside, 0);
  const profile = honest && outside === 0 ? honestProfile(settings, found, measured) : null;
  const evidence = evidenceMeans(measured.cells);
  if (settings.json) {
    const classes = measured.servers.map(({ name, members }) => ({ name, members }));
    const { noise } = measured;
    const edge = honest ? edgeOf(measured.cells, confidence) : null;
    const all = { classes, noise, runs, evidence, edge, profile };
    process.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
  } else {
    process.stdout.write(`${buildsText(measured)}\n${cellsText(measured.cells)}\n`);
    if (profile !== null) {
      process.stdout.write(edgeText(edgeOf(measured.cells, confidence)));
      process.stdout.write(detectorsText(profile));
    } else
      process.stdout.write(lines(evidence.map(({ id, mean }) => `${id}: ${mean.toPrecision(3)}`)));
  }
  if (!honest) return 0;
  if (profile === null) {
    process.stderr.write(
      `weir calibrate: ${outside} honest tokens lie outside the replayed support: ` +
        "server and recomputer do not run the same model or sampler here; nothing was written\n",
    );
    return 1;
  }
  if (settings.out !== null) {
    const { bytes, digest } = sealProfile(profile);
    writeAtomic(settings.out, bytes.toString());
    if (!settings.json) process.stdout.write(`${settings.out}: ${digest.toString("hex")}\n`);
  }
  return 0;
}
