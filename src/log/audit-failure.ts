/** How a check of the audit says what is wrong: a code for machines, a place, and words for people. */
import { InvalidError } from "../base/assert.ts";

/** The first thing that is wrong with a bundle. `where`: a file of it, and an entry or line where there is one. */
export class Unsound extends InvalidError {
  readonly where: string;

  constructor(code: string, where: string, why: string) {
    super(code, why);
    this.where = where;
  }
}

export function unsound(code: string, where: string, why: string): never {
  throw new Unsound(code, where, why);
}

/** Runs a parser or a check of format/: what it finds invalid is the audit's `code` at `where`. */
export function held<T>(code: string, where: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof InvalidError) || error instanceof Unsound) throw error;
    return unsound(code, where, error.message);
  }
}
