import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  carriers,
  depotStatus,
  evidence,
  failAlarm,
  gatewayStatus,
  recomputerStatus,
  routerStatus,
  verdict,
} from "../../tests/path/page-scene.ts";
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import { noCarriers } from "../format/carriers.ts";
import type { RoleStatus } from "../format/status.ts";
import { listMax, textMax } from "./part.ts";
import { readRoleStatus } from "./read.ts";

const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const honest: RoleStatus[] = [
  gatewayStatus("g1", {
    halted: { digest: "d", reason: "r", sinceMs: 1, standing: 2 },
    alarms: [failAlarm("g1", 5)],
  }),
  gatewayStatus("g2", {
    sampling: { epsilon: 1, own: 0.1, order: "d" },
    quarantine: { digest: "q", reason: "r", sinceMs: 1, held: 3, passed: 5, withheld: 1 },
    recheck: { digest: "r", sinceMs: 1, done: false, sent: 12, lost: 1, of: null },
    carriers: { ...noCarriers, ticks: 12, tickMs: 20, wholeReplies: false },
  }),
  gatewayStatus("g3", {
    quarantine: null,
    recheck: null,
    draw: {
      ...{ kind: "joint", round: 3, sinceMs: 1, entries: 9, epsilon: 0.25, coming: 4 },
      ...{ step: "asking", waitingFor: ["party B"], accepting: true },
    },
  }),
  recomputerStatus({
    evidence: [evidence("g1"), evidence("g2", { step: "shutdown", steps: ["shutdown"] })],
    recent: [
      verdict("g1", 1, 1),
      verdict("g1", 2, 2, { kind: "fail", findings: ["seed.law"], scores: null }),
    ],
    carriers: [carriers("g1"), { ...carriers("g2"), bitsPerSecond: null }],
    judgedByGateway: [{ gateway: "g1", pass: 1, fail: 1, unable: 0 }],
    draws: [
      {
        ...{ gateway: "g1", walked: 90, round: 3, rounds: 2, pairs: 80, kept: 20 },
        ...{ waiting: 1, omitted: 1, excused: 0, lies: ["sampler.bias: round 2: why"] },
      },
    ],
  }),
  routerStatus({ gateways: [{ name: "g1", accepting: true, inflight: 2 }] }),
  depotStatus(),
];

test("readRoleStatus: what each role sends -> read back equal", () => {
  for (const status of honest) assert.deepEqual(readRoleStatus(bytes(status)), status);
});

test("readRoleStatus: fields that nobody knows -> ignored", () => {
  const more = { ...depotStatus(), novel: { deep: [1] } };
  assert.deepEqual(readRoleStatus(bytes(more)), depotStatus());
});

test("readRoleStatus: an older recomputer without the optional fields -> read", () => {
  const older: Record<string, unknown> = { ...recomputerStatus() };
  delete older["marginLimit"];
  delete older["policy"];
  assert.deepEqual(readRoleStatus(bytes(older)), older);
});

const optional = new Set([
  ...["judgedByGateway", "marginLimit", "evidence", "policy", "carriers"],
  ...["sampling", "quarantine", "recheck", "draw", "draws"],
]);

/** The document with the value at `path` replaced. */
function changed(document: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  const copy: unknown = structuredClone(document);
  const fields = new Map(Object.entries(copy as object));
  fields.set(key, changed(fields.get(key), rest, value));
  return Array.isArray(copy) ? [...fields.values()] : Object.fromEntries(fields);
}

test("readRoleStatus: evidence, policy or standing orders of the wrong shape -> refused, naming it", () => {
  const broken: readonly (readonly [number, string[], unknown, string])[] = [
    [3, ["evidence"], {}, "evidence"],
    [3, ["evidence", "0", "logE"], null, "logE"],
    [3, ["evidence", "0", "step"], "explode", "step"],
    [3, ["evidence", "1", "steps", "0"], "explode", "steps[0]"],
    [3, ["evidence", "0", "detectors", "1", "logChange"], "9", "detectors[1].logChange"],
    [3, ["evidence", "0", "capacity", "tokens"], -1, "capacity.tokens"],
    [3, ["policy", "ladder", "0", "epsilon"], "1", "ladder[0].epsilon"],
    [3, ["policy", "capacity", "minTokens"], 0.5, "minTokens"],
    [3, ["policy", "release", "bitsPerSecond"], "1", "release.bitsPerSecond"],
    [3, ["policy", "fleet", "yearsBetween"], null, "fleet.yearsBetween"],
    [3, ["carriers"], 1, "carriers"],
    [3, ["carriers", "0", "tokens"], 0.5, "carriers[0].tokens"],
    [3, ["carriers", "0", "bitsPerSecond"], "9", "carriers[0].bitsPerSecond"],
    [1, ["carriers", "ticks"], -1, "carriers.ticks"],
    [1, ["carriers", "wholeReplies"], 1, "carriers.wholeReplies"],
    [1, ["sampling", "epsilon"], "x", "epsilon"],
    [1, ["quarantine", "held"], 1.5, "held"],
    [1, ["recheck", "done"], 1, "done"],
    [1, ["recheck", "of"], "40", "of"],
    [2, ["draw", "round"], -1, "draw.round"],
    [3, ["draws", "0", "omitted"], "1", "draws[0].omitted"],
  ];
  for (const [index, path, value, named] of broken) {
    assert.throws(
      () => readRoleStatus(bytes(changed(honest[index], path, value))),
      (error) => error instanceof InvalidError && error.message.includes(named),
      path.join("."),
    );
  }
});

test("readRoleStatus: any field missing or of the wrong type -> refused, naming it", () => {
  for (const status of honest) {
    for (const key of Object.keys(status)) {
      if (optional.has(key)) continue;
      for (const bad of [undefined, 7.5, [], "x"]) {
        const sent = { ...status, [key]: bad };
        const fits = typeof bad === typeof status[key as keyof RoleStatus];
        if (fits && (typeof bad !== "object" || Array.isArray(status[key as keyof RoleStatus])))
          continue;
        assert.throws(
          () => readRoleStatus(bytes(sent)),
          (error) => error instanceof InvalidError && error.message.includes(key),
          `${status.role}.${key} = ${JSON.stringify(bad)}`,
        );
      }
    }
  }
});

test("readRoleStatus: long texts and lists -> cut, the newest kept", () => {
  const recent = Array.from({ length: 500 }, (_, i) => verdict("g1", i, i));
  const read = readRoleStatus(bytes(recomputerStatus({ recent, simulated: ["😀".repeat(900)] })));
  assert.equal(read.role, "recomputer");
  assert.equal(read.recent.length, listMax);
  assert.equal(read.recent.at(-1)?.atMs, 499);
  assert.ok((read.simulated[0]?.length ?? 0) <= textMax);
  assert.ok(read.simulated[0]?.isWellFormed());
});

test("readRoleStatus: own fields only -> a document cannot borrow from a prototype", () => {
  const text = `{"__proto__":${JSON.stringify(depotStatus())}}`;
  assert.throws(() => readRoleStatus(Buffer.from(text)), InvalidError);
});

test("readRoleStatus: too long, not UTF-8 or not JSON -> refused", () => {
  assert.throws(() => readRoleStatus(Buffer.alloc(limits.statusBytes + 1, 32)), InvalidError);
  assert.throws(() => readRoleStatus(Buffer.from([0xff])), InvalidError);
  assert.throws(() => readRoleStatus(Buffer.from("{")), InvalidError);
});

test("readRoleStatus: any bytes or JSON -> a status or InvalidError, nothing else", () => {
  const honestly = (payload: Buffer): void => {
    try {
      readRoleStatus(payload);
    } catch (error) {
      assert.ok(error instanceof InvalidError);
    }
  };
  fc.assert(
    fc.property(fc.uint8Array(), (noise) => {
      honestly(Buffer.from(noise));
    }),
  );
  const keys = fc.constantFrom(...Object.keys({ ...honest[0], ...honest[1], ...honest[2] }));
  fc.assert(
    fc.property(fc.constantFrom(...honest), keys, fc.jsonValue(), (status, key, value) => {
      honestly(bytes({ ...status, [key]: value }));
    }),
  );
});
