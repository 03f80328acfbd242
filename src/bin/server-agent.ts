/**
 * The process inside a server's sandbox. It is started by the gateway's power, not by people: its
 * link is an inherited socket, its weights directory a tmpfs, and it reads no environment.
 */
import { Socket } from "node:net";
import { openServingEngine } from "../adapter/llama/engine.ts";
import { diskWeights } from "../adapter/disk-weights.ts";
import { wireOver } from "../adapter/link.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { runAgent, type AgentHooks } from "../server/agent.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { logLevelOf, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  fd: { kind: "number", help: "file descriptor of the link to the gateway", default: 3 },
  weightsDir: { kind: "text", help: "directory for the weights, a tmpfs", required: true },
  threads: { kind: "number", help: "threads of the engine", default: 1 },
  parallel: { kind: "number", help: "requests that run at once", default: 4 },
  queue: { kind: "number", help: "requests that wait beyond those", default: 256 },
  name: { kind: "text", help: "name in the log", default: "server" },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

/**
 * Runs the agent until its link closes. Returns the exit code. `hooks` make it a dishonest one
 * (adversary/); the command line never does.
 */
export function runServerAgent(argv: string[], hooks: AgentHooks = {}): Promise<number> {
  return withErrors("weir server-agent", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      const usage = "weir server-agent --weights-dir DIR [options]";
      process.stdout.write(helpText(usage, "The program inside a server's sandbox.", specs));
      return 0;
    }
    await serve(options, hooks);
    return 0;
  });
}

async function serve(options: Options, hooks: AgentHooks): Promise<void> {
  const logger = jsonLogger("server", options.text("name"), logLevelOf(options));
  const threads = options.number("threads", 1, 256);
  const parallel = options.number("parallel", 1, 256);
  const queueMax = options.number("queue", 0, 65_536);
  const weights = diskWeights(options.text("weightsDir"));
  const socket = new Socket({
    fd: options.number("fd", 0, 1_048_576),
    readable: true,
    writable: true,
  });
  await runAgent({
    wire: wireOver(socket, { role: "gateway", name: "gateway" }),
    weights,
    openEngine: (path, load) =>
      openServingEngine(path, {
        contextTokens: load.contextTokens,
        topK: load.topKMax,
        parallel,
        threads,
      }),
    logger,
    queueMax,
    hooks,
  });
}

if (import.meta.main) process.exit(await runServerAgent(process.argv.slice(2)));
