/** The site's configuration, spec/config.md: a JSON file checked against spec/config.schema.json. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv, type ErrorObject } from "ajv";
import { InvalidError } from "../../base/assert.ts";
import type { LogLevel } from "../../base/report.ts";

/** The repository root: the schema and the model that comes with Weir are found from here. */
export const homeFolder = fileURLToPath(new URL("../../..", import.meta.url));
const schemaFile = resolve(homeFolder, "spec/config.schema.json");

export type Sandbox = "auto" | "bubblewrap" | "unshare" | "off";

/** What a configuration may say; every field optional. */
export interface ConfigFields {
  servers?: number;
  epsilon?: number;
  model?: string;
  modelId?: string;
  data?: string;
  host?: string;
  port?: number;
  pagePort?: number;
  sandbox?: Sandbox;
  replay?: "blind" | "prefill";
  threads?: number;
  parallel?: number;
  memoryMiB?: number;
  tickMs?: number;
  wholeReplies?: boolean;
  ringMiB?: number;
  outboxPairs?: number;
  witnesses?: boolean;
  logBacklog?: number;
  logPort?: number;
  roundSeconds?: number;
  roundPairs?: number;
  eraseMiB?: number;
  flickerSeconds?: number;
  flickerPairs?: number;
  webhook?: string;
  logLevel?: LogLevel;
  generation?: {
    temperatureMax?: number;
    topPMin?: number;
    topKMax?: number;
    maxTokens?: number;
    contextTokens?: number;
  };
  policy?: string;
  profile?: string;
  whitelist?: string;
  trustRoot?: string;
  rootAnchor?: string;
  expiryWarningDays?: number;
}

/** A configuration with its defaults in place. Paths are absolute. */
export interface SiteConfig extends ConfigFields {
  readonly servers: number;
  readonly epsilon: number;
  readonly model: string;
  readonly data: string;
  readonly host: string;
  readonly sandbox: Sandbox;
  readonly replay: "blind" | "prefill";
  readonly parallel: number;
  readonly tickMs: number;
  readonly wholeReplies: boolean;
  readonly ringMiB: number;
  readonly outboxPairs: number;
  readonly witnesses: boolean;
  readonly logBacklog: number;
  readonly roundSeconds: number;
  readonly roundPairs: number;
  readonly eraseMiB: number;
  readonly flickerSeconds: number;
  readonly flickerPairs: number;
  readonly expiryWarningDays: number;
  readonly logLevel: LogLevel;
}

const defaults = {
  servers: 3,
  epsilon: 0.25,
  host: "127.0.0.1",
  sandbox: "auto",
  replay: "blind",
  parallel: 4,
  tickMs: 20,
  wholeReplies: false,
  ringMiB: 64,
  outboxPairs: 10_000,
  witnesses: true,
  logBacklog: 4096,
  roundSeconds: 600,
  roundPairs: 100_000,
  eraseMiB: 256,
  flickerSeconds: 3600,
  flickerPairs: 0,
  expiryWarningDays: 14,
  logLevel: "info",
} as const;

const validate = new Ajv({ allErrors: true, strict: true }).compile<ConfigFields>(
  JSON.parse(readFileSync(schemaFile, "utf8")) as Record<string, unknown>,
);

const schemaFields = Object.keys(
  (JSON.parse(readFileSync(schemaFile, "utf8")) as { properties: object }).properties,
);

function quoted(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** One schema error in words: the field's path, what is allowed there, what stood there. */
function explain(error: ErrorObject, root: unknown): string {
  const path = error.instancePath.split("/").slice(1);
  const field = path.length === 0 ? "the configuration" : path.join(".");
  let value = root;
  for (const key of path) value = (value as Record<string, unknown>)[key];
  const params = error.params as Record<string, unknown>;
  switch (error.keyword) {
    case "additionalProperties": {
      const name = String(params["additionalProperty"]);
      const known = path.length === 0 ? `; known fields: ${schemaFields.slice(1).join(", ")}` : "";
      return `${[...path, name].join(".")}: there is no such field${known}`;
    }
    case "required":
      return `${[...path, String(params["missingProperty"])].join(".")}: is missing`;
    case "enum":
      return `${field}: must be one of ${(params["allowedValues"] as unknown[]).map(quoted).join(", ")}, not ${quoted(value)}`;
    default:
      return `${field}: ${error.message ?? "is wrong"}, not ${quoted(value)}`;
  }
}

/** Checks fields against the schema. Throws InvalidError `config.field` that names each bad one. */
export function checkFields(value: unknown, where: string): ConfigFields {
  if (validate(value)) return value;
  const problems = (validate.errors ?? []).map((error) => explain(error, value));
  throw new InvalidError("config.field", `${where}: ${problems.join("; ")}`);
}

function parseFile(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("config.file", `cannot read the configuration ${path}: ${why}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("config.json", `${path} is not JSON: ${why}`);
  }
}

function trustPaths(base: string, { whitelist, trustRoot }: ConfigFields): ConfigFields {
  return {
    ...(whitelist === undefined ? {} : { whitelist: resolve(base, whitelist) }),
    ...(trustRoot === undefined ? {} : { trustRoot: resolve(base, trustRoot) }),
  };
}

/** Reads and checks a configuration file; its relative paths become absolute. */
export function readConfigFile(path: string): ConfigFields {
  const fields = checkFields(parseFile(path), path);
  const base = dirname(resolve(path));
  return {
    ...fields,
    ...(fields.model === undefined ? {} : { model: resolve(base, fields.model) }),
    ...(fields.data === undefined ? {} : { data: resolve(base, fields.data) }),
    ...(fields.policy === undefined ? {} : { policy: resolve(base, fields.policy) }),
    ...(fields.profile === undefined ? {} : { profile: resolve(base, fields.profile) }),
    ...trustPaths(base, fields),
  };
}

/**
 * Joins a file's fields with those of the command line, which win, and adds the defaults. Relative
 * paths are taken from `folder`. Throws InvalidError `config.*`.
 */
export function siteConfig(file: ConfigFields, flags: ConfigFields, folder: string): SiteConfig {
  const fields = { ...defaults, ...file, ...checkFields(flags, "command line") };
  const model =
    fields.model === undefined
      ? resolve(homeFolder, "models/weir-demo.gguf")
      : resolve(folder, fields.model);
  const data = resolve(folder, fields.data ?? ".weir");
  const profile = fields.profile === undefined ? {} : { profile: resolve(folder, fields.profile) };
  const policy = fields.policy === undefined ? {} : { policy: resolve(folder, fields.policy) };
  return { ...fields, model, data, ...policy, ...profile, ...trustPaths(folder, fields) };
}
