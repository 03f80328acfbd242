/**
 * The process whose system calls fail: store-crash-worker.ts for a few rounds. When the store says that
 * something is unavailable, this says so, tries whether the store is closed to everything else of that
 * part, and exits with 3. Anything else that is thrown is a bug, and exits with 4.
 *
 *   unavailable CODE EFFECT | refused PART | taken PART
 */
import { writeSync } from "node:fs";
import { InvalidError, UnavailableError } from "../../src/base/assert.ts";
import { makeTag } from "../../src/format/tag.ts";
import { current } from "./store-crash-setup.ts";

const say = (...words: readonly string[]): void => {
  writeSync(1, `${words.join(" ")}\n`);
};

/** What follows a first failure is that failure again. */
process.on("unhandledRejection", (error) => {
  if (!(error instanceof UnavailableError)) fail(error);
});

function fail(error: unknown): never {
  if (error instanceof InvalidError) say("invalid", error.code, error.message);
  else say("bug", error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.exit(4);
}

/** A part that failed once takes nothing more. */
async function probe(part: string, action: () => Promise<void> | undefined): Promise<void> {
  try {
    await action();
    say("taken", part);
  } catch (error) {
    if (error instanceof UnavailableError) say("refused", part);
    else fail(error);
  }
}

try {
  await import("./store-crash-worker.ts");
} catch (error) {
  if (!(error instanceof UnavailableError)) fail(error);
  say("unavailable", error.code, error.effect);
  const { store } = current;
  if (error.code === "ring.commit") {
    await probe("ring", () => {
      store?.ring.add("end", makeTag(1, 1), Buffer.alloc(1));
      return store?.ring.commit();
    });
  }
  if (error.code === "log.commit") await probe("log", () => store?.log.commit());
  // A read changes nothing: it may be tried again.
  if (error.code.startsWith("disk.") && error.code !== "disk.read" && store !== undefined) {
    await probe("state", () => store.state.change({ halts: [] }));
  }
  process.exit(3);
}
