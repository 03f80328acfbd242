import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { LogFields } from "../../base/report.ts";
import { processIdentity } from "./lock.ts";
import { Supervisor, type Ready, type RoleSpec } from "./supervisor.ts";

// A role for tests: behaves as its configuration says.
const fakeRole = `
const { readFileSync } = require("node:fs");
const config = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.stderr.write("config " + JSON.stringify(config) + "\\n");
if (config.exit !== undefined) { process.stderr.write("no such model\\n"); process.exit(config.exit); }
if (config.deaf) process.on("SIGTERM", () => undefined);
if (!config.silent) console.log(JSON.stringify({ event: "ready", port: config.port }));
setInterval(() => undefined, 1000);
`;

interface Rig {
  readonly supervisor: Supervisor;
  readonly events: { event: string; fields: LogFields }[];
  readonly log: (key: string) => string;
  /** Resolves at the first change after which `condition` holds. */
  readonly until: (condition: () => boolean) => Promise<void>;
}

async function withRig(
  options: { readyMs?: number; stopMs?: number },
  body: (rig: Rig) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "weir-supervisor-"));
  const script = join(folder, "role.cjs");
  writeFileSync(script, fakeRole);
  const events: Rig["events"] = [];
  const waiting = new Set<() => void>();
  const supervisor = new Supervisor({
    configFolder: folder,
    logFolder: folder,
    launch: (_spec, configFile) => [process.execPath, script, configFile],
    logger: { log: (_level, event, fields = {}) => events.push({ event, fields }) },
    onChange: () => {
      for (const check of waiting) check();
    },
    backoffMs: 1,
    ...options,
  });
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  const log = (key: string): string => readFileSync(join(folder, `${key}.log`), "utf8");
  try {
    await body({ supervisor, events, log, until });
  } finally {
    supervisor.kill();
    await supervisor.stop([]);
    rmSync(folder, { recursive: true });
  }
}

function role(key: string, config: object): RoleSpec {
  return {
    key,
    command: key,
    configure: (before: Ready | null) => ({ port: before?.port ?? 7, ...config }),
  };
}

test("supervisor: a role that reports ready -> its port; its output is in its log", async () => {
  await withRig({}, async ({ supervisor, log }) => {
    assert.deepEqual(await supervisor.start(role("a", {})), { port: 7, observe: 7 });
    const [state] = supervisor.states();
    assert.equal(state?.phase, "ready");
    assert.match(log("a"), /config \{"port":7\}/);
  });
});

test("supervisor: a role that exits at its first start -> rejected with its last words", async () => {
  await withRig({}, async ({ supervisor }) => {
    await assert.rejects(supervisor.start(role("a", { exit: 3 })), {
      code: "site.role",
      message: /a exited with code 3[^]*no such model/,
    });
    assert.equal(supervisor.states()[0]?.phase, "stopped");
  });
});

test("supervisor: a role that never reports ready -> rejected", async () => {
  await withRig({ readyMs: 50 }, async ({ supervisor }) => {
    await assert.rejects(supervisor.start(role("a", { silent: true })), /did not become ready/);
  });
});

test("supervisor: a ready role that crashes -> started again on the same port, and logged", async () => {
  await withRig({}, async ({ supervisor, events, until }) => {
    await supervisor.start(role("a", {}));
    const pid = supervisor.states()[0]?.pid ?? 0;
    process.kill(pid, "SIGKILL");
    await until(() => {
      const state = supervisor.states()[0];
      return state?.phase === "ready" && state.pid !== pid;
    });
    const [state] = supervisor.states();
    assert.equal(state?.restarts, 1);
    assert.deepEqual(state.ready, { port: 7, observe: 7 });
    assert.equal(events[0]?.event, "site.role-ended");
    assert.equal(events[0].fields["how"], "was ended by SIGKILL");
  });
});

test("supervisor: stop -> groups in order, no process left; a deaf role is killed", async () => {
  await withRig({ stopMs: 100 }, async ({ supervisor, events }) => {
    await supervisor.start(role("a", {}));
    await supervisor.start(role("b", { deaf: true }));
    const pids = supervisor.states().map(({ pid }) => pid ?? 0);
    assert.ok(pids.every((pid) => processIdentity(pid) !== null));
    await supervisor.stop([["b"], ["a"]]);
    assert.deepEqual(pids.map(processIdentity), [null, null]);
    assert.deepEqual(
      events.map(({ event, fields }) => [event, fields["key"]]),
      [["site.role-forced", "b"]],
    );
  });
});
