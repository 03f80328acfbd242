/** `weir up`: a whole site on one machine. Options, set-up, the roles' processes, and their end. */
import { randomInt } from "node:crypto";
import { join, resolve } from "node:path";
import { jsonLogger } from "../adapter/logger.ts";
import { UnavailableError } from "../base/assert.ts";
import { jsonAnnouncer, textAnnouncer } from "./site/announce.ts";
import { parseArguments, type Arguments } from "./site/arguments.ts";
import { readConfigFile, siteConfig, type ConfigFields, type SiteConfig } from "./site/config.ts";
import { readPolicyFile } from "./policy-file.ts";
import { takeLock } from "./site/lock.ts";
import { dataPaths } from "./site/paths.ts";
import { choosePort } from "./site/ports.ts";
import { rotatingLog } from "./site/rotate.ts";
import { claimFolder, setUp } from "./site/setup.ts";
import { runSite } from "./site/run-site.ts";
import { quickCalibration } from "./site/quick-calibration.ts";
import { stopSignals } from "./site/signals.ts";

const help = `Usage: weir up [OPTIONS]

Starts a whole site on this machine: servers behind their gateways, a depot, the router, a
recomputer and a status page. Runs until Ctrl-C; a second start continues from the same data.

  --servers N           inference servers (default 3)
  --epsilon E           share of pairs that are recomputed, 0 to 1 (default 0.25: a visitor sees a
                        verdict after a few requests; recomputing costs a fraction of generating)
  --model FILE.gguf     model to serve (default: the one that comes with Weir)
  --profile FILE        calibration profile of that model (default: MODEL.profile.json beside it, or
                        a quick calibration at the first start)
  --model-id ID         its name for clients (default: the file's name)
  --data DIR            everything the site keeps (default .weir)
  --port N              port of the API (default 8080, or the next free one)
  --page-port N         port of the status page (default 8090, or the next free one)
  --host ADDRESS        where API and page listen (default 127.0.0.1)
  --sandbox KIND        auto, bubblewrap, unshare or off (default auto)
  --threads N           compute threads of each server
  --flicker-seconds N   power-cycle each server after this time; 0: never (default 3600)
  --flicker-pairs N     power-cycle each server after this many pairs; 0: never (default 0)
  --policy FILE         alarm policy: how much evidence leads to which step (spec/policy.md)
  --whitelist FILE      whitelist that two parties signed by hand, instead of a trial's own; with
  --trust-root FILE       the root that says who they are, and
  --root-anchor HEX       the digest of its first version, which both have confirmed
  --webhook URL         alarms are also sent here
  --log-level LEVEL     debug, info, warn or error (default info)
  --config FILE         these and more as JSON (spec/config.md); options win over it
  --json                one JSON object per line on standard output: note, role, server, alarm,
                        up, stopping, stopped
  --help                this text
`;

/** As shells have it: 128 and the number of SIGINT. */
const interrupted = 130;

const texts = [
  "model",
  "profile",
  "model-id",
  "data",
  "host",
  "sandbox",
  "webhook",
  "policy",
  "log-level",
  "whitelist",
  "trust-root",
  "root-anchor",
] as const;
const numbers = [
  "servers",
  "epsilon",
  "port",
  "page-port",
  "threads",
  "flicker-seconds",
  "flicker-pairs",
] as const;

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** The configuration that the options alone give; its values are checked by the schema. */
function flagFields(args: Arguments): ConfigFields {
  const fields: Record<string, unknown> = {};
  for (const name of texts) {
    const value = args.text(name);
    if (value !== undefined) fields[camelCase(name)] = value;
  }
  for (const name of numbers) {
    const value = args.number(name, -Number.MAX_VALUE, Number.MAX_VALUE);
    if (value !== undefined) fields[camelCase(name)] = value;
  }
  return fields;
}

function readArguments(argv: readonly string[]): Arguments {
  const named = [...texts, ...numbers, "config", "agent"].map(
    (name) => [name, { type: "string" }] as const,
  );
  return parseArguments(argv, {
    ...Object.fromEntries(named),
    json: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  });
}

/** The ports that people see. */
async function choosePorts(
  config: SiteConfig,
): Promise<{ port: number; pagePort: number; logPort: number }> {
  const { host } = config;
  const port = await choosePort({ host, asked: config.port, from: 8080, not: [], what: "the API" });
  const pagePort = await choosePort({
    host,
    asked: config.pagePort,
    from: 8090,
    not: [port],
    what: "the status page",
  });
  const logPort = await choosePort({
    host: "127.0.0.1",
    asked: config.logPort,
    // Somewhere in a wide range: it is bound some seconds later, and other sites may start meanwhile.
    from: randomInt(20_000, 30_000),
    not: [port, pagePort],
    what: "the logs",
  });
  return { port, pagePort, logPort };
}

/** `weir up`. Resolves with the exit code when the site has stopped. */
export async function runUp(argv: string[]): Promise<number> {
  const args = readArguments(argv);
  if (args.flag("help")) {
    process.stdout.write(help);
    return 0;
  }
  const file = args.text("config");
  const config = siteConfig(
    file === undefined ? {} : readConfigFile(resolve(file)),
    flagFields(args),
    process.cwd(),
  );
  if (config.policy !== undefined) readPolicyFile(config.policy);
  // A terminal that goes away must not take the site down in the middle of a write.
  process.stdout.on("error", () => undefined);
  const announcer = args.flag("json")
    ? jsonAnnouncer((text) => process.stdout.write(text))
    : textAnnouncer(process.stdout);
  const paths = dataPaths(config.data);
  claimFolder(paths);
  const release = takeLock(paths.lock, paths.root);
  const stop = stopSignals();
  try {
    announcer.note(`site in ${paths.root}`);
    const tell = (text: string): void => {
      announcer.note(text);
    };
    const calibrate = quickCalibration(tell, stop);
    const ready = await setUp(config, paths, tell, calibrate);
    const ports = await choosePorts(config);
    const log = rotatingLog(join(paths.logs, "site.log"));
    const logger = jsonLogger("site", "site", config.logLevel, (line) => {
      log.write(line.trimEnd());
    });
    const agent = args.text("agent");
    return await runSite({ config, paths, setUp: ready, ...ports, agent, announcer, logger, stop });
  } catch (error) {
    if (!(error instanceof UnavailableError && error.code === "site.stopped")) throw error;
    announcer.note(`${error.message}; nothing runs, and the next start begins there again`);
    return interrupted;
  } finally {
    stop.close();
    release();
  }
}
