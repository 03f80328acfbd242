/**
 * `npm run bench -- <which>`: measures, prints a table and the ratios that docs/PERFORMANCE.md records.
 * Nothing here is a test and nothing fails by being slow.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { largeShape, weightTypes, writeArithmeticModel } from "./arithmetic-model.ts";
import { benchAudit } from "./audit.ts";
import { benchDetection } from "./detection.ts";
import { benchFalseAlarms } from "./false-alarms.ts";
import { benchGateway } from "./gateway.ts";
import { benchLog } from "./log.ts";
import { benchRecompute } from "./recompute.ts";
import { benchBlind } from "./recompute-blind.ts";
import { benchUpload } from "./upload.ts";

const usage = `npm run bench -- gateway|upload|recompute|recompute-blind|false-alarms|detection|log [options]

  gateway    router and gateway against node:http, undici and nginx (needs wrk; nginx if there)
  upload     the weights path against SHA-256 and AES-256-GCM on one core
  recompute  recomputation per token against generation per token
  recompute-blind  what blindness costs: replay in lockstep against prefill, and how they differ
  false-alarms  SIMULATION of the sequential verdicts: false alarms against the bound, delays
  detection  what detects what on the real engine: AUC, tokens to the alarm, ablations, an honest run
  audit      weir audit of a bundle with a long log on one core, and the second verifier
  log        proofs of the transparency log, and the audit of all of it, against their limits

  --reps N           repetitions, medians are reported (default 3)
  --seconds N        length of each closed or open loop (default 4)
  --connections N    connections of the closed loops (default 256)
  --tick-ms N        release tick (default 20)
  --model FILE       model of the recompute bench (default models/weir-demo.gguf)
  --tokens N         recompute-blind: tokens of each of its 32 pairs (default 60)
  --arithmetic TYPE  recompute, recompute-blind: a random model of 160 million weights instead (F32 F16 BF16 Q8_0 Q4_0)
  --seed N           false-alarms: seed of the simulation (default 1)
  --runs N           false-alarms: runs of each honest stream (default 500)
  --pairs N          false-alarms: audited pairs in each run (default 1000)
  --serve N          detection: tokens that each server serves (default 30000)
  --honest N         detection: tokens of the honest run (default 20000)
  --cheats LIST      detection: names with commas (default all)
  --streams N        detection: streams for each delay (default 200)
  --entries N        log, audit: entries of the log (default 1000000)
  --profile FILE     detection: calibration profile (default: the one beside the model)
  --json             print JSON instead of a table
  --help
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    reps: { type: "string", default: "3" },
    seconds: { type: "string", default: "4" },
    connections: { type: "string", default: "256" },
    "tick-ms": { type: "string", default: "20" },
    model: { type: "string", default: "models/weir-demo.gguf" },
    arithmetic: { type: "string" },
    tokens: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "500" },
    pairs: { type: "string", default: "1000" },
    serve: { type: "string", default: "30000" },
    honest: { type: "string", default: "20000" },
    streams: { type: "string", default: "200" },
    entries: { type: "string", default: "1000000" },
    cheats: { type: "string" },
    profile: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

function table(rows: readonly object[]): void {
  const rounded = rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([key, value]: [string, unknown]) => [
        key,
        typeof value === "number" ? Number(value.toPrecision(4)) : value,
      ]),
    ),
  );
  if (values.json) console.log(JSON.stringify(rounded, null, 2));
  else console.table(rounded);
}

const say = (text: string): void => console.error(text);
const reps = Number(values.reps);
const seconds = Number(values.seconds);
const which = positionals[0];

if (values.help || which === undefined) {
  console.log(usage);
} else if (which === "gateway") {
  const connections = Number(values.connections);
  const rows = await benchGateway({
    reps,
    seconds,
    connections,
    tickMs: Number(values["tick-ms"]),
    say,
  });
  table(rows);
  const row = (name: string) => rows.find((candidate) => candidate.name.startsWith(name));
  const [weir, bare, undici, nginx] = ["weir", "node", "undici", "nginx"].map(row);
  if (weir !== undefined && bare !== undefined && undici !== undefined) {
    table([
      {
        "CPU per JSON request / node:http (aim <= 1.5)": weir.jsonCpuMicros / bare.jsonCpuMicros,
        "CPU per paced chunk / undici (aim <= 1)": weir.pacedCpuPerChunk / undici.pacedCpuPerChunk,
        "requests/s / node:http (aim >= 0.8)": weir.jsonPerSecond / bare.jsonPerSecond,
        "streams/s / nginx (aim >= 1)":
          nginx === undefined ? NaN : weir.burstStreamsPerSecond / nginx.burstStreamsPerSecond,
        "added p50 ms (aim <= tick/2 + 1)": weir.p50Ms - (row("direct")?.p50Ms ?? NaN),
      },
    ]);
  }
} else if (which === "log") {
  table(benchLog(Number(values.entries), reps, say));
} else if (which === "audit") {
  table(benchAudit(Number(values.entries), reps));
} else if (which === "upload") {
  table(await benchUpload(reps, say));
} else if (which === "recompute" || which === "recompute-blind") {
  const wanted = values.arithmetic;
  const bench = async (model: string): Promise<void> => {
    if (which === "recompute") table(await benchRecompute(model, reps, say));
    else (await benchBlind(model, reps, Number(values.tokens), say)).forEach(table);
  };
  if (wanted === undefined) await bench(values.model);
  else {
    const type = weightTypes.find((known) => known === wanted);
    if (type === undefined)
      throw new Error(`--arithmetic must be one of ${weightTypes.join(", ")}`);
    const folder = mkdtempSync(join(tmpdir(), "weir-bench-"));
    try {
      const model = join(folder, "arithmetic.gguf");
      const weights = writeArithmeticModel(values.model, model, type, largeShape);
      say(`${weights} random weights, ${type}`);
      await bench(model);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
} else if (which === "false-alarms") {
  const size = (name: "seed" | "runs" | "pairs"): number => {
    const value = Number(values[name]);
    if (Number.isSafeInteger(value) && value >= 1) return value;
    throw new Error(`--${name} must be a positive integer: ${values[name]}`);
  };
  const sizes = { seed: size("seed"), runs: size("runs"), pairs: size("pairs") };
  const { level, runLength, delay, choices } = benchFalseAlarms(sizes, say);
  if (values.json)
    console.log(JSON.stringify({ sizes, level, runLength, delay, choices }, null, 2));
  else [level, runLength, delay, choices].forEach(table);
} else if (which === "detection") {
  const found = await benchDetection(
    {
      ...{ model: values.model, profile: values.profile, seed: Number(values.seed) },
      ...{ tokens: Number(values.serve), honest: Number(values.honest) },
      runs: Number(values.streams),
      cheats: values.cheats?.split(","),
    },
    say,
  );
  if (values.json) console.log(JSON.stringify(found, null, 2));
  else Object.values(found).forEach(table);
} else {
  console.error(`unknown bench "${which}"\n\n${usage}`);
  process.exitCode = 2;
}
