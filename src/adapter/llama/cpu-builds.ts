/**
 * Which of llama.cpp's prebuilt CPU builds this processor runs. Each is tried in a process of its
 * own: a process can hold only one, and a build for another processor may end it.
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { libraryDirectory } from "./library-directory.ts";
import { buildsIn } from "./native-library.ts";

const probe = fileURLToPath(new URL("./cpu-probe.ts", import.meta.url));

function runs(build: string): Promise<boolean> {
  return new Promise((resolve) => {
    // Nothing of our environment: a probe needs none of it, and secrets may be there.
    execFile(process.execPath, [probe, build], { env: {}, timeout: 30_000 }, (error) => {
      resolve(error === null);
    });
  });
}

/**
 * Names for `openNativeModel`'s cpuBuild that work here, sorted. Throws UnavailableError
 * `engine.no-binary` where no llama.cpp is installed.
 */
export async function cpuBuilds(): Promise<string[]> {
  const found: string[] = [];
  for (const build of buildsIn(libraryDirectory())) {
    if (await runs(build)) found.push(build);
  }
  return found;
}
