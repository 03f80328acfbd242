/** Commands of several words: `weir whitelist sign`, `weir root init`. */
import { UsageError } from "../site/arguments.ts";

export type Run = (argv: string[]) => Promise<number>;

/** Runs the subcommand that the first word names; `--help`, or no word where there is no default, prints `help`. */
export function runSubcommand(
  name: string,
  argv: readonly string[],
  help: string,
  commands: Readonly<Record<string, Run>>,
  fallback?: Run,
): Promise<number> {
  const [word, ...rest] = argv;
  if (word === "--help" || word === "-h" || (word === undefined && fallback === undefined)) {
    process.stdout.write(help);
    return Promise.resolve(word === undefined ? 2 : 0);
  }
  const run = word === undefined ? undefined : commands[word];
  if (run !== undefined) return run(rest);
  if (fallback !== undefined && (word === undefined || word.startsWith("-"))) {
    return fallback([...argv]);
  }
  const known = Object.keys(commands).join(", ");
  throw new UsageError(`there is no "weir ${name} ${word ?? ""}"; there are ${known}`);
}
