/** Reads fields of a JSON document that somebody else wrote: by name, by type, with the path in errors. */
import { InvalidError } from "../base/assert.ts";

/** Longest text kept of a field; the rest is replaced by an ellipsis. */
export const textMax = 400;
/** Most entries kept of a list; of `recent` and `alarms` the newest. */
export const listMax = 200;

function wrong(path: string, wanted: string): never {
  throw new InvalidError("status.shape", `${path} must be ${wanted}`);
}

/** An object whose fields are read by name; errors carry the path. */
export class Part {
  readonly #object: object;
  readonly path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      wrong(path, "an object");
    }
    this.#object = value;
    this.path = path;
  }

  /** The field's own value; never one of a prototype. */
  get(key: string): unknown {
    return Object.getOwnPropertyDescriptor(this.#object, key)?.value;
  }

  at(key: string): string {
    return `${this.path}.${key}`;
  }

  text(key: string, max = textMax): string {
    const value = this.get(key);
    if (typeof value !== "string") wrong(this.at(key), "a string");
    const whole = value.toWellFormed();
    return whole.length <= max ? whole : `${whole.slice(0, max - 1).toWellFormed()}…`;
  }

  number(key: string): number {
    const value = this.get(key);
    if (typeof value !== "number" || !Number.isFinite(value)) wrong(this.at(key), "a number");
    return value;
  }

  count(key: string): number {
    const value = this.number(key);
    return Number.isSafeInteger(value) && value >= 0 ? value : wrong(this.at(key), "a count");
  }

  flag(key: string): boolean {
    const value = this.get(key);
    return typeof value === "boolean" ? value : wrong(this.at(key), "true or false");
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T {
    const value = this.get(key);
    const found = allowed.find((candidate) => candidate === value);
    return found ?? wrong(this.at(key), `one of ${allowed.join(", ")}`);
  }

  part(key: string): Part {
    return new Part(this.get(key), this.at(key));
  }

  /** Null when the field is null. */
  maybe(key: string): Part | null {
    return this.get(key) === null ? null : this.part(key);
  }

  /** Undefined when the field is absent. */
  optional(key: string): Part | undefined {
    return this.get(key) === undefined ? undefined : this.part(key);
  }

  list(key: string): readonly unknown[] {
    const value = this.get(key);
    return Array.isArray(value) ? value : wrong(this.at(key), "a list");
  }

  /** The last `listMax` entries as objects. */
  parts(key: string): Part[] {
    const list = this.list(key).slice(-listMax);
    return list.map((entry, i) => new Part(entry, `${this.at(key)}[${i}]`));
  }

  /** As many as there can be of these words. */
  oneOfEach<T extends string>(key: string, allowed: readonly T[]): T[] {
    const list = this.list(key).slice(0, allowed.length);
    return list.map((entry, i) =>
      new Part({ entry }, `${this.at(key)}[${i}]`).oneOf("entry", allowed),
    );
  }

  texts(key: string): string[] {
    return this.list(key)
      .slice(-listMax)
      .map((entry, i) => new Part({ entry }, `${this.at(key)}[${i}]`).text("entry"));
  }
}
