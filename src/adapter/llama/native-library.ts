/** The process's one llama.cpp through koffi: which files, which CPU build, no logs. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { UnavailableError } from "../../base/assert.ts";
import { libraryDirectory } from "./library-directory.ts";
import { abiRelease, bind, checkAbi, type Api } from "./native-abi.ts";

// llama.cpp runs on stacks that koffi makes; those of its threads are small by default.
koffi.config({ async_stack_size: 8 * 1024 * 1024, resident_async_pools: 4 });

const buildName = /^libggml-cpu-([A-Za-z0-9._]+)\.so$/;

/** Names of the prebuilt CPU builds in a directory, sorted: `haswell`, `zen4`, ... */
export function buildsIn(directory: string): string[] {
  return readdirSync(directory)
    .flatMap((name) => buildName.exec(name)?.[1] ?? [])
    .sort();
}

export function buildPath(directory: string, build: string): string {
  return join(directory, `libggml-cpu-${build}.so`);
}

function releaseOf(directory: string): string {
  const path = join(directory, "_nlcBuildMetadata.json");
  const found = /"release":"([^"]*)"/.exec(readFileSync(path, "utf8"));
  return found?.[1] ?? "unknown";
}

function open(directory: string): Api {
  const release = releaseOf(directory);
  if (release !== abiRelease) {
    throw new UnavailableError("engine.abi", `llama.cpp is ${release}, not ${abiRelease}`, "none");
  }
  const file = (name: string): string => join(directory, name);
  let api: Api;
  try {
    api = bind({
      llama: koffi.load(file(`libllama.${abiRelease}.so`)),
      ggml: koffi.load(file(`libggml.${abiRelease}.so`)),
      ggmlBase: koffi.load(file("libggml-base.so")),
      libc: koffi.load("libc.so.6"),
    });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("engine.abi", `llama.cpp cannot be bound: ${message}`, "none");
  }
  checkAbi(api, process.arch);
  return api;
}

let opened: Api | null = null;
/** The build that was asked for, where one was; empty when the best one was left to llama.cpp. */
let chosenBuild: string | null = null;

/**
 * llama.cpp with a CPU build registered. `cpuBuild` names one of `buildsIn`; without it llama.cpp
 * takes the best that this processor runs. One process runs one build: asking for another, or for
 * one after node-llama-cpp took its own, throws UnavailableError `engine.cpu-build`.
 */
export function nativeApi(cpuBuild?: string): Api {
  const directory = libraryDirectory();
  opened ??= open(directory);
  const api = opened;
  api.logSet(api.silence, null);
  if (api.backendByName("CPU") !== null) {
    if (cpuBuild !== undefined && cpuBuild !== chosenBuild) {
      const message = `this process runs another CPU build than ${cpuBuild}`;
      throw new UnavailableError("engine.cpu-build", message, "none");
    }
    return api;
  }
  if (cpuBuild === undefined) api.backendLoadAll(directory);
  else if (!buildsIn(directory).includes(cpuBuild)) {
    throw new UnavailableError("engine.cpu-build", `there is no CPU build ${cpuBuild}`, "none");
  } else api.backendLoad(buildPath(directory, cpuBuild));
  if (api.backendByName("CPU") === null) {
    const message = `this processor does not run the CPU build ${cpuBuild ?? "(any)"}`;
    throw new UnavailableError("engine.cpu-build", message, "none");
  }
  chosenBuild = cpuBuild ?? null;
  api.backendInit();
  return api;
}
