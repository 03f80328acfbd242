/** The command line of the site commands: named options and a few bare words; errors are usage errors. */
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";

/** The command line is wrong: exit code 2 and a hint at --help. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export interface Arguments {
  readonly words: readonly string[];
  /** Whether a switch was given. */
  flag(name: string): boolean;
  /** A text option, or undefined. */
  text(name: string): string | undefined;
  /** All values of a repeated text option. */
  list(name: string): string[];
  /** A number in [min, max], or undefined. Throws UsageError otherwise. */
  number(name: string, min: number, max: number): number | undefined;
}

function parse(
  argv: readonly string[],
  options: ParseArgsOptionsConfig,
): ReturnType<typeof parseArgs> {
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    // Node explains at length how bare words may begin with a dash; nobody wants that here.
    const text = error instanceof Error ? error.message : String(error);
    throw new UsageError(text.replace(/\. To specify a positional argument .*$/s, ""));
  }
}

/** Parses `argv` by node:util's `options`, with at most `wordsMax` bare words. Throws UsageError. */
export function parseArguments(
  argv: readonly string[],
  options: ParseArgsOptionsConfig,
  wordsMax = 0,
): Arguments {
  const { values, positionals } = parse(argv, options);
  const extra = positionals[wordsMax];
  if (extra !== undefined) throw new UsageError(`unexpected argument "${extra}"`);
  const text = (name: string): string | undefined => {
    const value = values[name];
    return typeof value === "string" ? value : undefined;
  };
  return {
    words: positionals,
    flag: (name) => values[name] === true,
    text,
    list(name) {
      const value = values[name];
      return Array.isArray(value) ? value.filter((entry) => typeof entry === "string") : [];
    },
    number(name, min, max) {
      const given = text(name);
      if (given === undefined) return undefined;
      const value = Number(given);
      if (given.trim() === "" || !(value >= min && value <= max)) {
        const range = Math.abs(max) === Number.MAX_VALUE ? "" : ` from ${min} to ${max}`;
        throw new UsageError(`--${name} must be a number${range}, not "${given}"`);
      }
      return value;
    },
  };
}
