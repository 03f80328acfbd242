/**
 * The process that runs the model for a recomputer, and knows nothing of what is claimed
 * (docs/decisions/0015-blind-executor.md). It is started by the recomputer, in the box that servers
 * get; its link is an inherited socket, and it reads no environment.
 */
import { Socket } from "node:net";
import { serveExecutor } from "../adapter/executor/serve.ts";
import { wireOver } from "../adapter/link.ts";
import { openSlots } from "../adapter/llama/slots.ts";
import { executorLimits } from "../format/executor-link.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { withErrors } from "./process.ts";

const specs: OptionSpecs = {
  fd: { kind: "number", help: "file descriptor of the link to the recomputer", default: 3 },
  model: { kind: "text", help: "GGUF file", required: true },
  contextTokens: { kind: "number", help: "prompt and output together", required: true },
  slots: { kind: "number", help: "sequences that advance together", default: 1 },
  threads: { kind: "number", help: "threads of the engine", default: 1 },
};

/** Runs the executor until its link closes. Returns the exit code. */
export function runExecutor(argv: string[]): Promise<number> {
  return withErrors("weir executor", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      const usage = "weir executor --model FILE --context-tokens N [options]";
      process.stdout.write(helpText(usage, "The engine of a recomputer, in its box.", specs));
      return 0;
    }
    await serve(options);
    return 0;
  });
}

async function serve(options: Options): Promise<void> {
  const executor = await openSlots(options.text("model"), {
    contextTokens: options.number("contextTokens", 1, 2 ** 24),
    slots: options.number("slots", 1, executorLimits.slots),
    threads: options.number("threads", 1, 1024),
  });
  const socket = new Socket({
    fd: options.number("fd", 0, 1_048_576),
    readable: true,
    writable: true,
  });
  await serveExecutor(wireOver(socket, { role: "recomputer", name: "recomputer" }), executor);
}

if (import.meta.main) process.exit(await runExecutor(process.argv.slice(2)));
