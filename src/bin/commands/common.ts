/** What the commands for a running site have in common. */
import { parseArguments, type Arguments } from "../site/arguments.ts";

export const commonOptions = {
  data: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

export const commonHelp = `  --data DIR    the site's folder (default .weir)
  --json        machine-readable output
  --help        this text
`;

export interface SiteCommand {
  readonly help: string;
  readonly options?: NonNullable<Parameters<typeof parseArguments>[1]>;
  readonly wordsMax?: number;
  readonly run: (args: Arguments, folder: string) => Promise<number>;
}

/** Parses the command line of a site command, answers --help, and runs it. */
export async function runSiteCommand(
  argv: readonly string[],
  command: SiteCommand,
): Promise<number> {
  const options = { ...commonOptions, ...command.options };
  const args = parseArguments(argv, options, command.wordsMax ?? 0);
  if (args.flag("help")) {
    process.stdout.write(command.help);
    return 0;
  }
  return command.run(args, args.text("data") ?? ".weir");
}

export function print(text: string): void {
  process.stdout.write(text);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
