/**
 * The five kinds of error (docs/ARCHITECTURE.md, "Errors").
 *
 * bug          we are wrong: thrown by `assert`; the process stops, a gateway kills power.
 * invalid      the bytes are wrong: thrown by every parser; nothing partial is kept.
 * refusal      the caller may not: a value, never thrown, with a fixed text for outsiders.
 * unavailable  the world does not answer: thrown, and says whether the effect may have happened.
 * finding      evidence about the prover: data, never thrown (format/verdict.ts).
 */

/** A defect in Weir itself. Never caught except in bin/. */
export class BugError extends Error {
  override readonly name = "BugError";
}

/** Bytes that break their format. `code` is stable and dotted: `link.frame-too-long`. */
export class InvalidError extends Error {
  override readonly name = "InvalidError";
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Something outside did not answer. `effect` says whether the asked-for thing may have happened. */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";
  readonly code: string;
  readonly effect: "none" | "unknown";

  constructor(code: string, message: string, effect: "none" | "unknown") {
    super(message);
    this.code = code;
    this.effect = effect;
  }
}

/** Throws BugError unless `condition` holds. `message` says what should have been true. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BugError(message);
}
