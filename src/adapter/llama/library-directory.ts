/** Where node-llama-cpp's prebuilt llama.cpp lies. Loads nothing: a gateway may ask. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { UnavailableError } from "../../base/assert.ts";

/** The folder of the prebuilt CPU libraries. Throws UnavailableError `engine.no-binary`. */
export function libraryDirectory(): string {
  const platform = `${process.platform}-${process.arch}`;
  const message = `no prebuilt llama.cpp for ${platform} is installed`;
  // The binaries' package is node-llama-cpp's dependency, so it is looked for from there.
  const from = createRequire(import.meta.resolve("node-llama-cpp"));
  let entry: string;
  try {
    entry = from.resolve(`@node-llama-cpp/${platform}`);
  } catch {
    throw new UnavailableError("engine.no-binary", message, "none");
  }
  const directory = join(dirname(dirname(entry)), "bins", platform);
  if (!existsSync(directory)) throw new UnavailableError("engine.no-binary", message, "none");
  return directory;
}
