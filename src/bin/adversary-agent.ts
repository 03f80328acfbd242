/**
 * AN ATTACK PROGRAM: the server agent with the turncoat of adversary/agent.ts inside. Started in a
 * server's sandbox by `weir up --agent`, which only the demonstration and tests do.
 */
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { openServingEngine } from "../adapter/llama/engine.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { turncoat } from "../adversary/agent.ts";
import { runServerAgent } from "./server-agent.ts";

const argv = process.argv.slice(2);
const { values } = parseArgs({ args: argv, strict: false });
const count = (value: unknown): number => (typeof value === "string" ? Number(value) : 1);
let folder = "";

const hooks = turncoat({
  logger: jsonLogger("server", "attack", "info"),
  readWeights: (path) => {
    folder = dirname(path);
    return readFile(path);
  },
  async openWeights(gguf, begin) {
    // The weights folder is a tmpfs of this sandbox: memory, gone with the power.
    const path = join(folder, "attack.gguf");
    await writeFile(path, gguf);
    return openServingEngine(path, {
      contextTokens: begin.contextTokens,
      topK: begin.topKMax,
      parallel: count(values["parallel"]),
      threads: count(values["threads"]),
    });
  },
});

process.exit(await runServerAgent(argv, hooks));
