/** `weir publisher`: reads the gateways' logs, publishes them over HTTP, and carries checkpoints to the witnesses. */
import { join } from "node:path";
import { systemClock } from "../adapter/clock.ts";
import { openMirror, type DiskMirror } from "../adapter/disk/mirror.ts";
import { smallClient, type SmallClient } from "../adapter/http/small-client.ts";
import { listenSmall } from "../adapter/http/small-server.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { dialTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { sha256Hex } from "../base/hash.ts";
import { frameType } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import { Publisher, type Relay, type RemoteWitness } from "../log/publisher.ts";
import { serveTiles, type Served } from "../log/tiles.ts";
import { vkeysOf } from "./log-keys.ts";
import { helpText, parseAddress, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";
import { takeLock } from "./site/lock.ts";

const specs: OptionSpecs = {
  name: { kind: "text", help: "name, as in its certificate", default: "publisher" },
  listen: { kind: "text", help: "HOST:PORT of the logs' read interface (HTTP)", required: true },
  identity: { kind: "text", help: "folder of publisher-NAME.crt, .key and ca.crt", required: true },
  data: { kind: "text", help: "folder of what is published", required: true },
  gateway: { kind: "list", help: "NAME=HOST:PORT, a gateway", required: true },
  log: { kind: "list", help: "NAME=VKEY, the key of that gateway's log", required: true },
  witness: { kind: "list", help: "PARTY=http://HOST:PORT, the witness of a party" },
  witnessKey: { kind: "list", help: "PARTY=VKEY, its key" },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

const help =
  "Publish the gateways' logs and carry their checkpoints to the parties' witnesses. Trusted with nothing.";

/** The joint draw's messages, carried as they are (spec/draw.md). */
const relays: readonly Relay[] = [
  { ask: frameType.drawOpen, path: "/draw/open", answer: frameType.drawCommit },
  { ask: frameType.drawLogged, path: "/draw/secret", answer: frameType.drawSecret },
];

/** Runs a publisher until SIGINT or SIGTERM. Returns the exit code. */
export function runPublisher(argv: string[]): Promise<number> {
  return withErrors("weir publisher", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      process.stdout.write(helpText("weir publisher [options]", help, specs));
      return 0;
    }
    return serve(options);
  });
}

function witnessesOf(options: Options): { witnesses: RemoteWitness[]; clients: SmallClient[] } {
  const keys = vkeysOf(options, "witnessKey", "cosignature");
  const clients: SmallClient[] = [];
  const witnesses = [...options.pairs("witness")].map(([party, url]) => {
    const key = keys.get(party);
    if (key === undefined) {
      throw new InvalidError("options.missing", `--witness-key is missing for party "${party}"`);
    }
    const client = smallClient(url, 60_000);
    clients.push(client);
    return { party, key, post: (path: string, body: Buffer) => client.post(path, body, 65_536) };
  });
  return { witnesses, clients };
}

/** Keeps a link to one gateway: dials again, with a growing pause, whenever it is lost. */
function keepGateway(
  name: string,
  address: string,
  identity: TlsIdentity,
  attach: (wire: Wire) => void,
): () => void {
  const where = parseAddress(address, "--gateway");
  let [stopped, pauseMs] = [false, 200];
  let current: Wire | null = null;
  const again = (): void => {
    if (stopped) return;
    systemClock.after(pauseMs, () => void dial());
    pauseMs = Math.min(5000, pauseMs * 2);
  };
  const dial = async (): Promise<void> => {
    if (stopped) return;
    try {
      const wire = await dialTls({ ...where, identity, expect: "gateway", expectName: name });
      current = wire;
      pauseMs = 200;
      wire.onClose(again);
      attach(wire);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      again();
    }
  };
  void dial();
  return () => {
    stopped = true;
    current?.close("the publisher stops");
  };
}

function textOf(status: number, text: string): Served {
  return { status, type: "text/plain; charset=utf-8", body: Buffer.from(`${text}\n`) };
}

async function answer(
  published: ReadonlyMap<string, { publisher: Publisher; mirror: DiskMirror }>,
  path: string,
): Promise<Served> {
  if (path === "/status") {
    const list = [...published.values()].map(({ publisher }) => publisher.status());
    const body = Buffer.from(`${JSON.stringify({ logs: list })}\n`);
    return { status: 200, type: "application/json", body };
  }
  const [, name = "", rest = ""] = /^\/([a-z0-9-]+)\/(.*)$/.exec(path) ?? [];
  const one = published.get(name);
  return one === undefined ? textOf(404, "no such log here") : serveTiles(one.mirror, rest);
}

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("publisher", name, logLevelOf(options));
  const identity = readIdentity(options.text("identity"), `publisher-${name}`);
  const release = takeLock(`${options.text("data")}.lock`, options.text("data"));
  const { witnesses, clients } = witnessesOf(options);
  let exitCode = 0;
  const fatal = Promise.withResolvers<undefined>();
  const onFatal = (error: unknown): void => {
    logger.log("error", "publisher.fatal", {
      why: error instanceof Error ? error.message : String(error),
    });
    exitCode = 1;
    fatal.resolve(undefined);
  };
  const published = new Map<string, { publisher: Publisher; mirror: DiskMirror }>();
  const stops: (() => void)[] = [];
  try {
    const keys = vkeysOf(options, "log", "note");
    const gateways = options.pairs("gateway");
    for (const [gateway, log] of keys) {
      const dir = join(options.text("data"), sha256Hex(log.name).slice(0, 32));
      const mirror = await openMirror({ dir, log, witness: null });
      const parts = {
        gateway,
        log,
        mirror,
        witnesses,
        relays,
        clock: systemClock,
        logger,
        onFatal,
      };
      published.set(gateway, { publisher: new Publisher(parts), mirror });
    }
    const handler = {
      bodyMax: () => 0,
      get: (path: string) => answer(published, path),
      post: () => Promise.resolve(textOf(404, "nothing is posted here")),
      onBug: onFatal,
    };
    const listener = await listenSmall({ ...options.address("listen"), handler });
    for (const [gateway, address] of gateways) {
      const one = published.get(gateway);
      if (one === undefined) {
        throw new InvalidError("options.missing", `--log is missing for gateway "${gateway}"`);
      }
      stops.push(keepGateway(gateway, address, identity, (wire) => one.publisher.attach(wire)));
    }
    announceReady(listener.port);
    await Promise.race([untilStopped(), fatal.promise]);
    for (const stop of stops) stop();
    await listener.close();
    for (const { publisher, mirror } of published.values()) {
      publisher.stop();
      await publisher.idle();
      await mirror.close();
    }
  } finally {
    for (const client of clients) client.close();
    release();
  }
  return exitCode;
}
