/**
 * Strict JSON for signed and stored documents: no duplicate keys, bounded depth and size, no
 * numbers that lose precision. Sign the bytes you parsed; nothing here canonicalises.
 */
import { InvalidError } from "../base/assert.ts";

export type Json = null | boolean | number | string | Json[] | JsonObject;

export interface JsonObject {
  [key: string]: Json;
}

const depthMax = 32;

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.#text.length) this.#fail("there is text after the value");
    return value;
  }

  #fail(why: string): never {
    throw new InvalidError("json.syntax", `JSON at character ${this.#at}: ${why}`);
  }

  #space(): void {
    while (" \t\n\r".includes(this.#text[this.#at] ?? "x")) this.#at++;
  }

  #eat(char: string): void {
    if (this.#text[this.#at] !== char) this.#fail(`expected ${char}`);
    this.#at++;
  }

  #value(depth: number): Json {
    if (depth > depthMax) this.#fail("too deeply nested");
    this.#space();
    const char = this.#text[this.#at];
    if (char === "{") return this.#object(depth);
    if (char === "[") return this.#array(depth);
    if (char === '"') return this.#string();
    return this.#scalar();
  }

  #object(depth: number): Json {
    const object = Object.create(null) as JsonObject;
    this.#eat("{");
    this.#space();
    if (this.#text[this.#at] === "}") {
      this.#at++;
      return object;
    }
    for (;;) {
      this.#space();
      const key = this.#string();
      if (key in object) this.#fail(`the key "${key}" occurs twice`);
      this.#space();
      this.#eat(":");
      object[key] = this.#value(depth + 1);
      this.#space();
      if (this.#text[this.#at] === "}") break;
      this.#eat(",");
    }
    this.#at++;
    return object;
  }

  #array(depth: number): Json {
    const array: Json[] = [];
    this.#eat("[");
    this.#space();
    if (this.#text[this.#at] === "]") {
      this.#at++;
      return array;
    }
    for (;;) {
      array.push(this.#value(depth + 1));
      this.#space();
      if (this.#text[this.#at] === "]") break;
      this.#eat(",");
    }
    this.#at++;
    return array;
  }

  #string(): string {
    const start = this.#at;
    this.#eat('"');
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined || char < " ") this.#fail("a string is not closed");
      this.#at += char === "\\" ? 2 : 1;
      if (char === '"') break;
    }
    const value = this.#native(this.#text.slice(start, this.#at)) as string;
    if (!value.isWellFormed()) this.#fail("a string holds a lone surrogate");
    return value;
  }

  #scalar(): Json {
    const match = /^(?:null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)/.exec(
      this.#text.slice(this.#at, this.#at + 64),
    );
    if (match === null) this.#fail("expected a value");
    this.#at += match[0].length;
    const value = this.#native(match[0]) as Json;
    if (typeof value === "number" && !Number.isFinite(value)) this.#fail("a number is too large");
    if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) {
      this.#fail("an integer exceeds 2^53");
    }
    return value;
  }

  #native(token: string): unknown {
    try {
      return JSON.parse(token);
    } catch {
      return this.#fail("a string or number is malformed");
    }
  }
}

/** Parses strict JSON. Throws InvalidError `json.syntax`. Objects have no prototype. */
export function parseJson(text: string): Json {
  return new Parser(text).document();
}

/** Reads fields of a closed-schema object; every message names the field by its path. */
export class Fields {
  readonly #object: JsonObject;
  readonly #path: string;
  readonly #seen = new Set<string>();

  constructor(value: Json | undefined, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new InvalidError("json.shape", `${path} must be an object`);
    }
    this.#object = value;
    this.#path = path;
  }

  #get(key: string): Json | undefined {
    this.#seen.add(key);
    return this.#object[key];
  }

  #wrong(key: string, wanted: string): never {
    throw new InvalidError("json.shape", `${this.#path}.${key} must be ${wanted}`);
  }

  /** Whether the field is there; asking for it or not. */
  has(key: string): boolean {
    return this.#object[key] !== undefined;
  }

  text(key: string): string {
    const value = this.#get(key);
    return typeof value === "string" ? value : this.#wrong(key, "a string");
  }

  /** A finite number in [min, max]. */
  number(key: string, min: number, max: number): number {
    const value = this.#get(key);
    if (typeof value !== "number" || value < min || value > max) {
      this.#wrong(key, `a number from ${min} to ${max}`);
    }
    return value;
  }

  /** A finite number in [min, max], or this one word. */
  numberOr<W extends string>(key: string, word: W, min: number, max: number): number | W {
    const value = this.#get(key);
    if (value === word) return word;
    if (typeof value !== "number" || value < min || value > max) {
      this.#wrong(key, `a number from ${min} to ${max}, or "${word}"`);
    }
    return value;
  }

  integer(key: string, min: number, max: number): number {
    const value = this.number(key, min, max);
    return Number.isInteger(value) ? value : this.#wrong(key, "an integer");
  }

  /** A list of finite numbers in [min, max]. */
  numbers(key: string, min: number, max: number): number[] {
    const value = this.#get(key);
    if (!Array.isArray(value)) this.#wrong(key, "a list of numbers");
    return value.map((entry, i) =>
      typeof entry === "number" && entry >= min && entry <= max
        ? entry
        : this.#wrong(`${key}[${i}]`, `a number from ${min} to ${max}`),
    );
  }

  /** A list of strings. */
  texts(key: string): string[] {
    const value = this.#get(key);
    if (!Array.isArray(value)) this.#wrong(key, "a list of strings");
    return value.map((entry, i) =>
      typeof entry === "string" ? entry : this.#wrong(`${key}[${i}]`, "a string"),
    );
  }

  object(key: string): Fields {
    return new Fields(this.#get(key), `${this.#path}.${key}`);
  }

  objects(key: string): Fields[] {
    const value = this.#get(key);
    if (!Array.isArray(value)) this.#wrong(key, "a list");
    return value.map((entry, i) => new Fields(entry, `${this.#path}.${key}[${i}]`));
  }

  /** A field that may be absent: then `fallback`. For configuration, never for signed documents. */
  optionalText(key: string, fallback: string): string {
    return this.#get(key) === undefined ? fallback : this.text(key);
  }

  optionalInteger(key: string, fallback: number, min: number, max: number): number {
    return this.#get(key) === undefined ? fallback : this.integer(key, min, max);
  }

  optionalTexts(key: string): string[] {
    const value = this.#get(key) ?? [];
    if (!Array.isArray(value)) this.#wrong(key, "a list of strings");
    return value.map((entry) =>
      typeof entry === "string" ? entry : this.#wrong(key, "a list of strings"),
    );
  }

  /** Throws if the object has fields that nobody asked for. */
  end(): void {
    for (const key of Object.keys(this.#object)) {
      if (!this.#seen.has(key)) {
        throw new InvalidError("json.shape", `${this.#path} has an unknown field "${key}"`);
      }
    }
  }
}
