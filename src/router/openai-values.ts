/** Small helpers for reading JSON that a client sent: type tests and the errors they give. */
import { invalid, type ApiError } from "./errors.ts";

/** Carries an ApiError out of a parser; caught in openai.ts and never seen outside. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly error: ApiError;

  constructor(error: ApiError) {
    super(error.message);
    this.error = error;
  }
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A client's own words, cut to a length that is fit for an error message. */
export function short(text: string): string {
  const cut = text.length > 64 ? `${text.slice(0, 64)}...` : text;
  return cut.toWellFormed();
}

function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** `path` had to be `wanted` and is something else, or is missing. */
export function wrongType(path: string, wanted: string, value: unknown): Refused {
  if (value === undefined) {
    return new Refused(invalid("missing_parameter", `\`${path}\` is missing: ${wanted}.`, path));
  }
  const text = `\`${path}\` must be ${wanted}, but is ${kindOf(value)}.`;
  return new Refused(invalid("invalid_type", text, path));
}

export function wrongValue(path: string, text: string): Refused {
  return new Refused(invalid("invalid_value", `\`${path}\` ${text}.`, path));
}

/** Refuses text with lone surrogates, which has no UTF-8 form and so cannot be recorded. */
export function wellFormed(text: string, path: string): string {
  if (text.isWellFormed()) return text;
  throw wrongValue(path, "holds half of a surrogate pair, which is no Unicode text");
}
