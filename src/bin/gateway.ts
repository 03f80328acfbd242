/** `weir gateway`: one gateway process, wired from its parts. */
import { readFileSync } from "node:fs";
import { openChunkHasher } from "../adapter/chunk-hasher.ts";
import { systemClock } from "../adapter/clock.ts";
import { openGatewayStore } from "../adapter/disk/store.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import { systemRandom } from "../adapter/random.ts";
import { dialTls, listenTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { postWebhook } from "../adapter/webhook.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import { secretKey } from "../base/hash.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import { openWhitelist, type WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { Alarms } from "../gateway/alarms.ts";
import { Gateway } from "../gateway/gateway.ts";
import { gatewayHelp, gatewaySpecs } from "./gateway-options.ts";
import { helpText, parseAddress, readOptions, type Options } from "./options.ts";
import { openPower } from "./power.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

/** Runs a gateway until SIGINT or SIGTERM. Returns the exit code. */
export function runGateway(argv: string[]): Promise<number> {
  return withErrors("weir gateway", async () => {
    const options = readOptions(argv, gatewaySpecs);
    if (options === null) {
      process.stdout.write(helpText("weir gateway [options]", gatewayHelp, gatewaySpecs));
      return 0;
    }
    return serve(options);
  });
}

function entryOf(options: Options): WhitelistEntry {
  const whitelist = openWhitelist(readFileSync(options.text("whitelist")), {
    a: options.text("partyA"),
    b: options.text("partyB"),
  });
  const model = options.text("model");
  const entry = whitelist.entries.find((candidate) => candidate.modelId === model);
  if (entry === undefined) {
    throw new InvalidError("gateway.model", `model "${model}" is not on the whitelist`);
  }
  return entry;
}

/** Keeps a link to the recomputer: dials again, with a growing pause, whenever it is lost. */
function keepRecomputer(
  options: Options,
  identity: TlsIdentity,
  logger: Logger,
  attach: (wire: Wire) => void,
): () => void {
  const address = options.address("recomputer");
  const named = options.has("recomputerName") ? { expectName: options.text("recomputerName") } : {};
  let stopped = false;
  let pauseMs = 200;
  let current: Wire | null = null;
  const again = (): void => {
    if (stopped) return;
    systemClock.after(pauseMs, () => void dial());
    pauseMs = Math.min(5000, pauseMs * 2);
  };
  const dial = async (): Promise<void> => {
    if (stopped) return;
    try {
      const wire = await dialTls({ ...address, identity, expect: "recomputer", ...named });
      current = wire;
      pauseMs = 200;
      logger.log("info", "gateway.recomputer-connected", { recomputer: wire.peer.name });
      attach(wire);
      wire.onClose(again);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      logger.log("debug", "gateway.recomputer-unreachable", { why: error.message });
      again();
    }
  };
  void dial();
  return () => {
    stopped = true;
    current?.close("the gateway stops");
  };
}

/** Observers watch; operators also ask for receipts and give orders. */
function attachPerson(gateway: Gateway, wire: Wire, logger: Logger): void {
  const onOther = (frame: Frame): void => {
    if (wire.peer.role !== "operator") {
      throw new InvalidError("gateway.frame", `${wire.peer.role} may only watch`);
    }
    if (frame.type === frameType.order) {
      gateway.onOrder(wire, frame);
      return;
    }
    if (frame.type !== frameType.receiptAsk) {
      throw new InvalidError("gateway.frame", `an operator sent frame type ${frame.type}`);
    }
    gateway.receipt(Buffer.from(frame.payload)).then(
      (receipt) => {
        wire.send(frameType.receipt, frame.id, Buffer.from(JSON.stringify(receipt)));
      },
      (error: unknown) => {
        if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
        logger.log("warn", "gateway.receipt-failed", { why: error.message });
        wire.close(error.message);
      },
    );
  };
  serveObservers(wire, () => gateway.status(), systemClock, onOther);
}

async function build(
  options: Options,
  identity: TlsIdentity,
  logger: Logger,
  onFatal: (error: Error) => void,
): Promise<{ gateway: Gateway; close: () => Promise<void> }> {
  const name = options.text("name");
  const entry = entryOf(options);
  const rootKey = secretKey(fromHex(readFileSync(options.text("ringKey"), "utf8").trim(), 32));
  const { store, epoch, notes, close } = await openGatewayStore({
    dir: options.text("data"),
    rootKey,
    entry,
    random: systemRandom,
    ringBytes: options.number("ringBytes", 1 << 20, 2 ** 42),
    segments: options.number("segments", 2, 4096),
    outboxPairs: options.number("outboxPairs", 1, 1e9),
  });
  for (const note of notes) logger.log("info", "gateway.recovered", { note });
  const webhook = options.has("webhook") ? options.text("webhook") : "";
  const alarms = new Alarms(name, systemClock, (alarm) => {
    logger.log("error", "alarm", { ...alarm });
    if (webhook !== "") void postWebhook(webhook, alarm, logger);
  });
  const depot = options.address("depot");
  const gateway = new Gateway({
    name,
    entry,
    epoch,
    store,
    rootKey,
    power: await openPower(options, identity, logger),
    connectDepot: () => dialTls({ ...depot, identity, expect: "depot", bulk: true }),
    openHasher: () => openChunkHasher(),
    random: systemRandom,
    clock: systemClock,
    logger,
    alarms,
    orderKeys: { shutdown: options.list("shutdownKeys"), release: options.list("releaseKeys") },
    epsilon: options.number("epsilon", 0, 1),
    tickMs: options.number("tickMs", 1, 1000),
    capacity: options.number("capacity", 1, 4096),
    pairDeadlineMs: 1000 * options.number("pairDeadlineSeconds", 1, 86_400),
    stallMs: 1000 * options.number("stallSeconds", 1, 86_400),
    readyMs: 1000 * options.number("readySeconds", 1, 86_400),
    retryMs: 500,
    flickerMs: 1000 * options.number("flickerSeconds", 0, 1e7),
    flickerPairs: options.number("flickerPairs", 0, 1e12),
    flickerOffsetMs: 1000 * options.number("flickerOffsetSeconds", 0, 1e7),
    drainMs: 1000 * options.number("drainSeconds", 1, 86_400),
    silentMs: 1000 * options.number("silentSeconds", 1, 86_400),
    simulated: [
      "device identity: the gateway's root key is a file, not a hardware UID",
      "sampling randomness: the operating system's generator with health tests, no dedicated TRNG",
    ],
    onFatal,
  });
  await gateway.recover();
  return { gateway, close };
}

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("gateway", name, logLevelOf(options));
  const identity = readIdentity(options.text("identity"), `gateway-${name}`);
  let exitCode = 0;
  const fatal = Promise.withResolvers<undefined>();
  const { gateway, close } = await build(options, identity, logger, (error) => {
    logger.log("error", "gateway.fatal", { why: error.message });
    exitCode = 1;
    fatal.resolve(undefined);
  });
  const stopRecomputer = keepRecomputer(options, identity, logger, (wire) => {
    gateway.attachRecomputer(wire);
  });
  const listener = await listenTls({
    ...parseAddress(options.text("listen"), "--listen"),
    identity,
    accept: ["router", "observer", "operator"],
    onWire: (wire) => {
      if (wire.peer.role === "router") gateway.attachRouter(wire);
      else attachPerson(gateway, wire, logger);
    },
    onRefused: (reason) => {
      logger.log("warn", "gateway.peer-refused", { reason });
    },
  });
  announceReady(listener.port);
  const life = gateway.run();
  await Promise.race([untilStopped(), fatal.promise, life]);
  gateway.stop();
  // After a fatal error storage is not to be trusted: only the power has to go off.
  if (exitCode === 0) await life;
  else await Promise.race([life.catch(() => undefined), afterMs(powerOffMs)]);
  stopRecomputer();
  await listener.close();
  if (exitCode === 0) await close();
  return exitCode;
}

/** After a fatal error: as long as a power command and its repetitions may take. */
const powerOffMs = 100_000;

function afterMs(ms: number): Promise<void> {
  return new Promise((resolve) => {
    systemClock.after(ms, resolve);
  });
}
