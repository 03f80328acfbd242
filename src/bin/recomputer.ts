/** `weir recomputer`: recomputes the pairs that gateways kept, judges them, stops who cheats. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { systemClock } from "../adapter/clock.ts";
import { describeModel } from "../adapter/llama/describe.ts";
import { openReplayEngine, type ReplayOptions } from "../adapter/llama/replay.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import { systemRandom } from "../adapter/random.ts";
import type { SandboxKind } from "../adapter/sandbox/box.ts";
import { chooseSandbox } from "../adapter/sandbox/detect.ts";
import { openRecomputerDb } from "../adapter/sqlite/verdicts.ts";
import { listenTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { webhookSink } from "../adapter/webhook.ts";
import { Alarms } from "../alarm/raise.ts";
import { Shutdowns } from "../alarm/shutdown.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import type { Timer } from "../base/clock.ts";
import { fromHex } from "../base/bytes.ts";
import { sha256 } from "../base/hash.ts";
import type { Logger } from "../base/report.ts";
import { privateKeyFromSeed } from "../base/sign.ts";
import { executorLimits } from "../format/executor-link.ts";
import { frameType, type Frame } from "../format/link.ts";
import { defaultPolicy, type Policy } from "../format/policy.ts";
import { openProfile, type ProfileFile } from "../format/profile.ts";
import { expiryAt, trustEnds } from "../format/trust-memory.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { verdictInfo } from "../recomputer/ask.ts";
import type { OpenEngine, ReplayEngine } from "../recomputer/engine.port.ts";
import { Recomputer, type RecomputerTiming } from "../recomputer/serve.ts";
import { blindDefaults, openBlindEngine } from "./blind.ts";
import { recomputerDrawSpecs, watchedDrawsOf, type WatchedDraws } from "./draw.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { ladderOfPolicy, readPolicyFile } from "./policy-file.ts";
import { expirySpecs, rememberTrust, trustFrom, trustSpecs, type Trust } from "./trust.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  name: { kind: "text", help: "name, as in its certificate", default: "recomputer" },
  listen: { kind: "text", help: "HOST:PORT for gateways, observers, operators", required: true },
  identity: {
    kind: "text",
    help: "folder of recomputer-NAME.crt, .key and ca.crt",
    required: true,
  },
  orderKey: {
    kind: "text",
    help: "file of the shutdown key's seed, 64 hex digits",
    required: true,
  },
  ...trustSpecs,
  ...expirySpecs,
  model: { kind: "list", help: "ID=FILE.gguf, its own copy of a model", required: true },
  profile: {
    kind: "list",
    help: "calibration profile, FILE.json; entries name theirs by digest",
    required: true,
  },
  policy: { kind: "text", help: "alarm policy, FILE.json (spec/policy.md); default: its example" },
  releaseKeys: { kind: "list", help: "public key of an operator who may release", required: true },
  db: { kind: "text", help: "file of verdicts, alarms and orders", required: true },
  webhook: { kind: "text", help: "URL that alarms are posted to" },
  ...recomputerDrawSpecs,
  threads: { kind: "number", help: "threads of a replay; 0: half the cores", default: 0 },
  replay: {
    kind: "text",
    help: "blind: an executor process that learns each token after its distribution; prefill: faster",
    default: "blind",
  },
  parallel: {
    kind: "number",
    help: "pairs replayed side by side; 0: 32 blind, 1 by prefill",
    default: 0,
  },
  cacheMib: { kind: "number", help: "memory for the caches of a blind replay", default: 2048 },
  sandbox: {
    kind: "text",
    help: "of the executor: auto, bubblewrap, unshare or off",
    default: "auto",
  },
  unableDeadlineSeconds: {
    kind: "number",
    help: "time after which a pair that cannot be judged is alarmed on",
    default: 60,
  },
  awaySeconds: { kind: "number", help: "absence of a gateway that is warned of", default: 60 },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

/** Runs a recomputer until SIGINT or SIGTERM. Returns the exit code. */
export function runRecomputer(argv: string[]): Promise<number> {
  return withErrors("weir recomputer", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      const summary = "Replay the pairs that gateways kept, judge them, stop a server that cheats.";
      process.stdout.write(helpText("weir recomputer [options]", summary, specs));
      return 0;
    }
    const logger = jsonLogger("recomputer", options.text("name"), logLevelOf(options));
    const replay = await replayOf(options, logger);
    const running = await startRecomputer({ ...settingsOf(options, logger), ...replay });
    announceReady(running.port);
    await untilStopped();
    await running.stop();
    return 0;
  });
}

export interface RecomputerSettings {
  readonly name: string;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly identity: TlsIdentity;
  /** 32-byte Ed25519 seed. */
  readonly orderSeed: Uint8Array;
  readonly entries: readonly WhitelistEntry[];
  /** Where the entries come from: remembered, and warned of before it expires. */
  readonly trust?: Trust & { readonly warnMs: number };
  readonly profiles: readonly ProfileFile[];
  /** The default unless given. */
  readonly policy?: Policy;
  /** Public keys, 64 hex digits, of operators whose releases end what this recomputer ordered. */
  readonly releaseKeys: readonly string[];
  readonly openEngine: OpenEngine;
  /** Pairs that are replayed side by side; 1 unless given. */
  readonly parallel?: number;
  readonly db: string;
  readonly webhook: string | null;
  readonly logger: Logger;
  readonly timing?: Partial<RecomputerTiming>;
  /** Gateways whose coins are recomputed. */
  readonly draws?: WatchedDraws | undefined;
  readonly simulated?: readonly string[];
}

export interface RunningRecomputer {
  readonly port: number;
  readonly recomputer: Recomputer;
  /** Finishes the pair in hand, then closes links, engines and database. */
  stop(): Promise<void>;
}

/** Pairs are judged under an expired whitelist too: what was served has to be looked at. People are told. */
function watchExpiry({ trust, name }: RecomputerSettings, alarms: Alarms): Timer | null {
  if (trust === undefined) return null;
  const expiresMs = trustEnds(trust.chain, trust.whitelist);
  const look = (): void => {
    const { over, soon } = expiryAt(expiresMs, systemClock.wallMs(), trust.warnMs);
    if (over === null) alarms.clear("whitelist.expired", name);
    else alarms.raise("critical", "whitelist.expired", name, over);
    if (soon === null) alarms.clear("whitelist.expiring", name);
    else alarms.raise("warning", "whitelist.expiring", name, soon);
  };
  look();
  return systemClock.every(3_600_000, look);
}

/** Starts a recomputer in this process. Throws UnavailableError or InvalidError. */
export async function startRecomputer(settings: RecomputerSettings): Promise<RunningRecomputer> {
  const { logger, name } = settings;
  const sinks = settings.webhook === null ? [] : [webhookSink(settings.webhook, name)];
  const orderKey = privateKeyFromSeed(settings.orderSeed);
  const policy = settings.policy ?? defaultPolicy;
  const ladder = ladderOfPolicy(policy);
  const digest = sha256(Buffer.from(JSON.stringify(policy))).toString("hex");
  logger.log("info", "recomputer.policy", { digest, shutdownAtNats: ladder.threshold });
  const db = openRecomputerDb(settings.db);
  await rememberTrust(db.trust, settings.trust).catch((error: unknown) => {
    db.close();
    throw error;
  });
  const common = { clock: systemClock, random: systemRandom, log: logger };
  const alarms = new Alarms({ ...common, store: db.alarms, sinks });
  const expiry = watchExpiry(settings, alarms);
  const { releaseKeys } = settings;
  const orders = { ...common, store: db.alarms, alarms, key: orderKey, releaseKeys };
  const shutdown = new Shutdowns(orders);
  const recomputer = new Recomputer({
    name,
    clock: systemClock,
    log: logger,
    store: db.verdicts,
    entries: settings.entries,
    profiles: settings.profiles,
    openEngine: settings.openEngine,
    ...(settings.parallel === undefined ? {} : { parallel: settings.parallel }),
    ladder,
    alarms,
    shutdown,
    shownAlarms: () => alarms.shown(100),
    simulated: settings.simulated ?? [],
    ...(settings.draws === undefined ? {} : { draws: settings.draws }),
    ...(settings.timing === undefined ? {} : { timing: settings.timing }),
  });
  const listening = listenTls({
    host: settings.host,
    port: settings.port,
    identity: settings.identity,
    accept: ["gateway", "observer", "operator"],
    onWire: (wire) => {
      if (wire.peer.role === "gateway") recomputer.serveGateway(wire);
      else servePerson(recomputer, wire, (payload) => verdictInfo(payload, db.verdicts));
    },
    onRefused: (reason) => {
      logger.log("warn", "recomputer.peer-refused", { reason });
    },
  });
  const close = async (): Promise<void> => {
    expiry?.cancel();
    shutdown.stop();
    alarms.stop();
    await recomputer.stop();
    db.close();
  };
  try {
    const listener = await listening;
    void recomputer.warmUp();
    const stop = async (): Promise<void> => {
      await listener.close();
      await close();
    };
    return { port: listener.port, recomputer, stop };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Observers watch; operators also ask for verdicts. */
function servePerson(
  recomputer: Recomputer,
  wire: Wire,
  ask: (payload: Uint8Array) => unknown,
): void {
  const onOther = (frame: Frame): void => {
    if (wire.peer.role !== "operator" || frame.type !== frameType.verdictAsk) {
      throw new InvalidError("recomputer.frame", `unexpected frame of type ${frame.type}`);
    }
    wire.send(frameType.verdictInfo, frame.id, Buffer.from(JSON.stringify(ask(frame.payload))));
  };
  serveObservers(wire, () => recomputer.status(), systemClock, onOther);
}

type ReplaySettings = Pick<RecomputerSettings, "openEngine" | "parallel" | "simulated" | "timing">;

/** How pairs are replayed, and what has to be said of it. */
async function replayOf(options: Options, logger: Logger): Promise<ReplaySettings> {
  const files = modelFiles(options.list("model"), trustFrom(options).whitelist.entries);
  const given = options.number("threads", 0, 1024);
  const threads = given === 0 ? Math.max(1, Math.floor(availableParallelism() / 2)) : given;
  const wanted = options.number("parallel", 0, executorLimits.slots);
  const kind = options.text("replay");
  const timing = timingOf(options);
  if (kind === "prefill") {
    logger.log("warn", "recomputer.not-blind", { why: "configured: --replay prefill" });
    const open = checkedEngines(files, { threads, logger });
    return { openEngine: open, parallel: Math.max(1, wanted), timing };
  }
  if (kind !== "blind") {
    throw new InvalidError("options.value", "--replay must be blind or prefill");
  }
  const isolation = await chooseSandbox(sandboxOf(options));
  const bare = isolation.kind === "off";
  logger.log(bare ? "warn" : "info", "recomputer.executor", { ...isolation });
  const slots = wanted === 0 ? blindDefaults.slots : wanted;
  const cacheBytes = options.number("cacheMib", 1, 2 ** 24) * 2 ** 20;
  const blind = { threads, slots, cacheBytes, isolation, logger };
  return {
    openEngine: checkedEngines(files, { threads, logger }, (entry, file) =>
      openBlindEngine(entry, file, blind),
    ),
    parallel: slots,
    simulated: bare ? [`isolation of the recomputer's executor. ${isolation.detail}`] : [],
    // A step that hangs is noticed by lockstep.ts; a pair has to wait for those beside it.
    timing: { ...timing, replay: { baseMs: 600_000, perTokenMs: 100 * slots } },
  };
}

function sandboxOf(options: Options): "auto" | SandboxKind {
  const text = options.text("sandbox");
  const known = ["auto", "bubblewrap", "unshare", "off"] as const;
  const wanted = known.find((kind) => kind === text);
  if (wanted !== undefined) return wanted;
  throw new InvalidError("options.value", `--sandbox must be ${known.join(", ")}`);
}

function timingOf(options: Options): Partial<RecomputerTiming> {
  return {
    unableDeadlineMs: 1000 * options.number("unableDeadlineSeconds", 1, 86_400),
    gatewayAwayMs: 1000 * options.number("awaySeconds", 1, 86_400),
  };
}

function settingsOf(options: Options, logger: Logger): Omit<RecomputerSettings, "openEngine"> {
  const trust = trustFrom(options);
  const name = options.text("name");
  return {
    name,
    ...options.address("listen"),
    identity: readIdentity(options.text("identity"), `recomputer-${name}`),
    orderSeed: fromHex(readFileSync(options.text("orderKey"), "utf8").trim(), 32),
    entries: trust.whitelist.entries,
    trust: { ...trust, warnMs: 86_400_000 * options.number("expiryWarningDays", 0, 3650) },
    profiles: profileFiles(options.list("profile")),
    policy: options.has("policy") ? readPolicyFile(options.text("policy")) : defaultPolicy,
    releaseKeys: options.keys("releaseKeys"),
    db: options.text("db"),
    webhook: options.has("webhook") ? options.text("webhook") : null,
    draws: watchedDrawsOf(options),
    logger,
  };
}

function profileFiles(paths: readonly string[]): ProfileFile[] {
  return paths.map((path) => {
    try {
      return openProfile(readFileSync(path));
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      throw new InvalidError(error.code, `profile ${path}: ${error.message}`);
    }
  });
}

function modelFiles(
  texts: readonly string[],
  entries: readonly WhitelistEntry[],
): Map<string, string> {
  const files = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf("=");
    const id = text.slice(0, Math.max(0, at));
    if (at < 1) throw new InvalidError("options.value", `--model must be ID=FILE, not "${text}"`);
    if (!entries.some((entry) => entry.modelId === id)) {
      throw new InvalidError("options.value", `--model ${id}: this model is not on the whitelist`);
    }
    files.set(id, text.slice(at + 1));
  }
  return files;
}

/**
 * Engines over files that are first checked against the whitelist entry: a recomputer with other
 * weights than the servers would accuse every honest one.
 */
export function checkedEngines(
  files: ReadonlyMap<string, string>,
  options: ReplayOptions,
  open: (entry: WhitelistEntry, file: string) => Promise<ReplayEngine> = (entry, file) =>
    openReplayEngine(entry, file, options),
): OpenEngine {
  return async (entry) => {
    const lacking = (why: string): UnavailableError =>
      new UnavailableError("engine.no-model", `model ${entry.modelId}: ${why}`, "none");
    const file = files.get(entry.modelId);
    if (file === undefined) throw lacking("no file was given for it");
    let found;
    try {
      found = await describeModel(file);
    } catch (error) {
      if (error instanceof InvalidError || error instanceof UnavailableError) throw error;
      throw lacking(error instanceof Error ? error.message : String(error));
    }
    const { weights, tokenizerDigest, templateDigest } = entry;
    if (found.sizeBytes !== weights.sizeBytes || !found.root.equals(weights.root)) {
      throw lacking(`${file} does not hold the whitelisted weights`);
    }
    if (!found.tokenizerDigest.equals(tokenizerDigest)) {
      throw lacking(`${file} does not hold the whitelisted tokenizer`);
    }
    if (!found.templateDigest.equals(templateDigest)) {
      throw lacking(`${file} does not hold the whitelisted chat template`);
    }
    if (found.engine !== entry.engine || !found.engineBuild.equals(entry.engineBuild)) {
      throw lacking(`the ${found.engine} installed here is not the whitelisted engine build`);
    }
    return open(entry, file);
  };
}
