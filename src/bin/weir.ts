/**
 * The `weir` command: finds the subcommand, runs it, turns errors into messages and exit codes
 * (0 done, 1 failed, 2 wrong usage). Subcommands load lazily, so each process holds only its role.
 */
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { UsageError } from "./site/arguments.ts";
import { dieWithStdin } from "./site/orphan.ts";

type Run = (argv: string[]) => number | Promise<number>;

interface Command {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<Run>;
}

const siteCommands: readonly Command[] = [
  {
    name: "up",
    summary: "start a whole site on this machine",
    load: async () => (await import("./up.ts")).runUp,
  },
  {
    name: "status",
    summary: "show the state of a running site",
    load: async () => (await import("./commands/status.ts")).runStatus,
  },
  {
    name: "logs",
    summary: "show the logs of its roles",
    load: async () => (await import("./commands/logs.ts")).runLogs,
  },
  {
    name: "stop",
    summary: "stop a running site",
    load: async () => (await import("./commands/stop.ts")).runStop,
  },
  {
    name: "receipt",
    summary: "show and verify what the site holds about one reply",
    load: async () => (await import("./commands/receipt.ts")).runReceipt,
  },
  {
    name: "release",
    summary: "release a halted gateway by a signed order",
    load: async () => (await import("./commands/release.ts")).runRelease,
  },
  {
    name: "whitelist",
    summary: "draft, sign, verify and show what both parties allow",
    load: async () => (await import("./commands/whitelist.ts")).runWhitelist,
  },
  {
    name: "root",
    summary: "make, change, sign and verify the trust root: the keys of the two parties",
    load: async () => (await import("./commands/root.ts")).runRoot,
  },
  {
    name: "ceremony",
    summary: "make a gateway's device with both parties, or check how one was made",
    load: async () => (await import("./commands/ceremony.ts")).runCeremony,
  },
  {
    name: "tamper",
    summary: "make a simulated sensor report tampering: bricks that gateway for good",
    load: async () => (await import("./commands/tamper.ts")).runTamper,
  },
  {
    name: "demo",
    summary: "the scripted demonstration: two servers cheat and are caught",
    load: async () => (await import("./demo.ts")).runDemo,
  },
];

const roleCommands: readonly Command[] = [
  {
    name: "gateway",
    summary: "stand before one server: check weights, record and sample pairs",
    load: async () => (await import("./gateway.ts")).runGateway,
  },
  {
    name: "server",
    summary: "run inference on the link to a gateway",
    load: async () => (await import("./server.ts")).runServer,
  },
  {
    name: "depot",
    summary: "hold the whitelisted weights and send them to gateways",
    load: async () => (await import("./depot.ts")).runDepot,
  },
  {
    name: "router",
    summary: "the OpenAI-compatible front door",
    load: async () => (await import("./router.ts")).runRouter,
  },
  {
    name: "recomputer",
    summary: "recompute sampled pairs and judge them",
    load: async () => (await import("./recomputer.ts")).runRecomputer,
  },
  {
    name: "publisher",
    summary: "publish the gateways' logs and carry checkpoints to the witnesses",
    load: async () => (await import("./publisher.ts")).runPublisher,
  },
  {
    name: "witness",
    summary: "mirror and cosign the gateways' logs, for one party",
    load: async () => (await import("./witness.ts")).runWitness,
  },
  {
    name: "page",
    summary: "serve the status page",
    load: async () => (await import("./dashboard.ts")).runDashboard,
  },
];

const toolCommands: readonly Command[] = [
  {
    name: "identity",
    summary: "issue the certificate of a role, for separate machines",
    load: async () => (await import("./commands/identity.ts")).runIdentity,
  },
  {
    name: "evidence",
    summary: "make a bundle of evidence about a gateway, for an inspector",
    load: async () => (await import("./evidence.ts")).runEvidence,
  },
  {
    name: "audit",
    summary: "check a bundle of evidence offline, with the parties' public keys alone",
    load: async () => (await import("./audit.ts")).runAudit,
  },
  {
    name: "calibrate",
    summary: "measure what honest servers show, for a whitelist entry",
    load: async () => (await import("./calibrate.ts")).runCalibrate,
  },
  {
    name: "coverage",
    summary: "how much recomputation gives how much confidence",
    load: async () => (await import("./coverage.ts")).runCoverage,
  },
  {
    name: "score",
    summary: "score texts of another provider, given as token ids, against a model",
    load: async () => (await import("./score.ts")).runScore,
  },
  {
    name: "redteam",
    summary: "run attacks, each beside an honest twin, and report which of them succeed",
    load: async () => (await import("./redteam.ts")).runRedteam,
  },
  {
    name: "tcb",
    summary: "list the code that each process trusts",
    load: async () => (await import("./tcb.ts")).runTcb,
  },
];

/** Started by gateways and recomputers inside the sandbox; not for people, so not in the help. */
const hiddenCommands: readonly Command[] = [
  {
    name: "server-agent",
    summary: "the program inside a server's sandbox",
    load: async () => (await import("./server-agent.ts")).runServerAgent,
  },
  {
    name: "executor",
    summary: "the engine of a recomputer, inside its sandbox",
    load: async () => (await import("./executor.ts")).runExecutor,
  },
];

const commands = [...siteCommands, ...roleCommands, ...toolCommands, ...hiddenCommands];

function helpText(): string {
  const rows = (list: readonly Command[]): string =>
    list.map(({ name, summary }) => `  ${name.padEnd(12)}${summary}`).join("\n");
  return `Usage: weir COMMAND [OPTIONS]

Serve AI inference while two parties who distrust each other verify that inference is all it is.

A site on one machine:
${rows(siteCommands)}

Each role by itself, for separate machines:
${rows(roleCommands)}

Tools:
${rows(toolCommands)}

Every command has --help. Exit codes: 0 done, 1 failed, 2 wrong usage.
`;
}

/** Levenshtein distance, for suggestions. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function unknownCommand(word: string): UsageError {
  const visible = [...siteCommands, ...roleCommands, ...toolCommands];
  const near = visible
    .map(({ name }) => ({ name, steps: distance(word, name) }))
    .sort((a, b) => a.steps - b.steps)[0];
  const hint = near !== undefined && near.steps <= 2 ? `; did you mean "weir ${near.name}"?` : "";
  return new UsageError(`there is no command "${word}"${hint}`);
}

/** One message per kind of error; only bugs show a stack. */
function report(error: unknown, word: string): number {
  const usage = error instanceof InvalidError && error.code.startsWith("options.");
  if (error instanceof UsageError || usage) {
    process.stderr.write(
      `weir: ${error.message}\nTry "weir ${word === "" ? "" : `${word} `}--help".\n`,
    );
    return 2;
  }
  if (error instanceof InvalidError || error instanceof UnavailableError) {
    process.stderr.write(`weir: ${error.message}\n`);
    return 1;
  }
  process.stderr.write(
    `weir: a bug: ${error instanceof Error ? (error.stack ?? "") : String(error)}\n`,
  );
  return 1;
}

async function main(argv: readonly string[]): Promise<number> {
  const [word, ...rest] = argv;
  if (word === undefined || word === "--help" || word === "-h" || word === "help") {
    process.stdout.write(helpText());
    return word === undefined ? 2 : 0;
  }
  try {
    const command = commands.find(({ name }) => name === word);
    if (command === undefined) throw unknownCommand(word);
    // Asked for by `weir up`: a role whose supervisor is gone stops (site/orphan.ts).
    const own = rest.filter((arg) => arg !== "--die-with-stdin");
    if (own.length !== rest.length) dieWithStdin();
    const run = await command.load();
    return await run(own);
  } catch (error) {
    return report(error, commands.some(({ name }) => name === word) ? word : "");
  }
}

process.exit(await main(process.argv.slice(2)));
