/**
 * `weir witness`: one party's witness. It mirrors the logs of the gateways, cosigns what is consistent, and (share.ts)
 * holds the party's shares of the joint draw. And `weir witness --show URL`: what a running one has cosigned.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../adapter/clock.ts";
import { openMirror, type DiskMirror } from "../adapter/disk/mirror.ts";
import { smallClient, type SmallClient } from "../adapter/http/small-client.ts";
import { listenSmall } from "../adapter/http/small-server.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import { enrolledKey } from "../base/enrol.ts";
import { sha256Hex } from "../base/hash.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { cosign } from "../format/cosignature.ts";
import { formatVkey, noteKey, noteKeyType, type NoteKey } from "../format/note.ts";
import { tilePath, tileWidth } from "../format/tlog-tile.ts";
import { vetted } from "../log/vetted.ts";
import type { BundleSource } from "../log/mirror.port.ts";
import { WitnessService, type WitnessLog, type WitnessStatus } from "../log/witness-service.ts";
import { nothingCosigned } from "../log/witness.ts";
import type { DrawShares } from "../log/share.ts";
import { drawRoutes, drawSharesOf, witnessDrawSpecs } from "./draw.ts";
import { vkeysOf, witnessKeyName } from "./log-keys.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";
import { table } from "./site/screen.ts";
import { takeLock } from "./site/lock.ts";

const specs: OptionSpecs = {
  party: { kind: "text", help: "name of the party, as a" },
  listen: { kind: "text", help: "HOST:PORT for HTTP" },
  key: { kind: "text", help: "file of the witness's seed, 64 hex digits" },
  data: { kind: "text", help: "folder of the mirrors" },
  log: { kind: "list", help: "GATEWAY=VKEY, a log to witness" },
  device: {
    kind: "list",
    help: "GATEWAY=HEX, the public device key of a gateway, for the joint draw",
  },
  ...witnessDrawSpecs,
  source: { kind: "text", help: "http://HOST:PORT of the publisher; logs are at /GATEWAY/" },
  show: { kind: "text", help: "only show what the witness at this http:// address has cosigned" },
  json: { kind: "flag", help: "with --show: print JSON" },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

const help =
  "Run one party's witness: mirror the gateways' logs and cosign what is consistent (spec/witness.md).";

/** Runs a witness until SIGINT or SIGTERM. Returns the exit code. */
export function runWitness(argv: string[]): Promise<number> {
  return withErrors("weir witness", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      process.stdout.write(helpText("weir witness [options]", help, specs));
      return 0;
    }
    return options.has("show") ? show(options) : serve(options);
  });
}

/** Asks a running witness for its status. Throws UnavailableError. */
async function statusOf(url: string): Promise<WitnessStatus> {
  const client = smallClient(url, 5000);
  try {
    const { status, body } = await client.get("/status", 1_048_576);
    if (status !== 200)
      throw new UnavailableError("witness.status", `${url} answered ${status}`, "none");
    return JSON.parse(body.toString()) as WitnessStatus;
  } finally {
    client.close();
  }
}

async function show(options: Options): Promise<number> {
  const status = await statusOf(options.text("show"));
  if (options.flag("json")) {
    process.stdout.write(`${JSON.stringify(status, null, 2)}\n`);
    return 0;
  }
  const rows = status.logs.map(({ gateway, size, root, cosignedMs, suspicions }) => [
    gateway,
    `${size} entries`,
    root,
    cosignedMs === 0 ? "never cosigned" : new Date(cosignedMs).toISOString(),
    suspicions.length === 0 ? "" : `SUSPECT: ${suspicions.join("; ")}`,
  ]);
  process.stdout.write(`Witness of party ${status.party}: ${status.vkey}\n${table(rows)}`);
  return status.logs.some(({ suspicions }) => suspicions.length > 0) ? 1 : 0;
}

function bundles(client: SmallClient, gateway: string): BundleSource {
  return {
    bundle: async (index, width) => {
      const path = `/${gateway}/${tilePath({ level: "entries", index, width })}`;
      const { status, body } = await client.get(path, tileWidth * 1024);
      if (status === 200) return body;
      throw new UnavailableError(
        "witness.source",
        `the publisher answered ${status} to ${path}`,
        "none",
      );
    },
  };
}

interface OpenLogs {
  readonly logs: WitnessLog[];
  readonly mirrors: DiskMirror[];
}

async function openLogs(
  options: Options,
  witness: NoteKey,
  client: SmallClient,
  shares: DrawShares | null,
): Promise<OpenLogs> {
  const devices = options.pairs("device");
  for (const hex of devices.values()) enrolledKey(hex);
  const opened: OpenLogs = { logs: [], mirrors: [] };
  for (const [gateway, key] of vkeysOf(options, "log", "note")) {
    const dir = join(options.text("data"), sha256Hex(key.name).slice(0, 32));
    const mirror = await openMirror({ dir, log: key, witness });
    opened.mirrors.push(mirror);
    const deviceKey = devices.get(gateway) ?? "";
    const { found } = mirror;
    opened.logs.push({
      ...{ gateway, key, vkey: formatVkey(key), mirror: vetted(mirror, deviceKey, shares) },
      deviceKey,
      latest:
        found === null ? nothingCosigned : { size: found.size, root: found.root, time: found.time },
      source: bundles(client, gateway),
    });
  }
  if (opened.logs.length === 0) throw new InvalidError("options.missing", "--log is required");
  return opened;
}

async function serve(options: Options): Promise<number> {
  const party = options.text("party");
  const logger = jsonLogger("witness", party, logLevelOf(options));
  const seed = fromHex(readFileSync(options.text("key"), "utf8").trim(), 32);
  const key = privateKeyFromSeed(seed);
  const publicKey = publicKeyHex(key);
  const own = noteKey(witnessKeyName(party, publicKey), noteKeyType.cosignature, publicKey);
  const release = takeLock(`${options.text("data")}.lock`, options.text("data"));
  const client = smallClient(options.text("source"), 10_000);
  let exitCode = 0;
  const fatal = Promise.withResolvers<undefined>();
  try {
    const shares = await drawSharesOf(options, seed, logger);
    const { logs, mirrors } = await openLogs(options, own, client, shares);
    const service = new WitnessService({
      ...{ party, name: own.name, vkey: formatVkey(own), logs, clock: systemClock, logger },
      cosign: (text, timeS) => cosign(own.name, key, text, timeS),
      onFatal: (error) => {
        logger.log("error", "witness.fatal", { why: error.message });
        exitCode = 1;
        fatal.resolve(undefined);
      },
    });
    service.addRoutes(drawRoutes(shares, service.view()));
    const handler = {
      bodyMax: (path: string) => service.bodyMax(path),
      get: (path: string) => service.get(path),
      post: (path: string, body: Buffer) => service.post(path, body),
      onBug: (error: unknown) => {
        logger.log("error", "witness.bug", { why: String(error) });
        exitCode = 1;
        fatal.resolve(undefined);
      },
    };
    const listener = await listenSmall({ ...options.address("listen"), handler });
    announceReady(listener.port);
    await Promise.race([untilStopped(), fatal.promise]);
    await listener.close();
    for (const mirror of mirrors) await mirror.close();
  } finally {
    client.close();
    release();
  }
  return exitCode;
}
