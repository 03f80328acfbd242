/**
 * AN ATTACK PROGRAM: the server agent with the turncoat of adversary/agent.ts inside. Started in a
 * server's sandbox by `weir up --agent`, which only the demonstration, the red team and tests do.
 */
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../adapter/clock.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { turncoat } from "../adversary/agent.ts";
import { furtherEngine } from "./adversary/further-engine.ts";
import { sandboxWalls } from "./adversary/walls.ts";
import { runServerAgent } from "./server-agent.ts";

const argv = process.argv.slice(2);
const { values } = parseArgs({ args: argv, strict: false });
const count = (value: unknown): number => (typeof value === "string" ? Number(value) : 1);
let folder = "";

const { hooks } = turncoat({
  logger: jsonLogger("server", "attack", "info"),
  clock: systemClock,
  walls: sandboxWalls(() => folder),
  seed: randomBytes(8).readBigUInt64BE(),
  readWeights: (path) => {
    folder = dirname(path);
    return readFile(path);
  },
  // The weights folder is a tmpfs of this sandbox: memory, gone with the power.
  openWeights: (gguf, begin, options) =>
    furtherEngine(folder, gguf, {
      ...options,
      contextTokens: begin.contextTokens,
      topK: begin.topKMax,
      parallel: count(values["parallel"]),
      threads: count(values["threads"]),
    }),
});

process.exit(await runServerAgent(argv, hooks));
