import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { InvalidError } from "../../base/assert.ts";
import { checkFields, readConfigFile, siteConfig } from "./config.ts";

function complaint(fields: unknown): string {
  try {
    checkFields(fields, "test.json");
  } catch (error) {
    assert.ok(error instanceof InvalidError);
    assert.equal(error.code, "config.field");
    return error.message;
  }
  return "";
}

test("config: a wrong field -> the error names its path, what is allowed and what stood there", () => {
  assert.match(complaint({ servers: 0 }), /test\.json: servers: must be >= 1, not 0/);
  assert.match(complaint({ servers: 2.5 }), /servers: must be integer, not 2\.5/);
  assert.match(complaint({ epsilon: "half" }), /epsilon: must be number, not "half"/);
  assert.match(complaint({ sandbox: "on" }), /sandbox: must be one of "auto", .*, not "on"/);
  assert.match(complaint({ severs: 3 }), /severs: there is no such field; known fields: servers, /);
  assert.match(
    complaint({ generation: { topKMax: 0 } }),
    /generation\.topKMax: must be >= 1, not 0/,
  );
  assert.match(complaint({ generation: { topk: 1 } }), /generation\.topk: there is no such field/);
  assert.match(complaint({ profile: 7 }), /profile: must be string, not 7/);
  assert.match(complaint([]), /the configuration: must be object/);
});

test("config: several wrong fields -> all are named at once", () => {
  const text = complaint({ servers: 0, port: 70_000 });
  assert.match(text, /servers: .*; port: |port: .*; servers: /);
});

test("config: any JSON at all -> accepted or an InvalidError, nothing else", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      complaint(value);
    }),
  );
});

test("config: flags win over the file, the file over the defaults; its paths are its own", () => {
  const folder = mkdtempSync(join(tmpdir(), "weir-config-"));
  try {
    const path = join(folder, "site.json");
    writeFileSync(path, JSON.stringify({ servers: 5, epsilon: 1, model: "m.gguf", data: "d" }));
    const config = siteConfig(readConfigFile(path), { servers: 2 }, "/elsewhere");
    assert.equal(config.servers, 2);
    assert.equal(config.epsilon, 1);
    assert.equal(config.tickMs, 20);
    assert.equal(config.model, join(folder, "m.gguf"));
    assert.equal(config.data, join(folder, "d"));
    assert.equal(siteConfig({}, { data: "x" }, "/elsewhere").data, "/elsewhere/x");
    writeFileSync(path, "{");
    assert.throws(() => readConfigFile(path), { code: "config.json" });
    assert.throws(() => readConfigFile(join(folder, "none")), { code: "config.file" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("config: the defaults that the schema states -> are the ones in force", () => {
  const schema = JSON.parse(
    readFileSync(new URL("../../../spec/config.schema.json", import.meta.url), "utf8"),
  ) as { properties: Record<string, { default?: unknown }> };
  const config = siteConfig({}, {}, "/here") as unknown as Record<string, unknown>;
  for (const [field, { default: stated }] of Object.entries(schema.properties)) {
    if (stated === undefined || field === "model" || field === "data") continue;
    assert.deepEqual(config[field], stated, field);
  }
});
