/** `weir gateway`: one gateway process, wired from its parts. */
import { join } from "node:path";
import { openChunkHasher } from "../adapter/chunk-hasher.ts";
import { systemClock } from "../adapter/clock.ts";
import { openCheckpointFiles } from "../adapter/disk/checkpoint-files.ts";
import { openGatewayStore } from "../adapter/disk/store.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import { systemRandom } from "../adapter/random.ts";
import { dialTls, listenTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { postWebhook } from "../adapter/webhook.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { frameType, type Frame } from "../format/link.ts";
import { expiryAt, trustEnds, type Expiry, type TrustSeen } from "../format/trust-memory.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { BootStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { Alarms } from "../gateway/alarms.ts";
import { Checkpoints } from "../gateway/checkpoints.ts";
import { Gateway, type GatewayOptions } from "../gateway/gateway.ts";
import { logKeyOf } from "../gateway/identity.ts";
import { jointDrawOf } from "./draw.ts";
import { vkeysOf } from "./log-keys.ts";
import type { Guard } from "./device/guard.ts";
import type { Handover } from "./device/handover.ts";
import { openRoot, type GatewayRoot } from "./device/root.ts";
import type { StateFile } from "../gateway/store.port.ts";
import { gatewayHelp, gatewaySpecs } from "./gateway-options.ts";
import { helpText, parseAddress, readOptions, type Options } from "./options.ts";
import { openPower } from "./power.ts";
import { rememberTrust, trustFrom, type Trust } from "./trust.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

/** Exit code of a gateway that was tampered with: what destroyed it is in its log. */
const brickedExit = 70;

/**
 * Runs a gateway until SIGINT or SIGTERM. `handover`: what its first stage gave it, where one started it. Returns the
 * exit code.
 */
export function runGateway(argv: string[], handover: Handover | null = null): Promise<number> {
  return withErrors("weir gateway", async () => {
    const options = readOptions(argv, gatewaySpecs);
    if (options === null) {
      process.stdout.write(helpText("weir gateway [options]", gatewayHelp, gatewaySpecs));
      return 0;
    }
    return serve(options, openRoot(options, handover));
  });
}

function entryOf(options: Options, { whitelist }: Trust): WhitelistEntry {
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

/** The log's signer, and what it knows of the witnesses. */
async function checkpointsOf(
  options: Options,
  parts: Pick<GatewayOptions, "store" | "rootKey" | "logger" | "alarms" | "onFatal">,
): Promise<Checkpoints> {
  const { store, rootKey, logger, alarms, onFatal } = parts;
  const keys = options.has("witness")
    ? vkeysOf(options, "witness", "cosignature")
    : new Map<string, never>();
  return new Checkpoints({
    gateway: options.text("name"),
    key: logKeyOf(rootKey),
    log: store.log,
    files: await openCheckpointFiles(join(options.text("data"), "log")),
    witnesses: [...keys].map(([party, key]) => ({ party, key })),
    backlogMax: options.number("logBacklog", 1, 1e9),
    everyMs: options.number("checkpointMs", 1, 60_000),
    clock: systemClock,
    ...{ logger, alarms, onFatal },
  });
}

/** Takes root and whitelist into the gateway's memory, or refuses them; gives what the time says of them. */
async function takeTrust(
  options: Options,
  trust: Trust,
  state: StateFile,
  close: () => Promise<void>,
): Promise<(nowMs: number) => Expiry> {
  const memory = {
    read: () => state.trust,
    write: (seen: TrustSeen) => state.change({ trust: seen }),
  };
  await rememberTrust(memory, trust).catch(async (error: unknown) => {
    await close();
    throw error;
  });
  const expiresMs = trustEnds(trust.chain, trust.whitelist);
  const warnMs = 86_400_000 * options.number("expiryWarningDays", 0, 3650);
  return (nowMs) => expiryAt(expiresMs, nowMs, warnMs);
}

/** What the options alone decide. */
function settingsOf(options: Options) {
  return {
    orderKeys: { shutdown: options.keys("shutdownKeys"), release: options.keys("releaseKeys") },
    epsilon: options.number("epsilon", 0, 1),
    tickMs: options.number("tickMs", 1, 1000),
    wholeReplies: options.flag("wholeReplies"),
    capacity: options.number("capacity", 1, 4096),
    pairDeadlineMs: 1000 * options.number("pairDeadlineSeconds", 1, 86_400),
    stallMs: 1000 * options.number("stallSeconds", 1, 86_400),
    erase: {
      bytes: options.number("eraseBytes", 0, 2 ** 44),
      bytesPerSecond: options.number("eraseRate", 1, 1e12),
    },
    readyMs: 1000 * options.number("readySeconds", 1, 86_400),
    retryMs: 500,
    flickerMs: 1000 * options.number("flickerSeconds", 0, 1e7),
    flickerPairs: options.number("flickerPairs", 0, 1e12),
    flickerOffsetMs: 1000 * options.number("flickerOffsetSeconds", 0, 1e7),
    drainMs: 1000 * options.number("drainSeconds", 1, 86_400),
    silentMs: 1000 * options.number("silentSeconds", 1, 86_400),
  };
}

async function build(
  options: Options,
  root: GatewayRoot,
  bootStatus: () => BootStatus | undefined,
  identity: TlsIdentity,
  logger: Logger,
  onFatal: (error: Error) => void,
): Promise<{ gateway: Gateway; close: () => Promise<void> }> {
  const name = options.text("name");
  const trust = trustFrom(options);
  const entry = entryOf(options, trust);
  const { rootKey } = root;
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
  const expiry = await takeTrust(options, trust, store.state, close);
  const webhook = options.has("webhook") ? options.text("webhook") : "";
  const alarms = new Alarms(name, systemClock, (alarm) => {
    logger.log("error", "alarm", { ...alarm });
    if (webhook !== "") void postWebhook(webhook, alarm, logger);
  });
  const depot = options.address("depot");
  const draw = await jointDrawOf(options, options.text("data"), rootKey);
  const checkpoints = await checkpointsOf(options, { store, rootKey, logger, alarms, onFatal });
  const gateway = new Gateway({
    checkpoints,
    ...(draw === undefined ? {} : { draw }),
    name,
    entry,
    epoch,
    store,
    rootKey,
    power: await openPower(options, identity, logger, entry.engineBuild),
    connectDepot: () => dialTls({ ...depot, identity, expect: "depot", bulk: true }),
    openHasher: () => openChunkHasher(),
    random: systemRandom,
    clock: systemClock,
    logger,
    alarms,
    ...settingsOf(options),
    simulated: [
      ...root.simulated,
      ...(draw === undefined
        ? ["joint draw: no parties take part, the gateway draws its coins alone"]
        : []),
      "sampling randomness: the operating system's generator with health tests, no dedicated TRNG",
    ],
    onFatal,
    boot: bootStatus,
    booted: {
      whitelist: trust.whitelistFile,
      ...(root.measurement === null ? {} : { measurement: root.measurement }),
    },
    expiry,
  });
  await gateway.recover();
  return { gateway, close };
}

/** Cuts power at once, and ends `untilEnd` with code 70 when the device's secret is destroyed. */
function guardOf(
  root: GatewayRoot,
  gateway: () => Gateway | null,
  logger: Logger,
): {
  guard: Guard | null;
  bricked: Promise<number>;
} {
  const { promise, resolve } = Promise.withResolvers<number>();
  const guard = root.guard({
    logger,
    cutPower: (why) => gateway()?.cutPower(why),
    end: (why) => {
      logger.log("error", "gateway.bricked", { why });
      process.stderr.write(`weir gateway: BRICKED: ${why}\n`);
      resolve(brickedExit);
    },
  });
  return { guard, bricked: promise };
}

async function serve(options: Options, root: GatewayRoot): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("gateway", name, logLevelOf(options));
  const identity = readIdentity(options.text("identity"), `gateway-${name}`);
  let exitCode = 0;
  const fatal = Promise.withResolvers<undefined>();
  let built: Gateway | null = null;
  const { guard, bricked } = guardOf(root, () => built, logger);
  const status = (): BootStatus | undefined => root.status(guard);
  const { gateway, close } = await build(options, root, status, identity, logger, (error) => {
    logger.log("error", "gateway.fatal", { why: error.message });
    exitCode = 1;
    fatal.resolve(undefined);
  });
  built = gateway;
  guard?.watch();
  const stopRecomputer = keepRecomputer(options, identity, logger, (wire) => {
    gateway.attachRecomputer(wire);
  });
  const listener = await listenTls({
    ...parseAddress(options.text("listen"), "--listen"),
    identity,
    accept: ["router", "publisher", "observer", "operator"],
    onWire: (wire) => {
      if (wire.peer.role === "router") gateway.attachRouter(wire);
      else if (wire.peer.role === "publisher") gateway.attachPublisher(wire);
      else attachPerson(gateway, wire, logger);
    },
    onRefused: (reason) => {
      logger.log("warn", "gateway.peer-refused", { reason });
    },
  });
  announceReady(listener.port);
  const life = gateway.run();
  await Promise.race([untilStopped(), fatal.promise, life, bricked]);
  guard?.close();
  gateway.stop();
  if (guard?.state.phase === "BRICKED" || guard?.state.phase === "BRICKING") {
    exitCode = await bricked;
  }
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
