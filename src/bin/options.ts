/**
 * Options of the role commands: flags, and a JSON file of the same names given with --config.
 * A flag wins over the file. Every message names the option.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { InvalidError } from "../base/assert.ts";
import { keyFault } from "../base/enrol.ts";

export type OptionKind = "text" | "number" | "flag" | "list" | "json";

export interface OptionSpec {
  readonly kind: OptionKind;
  readonly help: string;
  readonly default?: string | number | boolean;
  readonly required?: boolean;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The --help text of a command. */
export function helpText(usage: string, summary: string, specs: OptionSpecs): string {
  const rows = Object.entries(specs)
    .filter(([, spec]) => spec.kind !== "json")
    .map(([key, spec]) => {
      const value = { text: " VALUE", number: " N", list: " VALUE", flag: "", json: "" }[spec.kind];
      const fallback = spec.default === undefined ? "" : ` (default ${String(spec.default)})`;
      const note = spec.required === true ? " (required)" : fallback;
      const repeat = spec.kind === "list" ? " (may be repeated)" : "";
      return [`  --${flagName(key)}${value}`, `${spec.help}${repeat}${note}`] as const;
    });
  rows.push(["  --config FILE", "read these options from a JSON file (names in camelCase)"]);
  rows.push(["  --help", "print this and exit"]);
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  const lines = rows.map(([left, right]) => `${left.padEnd(width)}${right}`);
  return `${usage}\n\n${summary}\n\n${lines.join("\n")}\n`;
}

export class Options {
  readonly #values: ReadonlyMap<string, unknown>;

  constructor(values: ReadonlyMap<string, unknown>) {
    this.#values = values;
  }

  #wrong(key: string, wanted: string): never {
    throw new InvalidError("options.value", `--${flagName(key)} (config ${key}): ${wanted}`);
  }

  has(key: string): boolean {
    return this.#values.get(key) !== undefined;
  }

  text(key: string): string {
    const value = this.#values.get(key);
    return typeof value === "string" ? value : this.#wrong(key, "must be text");
  }

  flag(key: string): boolean {
    const value = this.#values.get(key) ?? false;
    return typeof value === "boolean" ? value : this.#wrong(key, "must be true or false");
  }

  /** A finite number in [min, max]. */
  number(key: string, min: number, max: number): number {
    const value = this.#values.get(key);
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (typeof number !== "number" || !(number >= min && number <= max)) {
      return this.#wrong(key, `must be a number from ${min} to ${max}`);
    }
    return number;
  }

  list(key: string): string[] {
    const value = this.#values.get(key) ?? [];
    if (Array.isArray(value) && value.every((entry) => typeof entry === "string")) return value;
    return this.#wrong(key, "must be a list of texts");
  }

  /** A list of `NAME=VALUE`, each name once. Throws InvalidError `options.value`. */
  pairs(key: string): Map<string, string> {
    const pairs = new Map<string, string>();
    for (const text of this.list(key)) {
      const at = text.indexOf("=");
      const name = text.slice(0, Math.max(0, at));
      if (name === "" || pairs.has(name)) this.#wrong(key, `each is NAME=VALUE, not "${text}"`);
      pairs.set(name, text.slice(at + 1));
    }
    return pairs;
  }

  /** A list of Ed25519 public keys, 64 hex digits, each fit to be enrolled. Throws InvalidError `options.value`. */
  keys(key: string): string[] {
    const keys = this.list(key);
    for (const hex of keys) {
      const fault = keyFault(hex);
      if (fault !== null) this.#wrong(key, `"${hex.slice(0, 64)}" is no public key: ${fault}`);
    }
    return keys;
  }

  /** A nested value that only the config file can give. */
  json(key: string): unknown {
    return this.#values.get(key);
  }

  /** `HOST:PORT`; IPv6 hosts in brackets. */
  address(key: string): { host: string; port: number } {
    return parseAddress(this.text(key), `--${flagName(key)}`);
  }
}

/** Parses `HOST:PORT`. Throws InvalidError `options.address`, naming `what`. */
export function parseAddress(text: string, what: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port <= 65_535)) {
    throw new InvalidError("options.address", `${what} must be HOST:PORT, not "${text}"`);
  }
  return { host, port };
}

function fromFile(path: string, specs: OptionSpecs): Map<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new InvalidError("options.config", `--config ${path}: ${(error as Error).message}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InvalidError("options.config", `--config ${path} must hold an object`);
  }
  for (const key of Object.keys(json)) {
    if (!(key in specs)) {
      throw new InvalidError("options.config", `--config ${path}: unknown field "${key}"`);
    }
  }
  return new Map(Object.entries(json));
}

/** Reads flags and config file. Throws InvalidError `options.*`; null means --help was asked for. */
export function readOptions(argv: readonly string[], specs: OptionSpecs): Options | null {
  const parsed = parseFlags(argv, specs);
  if (parsed["help"] === true) return null;
  const config = parsed["config"];
  const values = typeof config === "string" ? fromFile(config, specs) : new Map<string, unknown>();
  for (const [key, spec] of Object.entries(specs)) {
    const flag = parsed[flagName(key)];
    if (flag !== undefined) values.set(key, flag);
    else if (!values.has(key) && spec.default !== undefined) values.set(key, spec.default);
    if (spec.required === true && values.get(key) === undefined) {
      throw new InvalidError("options.missing", `--${flagName(key)} (config ${key}) is required`);
    }
  }
  return new Options(values);
}

function parseFlags(argv: readonly string[], specs: OptionSpecs): Record<string, unknown> {
  const options: Record<string, { type: "string" | "boolean"; multiple?: boolean }> = {
    config: { type: "string" },
    help: { type: "boolean" },
  };
  for (const [key, spec] of Object.entries(specs)) {
    if (spec.kind === "json") continue;
    const type = spec.kind === "flag" ? "boolean" : "string";
    options[flagName(key)] = spec.kind === "list" ? { type, multiple: true } : { type };
  }
  try {
    return parseArgs({ args: [...argv], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new InvalidError("options.flag", (error as Error).message);
  }
}
