import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  depotStatus,
  failAlarm,
  gatewayStatus,
  recomputerStatus,
  routerStatus,
  verdict,
} from "../../tests/path/page-scene.ts";
import { InvalidError } from "../base/assert.ts";
import { limits } from "../base/limits.ts";
import type { RoleStatus } from "../format/status.ts";
import { listMax, readRoleStatus, textMax } from "./read.ts";

const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

const honest: RoleStatus[] = [
  gatewayStatus("g1", {
    halted: { digest: "d", reason: "r", sinceMs: 1 },
    alarms: [failAlarm("g1", 5)],
  }),
  recomputerStatus({
    recent: [
      verdict("g1", 1, 1),
      verdict("g1", 2, 2, { kind: "fail", findings: ["seed.law"], scores: null }),
    ],
    judgedByGateway: [{ gateway: "g1", pass: 1, fail: 1, unable: 0 }],
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
  assert.deepEqual(readRoleStatus(bytes(older)), older);
});

test("readRoleStatus: any field missing or of the wrong type -> refused, naming it", () => {
  for (const status of honest) {
    for (const key of Object.keys(status)) {
      if (key === "judgedByGateway" || key === "marginLimit") continue;
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
