/**
 * `weir server`, on the server's own machine: dials its gateway, and for each connection starts a
 * fresh sandboxed server and joins it to the link. When the link goes, the server goes.
 */
import { systemClock } from "../adapter/clock.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { bridgeWires } from "../adapter/power/bridge.ts";
import { agentArgv, localPower } from "../adapter/power/local.ts";
import { chooseSandbox, type Detected } from "../adapter/sandbox/detect.ts";
import { dialTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import type { Logger } from "../base/report.ts";
import type { Wire } from "../format/wire.ts";
import type { Power, PoweredServer } from "../gateway/power.port.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { withCheckedEngine } from "./power.ts";
import { logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  gateway: {
    kind: "text",
    help: "HOST:PORT where the gateway waits for its server",
    required: true,
  },
  identity: { kind: "text", help: "folder of server-NAME.crt, .key and ca.crt", required: true },
  name: { kind: "text", help: "name of this server, as in its certificate", required: true },
  gatewayName: { kind: "text", help: "name that the gateway's certificate must have" },
  threads: { kind: "number", help: "threads of the engine", default: 2 },
  parallel: { kind: "number", help: "requests computed at once", default: 8 },
  memory: { kind: "number", help: "MiB of memory for the weights", default: 1024 },
  sandbox: { kind: "text", help: "auto, bubblewrap or unshare", default: "auto" },
  noSandbox: { kind: "flag", help: "run the server WITHOUT isolation" },
  engineBuild: {
    kind: "text",
    help: "engine build of the whitelist entry, 64 hex digits: another one is not started",
  },
  json: { kind: "flag", help: "print readiness as JSON" },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

const summary = "Run the inference server of one gateway, boxed in, on this machine.";
const pausesMs = { first: 200, longest: 5000 };

/** Runs the server's host until SIGINT or SIGTERM. Returns the exit code. */
export function runServer(argv: string[]): Promise<number> {
  return withErrors("weir server", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      process.stdout.write(helpText("weir server [options]", summary, specs));
      return 0;
    }
    return serve(options);
  });
}

/** Throws UnavailableError `server.no-sandbox` when nothing isolates and nobody asked for that. */
async function isolationOf(options: Options): Promise<Detected> {
  if (options.flag("noSandbox")) return chooseSandbox("off");
  const text = options.text("sandbox");
  const wanted = (["auto", "bubblewrap", "unshare"] as const).find((kind) => kind === text);
  if (wanted === undefined) {
    throw new InvalidError("options.value", "--sandbox must be auto, bubblewrap or unshare");
  }
  const found = await chooseSandbox(wanted);
  if (found.kind !== "off") return found;
  const why = `this host cannot isolate a server (${found.detail}). --no-sandbox runs it without`;
  throw new UnavailableError("server.no-sandbox", why, "none");
}

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("server", name, logLevelOf(options));
  const gateway = options.address("gateway");
  const identity = readIdentity(options.text("identity"), `server-${name}`);
  const agent = {
    threads: options.number("threads", 1, 1024),
    parallel: options.number("parallel", 1, 1024),
  };
  const memoryBytes = options.number("memory", 1, 2 ** 24) * 2 ** 20;
  const isolation = await isolationOf(options);
  const level = isolation.kind === "off" ? "warn" : "info";
  logger.log(level, "server.isolation", { kind: isolation.kind, detail: isolation.detail });
  const box = { argv: agentArgv(agent), memoryBytes };
  const bare = localPower({ name, isolation, logger, clock: systemClock, box });
  const power = options.has("engineBuild")
    ? withCheckedEngine(bare, Buffer.from(fromHex(options.text("engineBuild"), 32)))
    : bare;
  if (options.flag("json")) {
    process.stdout.write(`${JSON.stringify({ event: "ready", isolation: isolation.kind })}\n`);
  } else {
    process.stdout.write(`weir server ${name}: isolation ${isolation.kind}; ${isolation.detail}\n`);
  }
  const host = new ServerHost(power, () => dial(options, gateway, identity), logger);
  const running = host.run();
  await Promise.race([untilStopped(), running]);
  await host.stop();
  await running;
  return 0;
}

function dial(
  options: Options,
  gateway: { host: string; port: number },
  identity: TlsIdentity,
): Promise<Wire> {
  const expectName = options.has("gatewayName") ? { expectName: options.text("gatewayName") } : {};
  return dialTls({ ...gateway, identity, expect: "gateway", ...expectName });
}

/** One connection, one server, one at a time. */
class ServerHost {
  readonly #power: Power;
  readonly #dial: () => Promise<Wire>;
  readonly #logger: Logger;
  readonly #stopping = new AbortController();
  #server: PoweredServer | null = null;
  #link: Wire | null = null;

  constructor(power: Power, dialGateway: () => Promise<Wire>, logger: Logger) {
    this.#power = power;
    this.#dial = dialGateway;
    this.#logger = logger;
  }

  /** Until stopped: dial, serve, kill, pause, again. Rejects when a server cannot be ended. */
  async run(): Promise<void> {
    let pauseMs = pausesMs.first;
    while (!this.#stopping.signal.aborted) {
      try {
        this.#link = await this.#dial();
        await this.#session(this.#link);
        pauseMs = pausesMs.first;
      } catch (error) {
        if (!(error instanceof UnavailableError) || error.effect === "unknown") throw error;
        this.#logger.log("warn", "server.unavailable", { why: error.message });
        pauseMs = Math.min(pausesMs.longest, 2 * pauseMs);
      }
      await this.#pause(pauseMs);
    }
  }

  async #session(link: Wire): Promise<void> {
    if (this.#stopping.signal.aborted) {
      link.close("the server's host stops");
      return;
    }
    this.#logger.log("info", "server.connected", { gateway: link.peer.name });
    const dropped = new Promise<string>((resolve) => {
      link.onClose(resolve);
    });
    const server = await this.#power.on().catch((error: unknown) => {
      link.close("the server cannot be started");
      throw error;
    });
    this.#server = server;
    bridgeWires(link, server.wire);
    const reason = await Promise.race([dropped, server.gone]);
    link.close(reason);
    // Nothing new starts until nothing of the old one is left.
    await server.kill();
    this.#server = null;
    this.#logger.log("info", "server.ended", { reason });
  }

  #pause(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = systemClock.after(ms, done);
      signal.addEventListener("abort", done);
    });
  }

  /** Drops the link and ends the server. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#link?.close("the server's host stops");
    await this.#server?.kill();
  }
}
