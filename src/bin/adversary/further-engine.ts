/** Engines that an owned server opens beside its honest one. */
import { randomUUID } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ServingOptions } from "../../adapter/llama/engine.ts";
import { openNativeEngine } from "../../adapter/llama/native-engine.ts";
import type { OpenOptions } from "../../adversary/attack.ts";
import type { Engine } from "../../server/engine.port.ts";

/**
 * Loads a GGUF through files in `folder` that are gone when it is loaded. Throws UnavailableError
 * `engine.*`, InvalidError `model.*`.
 */
export async function furtherEngine(
  folder: string,
  gguf: Uint8Array,
  { lora, ...options }: OpenOptions & ServingOptions,
): Promise<Engine> {
  const path = join(folder, `attack-${randomUUID()}.gguf`);
  const adapter = `${path}.lora`;
  try {
    await writeFile(path, gguf);
    if (lora !== undefined) await writeFile(adapter, lora);
    return await openNativeEngine(
      path,
      lora === undefined ? options : { ...options, lora: adapter },
    );
  } finally {
    await rm(path, { force: true });
    await rm(adapter, { force: true });
  }
}
