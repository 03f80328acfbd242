/** Weights as one file in a directory. A server's directory is a tmpfs: it dies with its power. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { UnavailableError } from "../base/assert.ts";
import type { WeightsFile, WeightsStore } from "../server/weights.port.ts";

function unavailable(error: unknown): UnavailableError {
  const why = error instanceof Error ? error.message : String(error);
  return new UnavailableError("weights.write", `the weights cannot be stored: ${why}`, "unknown");
}

/** Keeps the weights in `directory`/weights.gguf; an older file of that name is replaced. */
export function diskWeights(directory: string): WeightsStore {
  const path = join(directory, "weights.gguf");
  return {
    async create(): Promise<WeightsFile> {
      const file = await open(path, "w", 0o600).catch((error: unknown) => {
        throw unavailable(error);
      });
      let closed = false;
      const close = async (): Promise<void> => {
        if (closed) return;
        closed = true;
        await file.close();
      };
      return {
        async write(bytes: Uint8Array): Promise<void> {
          await file.appendFile(bytes).catch((error: unknown) => {
            throw unavailable(error);
          });
        },
        async finish(): Promise<string> {
          await close();
          return path;
        },
        async discard(): Promise<void> {
          await close();
          await rm(path, { force: true });
        },
      };
    },
  };
}
