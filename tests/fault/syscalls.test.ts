/**
 * System calls that fail: strace makes the n-th call of a kind on the store's files fail once, or from then
 * on, or kills the process there. Whatever happens, what the process had reported as durable must be found by a
 * fresh start, epochs and tags never repeat, and the process says that something is unavailable and goes on
 * with nothing of that part. The store is the real one, with SQLite in it.
 *
 * A sample of the places is tried, another one for each WEIR_SEED; WEIR_SYSCALLS=all tries every one.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { openGatewayStore } from "../../src/adapter/disk/store.ts";
import { check, Reported } from "./store-audit.ts";
import { randomOf, storeOptions } from "./store-crash-setup.ts";

const worker = join(import.meta.dirname, "syscalls-worker.ts");
const rounds = "12";
/** Runs of a sample, and how many at a time. */
const sampled = 60;
const atOnce = 2;

const reading = ["access", "openat", "read", "pread64"] as const;
const writing = ["pwrite64", "pwritev", "fdatasync", "fsync", "rename", "ftruncate"] as const;
const kinds = [...reading, ...writing] as const;
type Kind = (typeof kinds)[number];

const hows = ["EIO once", "EIO for ever", "ENOSPC once", "SIGKILL"] as const;
type How = (typeof hows)[number];

interface Place {
  readonly start: "old" | "new";
  readonly kind: Kind;
  readonly nth: number;
  readonly how: How;
}

const nameOf = ({ start, kind, nth, how }: Place): string =>
  `${how} at ${kind} ${nth} of a${start === "old" ? "n old" : " new"} store`;

function injection({ kind, nth, how }: Place): string {
  if (how === "SIGKILL") return `inject=${kind}:signal=SIGKILL:when=${nth}`;
  const [error, when] = how.split(" ");
  return `inject=${kind}:error=${error}:when=${nth}${when === "for" ? "+" : ""}`;
}

/** Every file that a store has or has for a while: only calls on these are counted and failed. */
function filesOf(dir: string): string[] {
  const segments = Array.from(
    { length: storeOptions(dir).segments },
    (_, i) => `ring/segment-${String(i).padStart(5, "0")}.ring`,
  );
  const replaced = ["state", "log/leaves.head", ...segments];
  const names = ["", "log", "ring", "log/leaves.log", ...replaced];
  names.push(...replaced.map((name) => `${name}.new`));
  names.push(...["", "-wal", "-journal"].map((end) => `outbox.db${end}`));
  return names.map((name) => join(dir, name));
}

interface Run {
  readonly code: number | null;
  readonly signal: string | null;
  readonly lines: readonly string[];
  readonly errors: string;
  /** strace's record of the calls. */
  readonly calls: string;
}

async function run(dir: string, seed: number, inject: string | null): Promise<Run> {
  const trace = `${dir}.trace`;
  const paths = filesOf(dir).flatMap((path) => ["-P", path]);
  const expressions = [`trace=${kinds.join(",")}`, ...(inject === null ? [] : [inject])];
  const argv = ["-f", "-qq", "-o", trace, ...paths, ...expressions.flatMap((text) => ["-e", text])];
  const child = spawn("strace", [...argv, process.execPath, worker, dir, String(seed), rounds], {
    stdio: ["ignore", "pipe", "pipe"],
    // strace counts calls by thread: all of node:fs on one, all of SQLite on the main thread.
    env: { ...process.env, UV_THREADPOOL_SIZE: "1" },
  });
  let said = "";
  let errors = "";
  child.stdout.on("data", (data: Buffer) => (said += data.toString()));
  child.stderr.on("data", (data: Buffer) => (errors += data.toString()));
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  const lines = said.split("\n").filter((line) => line !== "");
  return { code, signal, lines, errors, calls: readFileSync(trace, "utf8") };
}

/** How often a kind of call is made, by the thread that makes most of them. */
function countCalls(calls: string, kind: Kind): number {
  const byThread = new Map<string, number>();
  for (const line of calls.split("\n")) {
    const [, thread = "", name = ""] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (name === kind) byThread.set(thread, (byThread.get(thread) ?? 0) + 1);
  }
  return Math.max(0, ...byThread.values());
}

const ofFault = /^(unavailable|refused|taken|invalid|bug) /;

/** Two runs need not make quite as many calls: the last places may not be reached. */
function tookPlace({ code, calls }: Run, { how }: Place): boolean {
  return how === "SIGKILL" ? code !== 0 : calls.includes("(INJECTED)");
}

/** What a run said, held against its disk. Returns what became of the fault. */
async function audit(
  dir: string,
  place: Place,
  before: readonly string[],
  run: Run,
): Promise<string> {
  const words = run.lines.filter((line) => ofFault.test(line));
  const what = `${run.errors}${words.join("\n")}`;
  if (place.how === "SIGKILL") {
    const ended = run.signal === "SIGKILL" || run.code === 137 || run.code === 0;
    assert.ok(ended, `it was killed: ${run.code}, ${what}`);
  } else {
    assert.ok(run.code === 0 || run.code === 3, `it stops in order: ${run.code}, ${what}`);
    assert.deepEqual(
      words.filter((line) => line.startsWith("taken ")),
      [],
      "a part that failed is closed",
    );
  }
  const reported = new Reported();
  for (const line of [...before, ...run.lines.filter((line) => !ofFault.test(line))]) {
    reported.line(line);
  }
  const opened = await openGatewayStore(storeOptions(dir));
  try {
    reported.boot(opened.epoch);
    await check(opened, dir, reported);
  } finally {
    await opened.close();
  }
  if (run.code === 0) return tookPlace(run, place) ? "absorbed" : "not reached";
  return run.code === 3 ? (words[0] ?? "exit 3") : "killed";
}

/** Every place, from the calls that faultless runs make. */
async function placesIn(scratch: string, old: string): Promise<Place[]> {
  const places: Place[] = [];
  for (const start of ["old", "new"] as const) {
    const dir = join(scratch, `count-${start}`);
    if (start === "old") cpSync(old, dir, { recursive: true });
    else mkdirSync(dir);
    const { code, calls, errors } = await run(dir, 2, null);
    assert.equal(code, 0, errors);
    for (const kind of kinds) {
      const count = countCalls(calls, kind);
      for (const how of hows) {
        if (
          how === "ENOSPC once" &&
          !["openat", "pwrite64", "pwritev", "ftruncate"].includes(kind)
        ) {
          continue;
        }
        for (let nth = 1; nth <= count; nth++) places.push({ start, kind, nth, how });
      }
    }
  }
  return places;
}

function choose(places: readonly Place[], seed: number): Place[] {
  if (process.env["WEIR_SYSCALLS"] === "all") return [...places];
  const random = randomOf(seed);
  return places
    .map((place) => ({ place, at: random() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, sampled)
    .map(({ place }) => place);
}

const works = spawnSync("strace", ["-qq", "-o", "/dev/null", "true"]).status === 0;
const skip = works ? false : "SKIPPED: strace is absent or may not trace here, no call was failed";

function scratchOf(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "weir-syscalls-"));
  t.after(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

test(
  "store: any system call fails once, for ever, or is the last -> nothing durable is lost",
  { skip },
  async (t) => {
    const seed = Number(process.env["WEIR_SEED"] ?? Date.now() % 2 ** 31);
    t.diagnostic(`WEIR_SEED=${seed}`);
    const scratch = scratchOf(t);
    const old = join(scratch, "old");
    mkdirSync(old);
    const first = await run(old, 1, null);
    assert.equal(first.code, 0, first.errors);
    const places = await placesIn(scratch, old);
    const chosen = choose(places, seed);
    const outcomes = new Map<string, number>();
    const failures: string[] = [];
    let injected = 0;
    const queue = chosen.map((place, index) => ({ place, index }));
    const work = async (): Promise<void> => {
      for (let job = queue.pop(); job !== undefined; job = queue.pop()) {
        const { place, index } = job;
        const dir = join(scratch, `run-${index}`);
        if (place.start === "old") cpSync(old, dir, { recursive: true });
        else mkdirSync(dir);
        const done = await run(dir, 2, injection(place));
        if (tookPlace(done, place)) injected++;
        try {
          const before = place.start === "old" ? first.lines : [];
          const outcome = await audit(dir, place, before, done);
          const key = `${place.kind} ${place.how}: ${outcome}`;
          outcomes.set(key, (outcomes.get(key) ?? 0) + 1);
        } catch (error) {
          const hit = done.calls.split("\n").find((line) => line.includes("(INJECTED)"));
          failures.push(`${nameOf(place)}: ${String(error)}\n    ${String(hit)}`);
        }
        rmSync(dir, { recursive: true, force: true });
      }
    };
    await Promise.all(Array.from({ length: atOnce }, work));
    t.diagnostic(`${chosen.length} of ${places.length} places, ${injected} calls failed or killed`);
    for (const [key, count] of [...outcomes].sort()) t.diagnostic(`${key}: ${count}`);
    assert.deepEqual(failures, []);
    assert.ok(injected >= 0.9 * chosen.length, "nearly every fault took place");
  },
);
