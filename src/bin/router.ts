/** `weir router`: the OpenAI-compatible front door of a site. */
import { systemClock } from "../adapter/clock.ts";
import { httpLimits, listenHttp, soon, type HttpLimits } from "../adapter/http/server.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import {
  dialTls,
  listenTls,
  readIdentity,
  type Listener,
  type TlsIdentity,
} from "../adapter/tls.ts";
import { InvalidError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import type { RouterStatus } from "../format/status.ts";
import type { Whitelist } from "../format/whitelist.ts";
import type { Wire } from "../format/wire.ts";
import { modelsOf } from "../router/openai.ts";
import { Router, routerLimits, type RouterLimits } from "../router/serve.ts";
import { helpText, parseAddress, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { trustFrom, trustSpecs } from "./trust.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  name: { kind: "text", help: "name of this router, as in its certificate", default: "r1" },
  listen: { kind: "text", help: "HOST:PORT for clients (plain HTTP)", required: true },
  gateway: { kind: "list", help: "NAME=HOST:PORT of a gateway", required: true },
  identity: { kind: "text", help: "folder of router-NAME.crt, .key and ca.crt", required: true },
  ...trustSpecs,
  observe: { kind: "text", help: "HOST:PORT for observers (mutual TLS); none if left out" },
  queueMs: {
    kind: "number",
    help: "how long a request waits for a gateway that is free, milliseconds",
    default: limits.routerQueueMs,
  },
  graceMs: {
    kind: "number",
    help: "how long requests may take to finish when the router stops, milliseconds",
    default: 10_000,
  },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

export interface RouterStart {
  readonly name: string;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly whitelist: Whitelist;
  readonly gateways: readonly string[];
  /** Connects to a gateway by name; rejects with UnavailableError. */
  readonly dial: (gateway: string) => Promise<Wire>;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly limits?: Partial<RouterLimits>;
  readonly httpLimits?: Partial<HttpLimits>;
}

export interface RunningRouter {
  readonly port: number;
  status(): RouterStatus;
  /** Lets requests finish for at most `graceMs`, then drops what is left. */
  close(graceMs: number): Promise<void>;
}

/** Starts a router in this process. Rejects with UnavailableError when its port cannot be had. */
export async function startRouter(start: RouterStart): Promise<RunningRouter> {
  let connections = (): number => 0;
  const router = new Router({
    name: start.name,
    models: modelsOf(start.whitelist),
    gateways: start.gateways,
    dial: start.dial,
    clock: start.clock ?? systemClock,
    logger: start.logger,
    soon,
    limits: { ...routerLimits, ...start.limits },
    connections: () => connections(),
  });
  const listener = await listenHttp({
    host: start.host,
    port: start.port,
    handler: router,
    limits: { ...httpLimits, ...start.httpLimits },
  });
  connections = (): number => listener.connections;
  router.start();
  return {
    port: listener.port,
    status: () => router.status(),
    close: async (graceMs): Promise<void> => {
      router.beginClose();
      await listener.close(graceMs);
      router.stop();
    },
  };
}

/** Runs a router until SIGINT or SIGTERM. Returns the exit code. */
export function runRouter(argv: string[]): Promise<number> {
  return withErrors("weir router", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      const summary = "Serve the OpenAI API to clients and route their requests to gateways.";
      process.stdout.write(helpText("weir router [options]", summary, specs));
      return 0;
    }
    return serve(options);
  });
}

interface GatewayAddress {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** `NAME=HOST:PORT`; the name is also the one in the gateway's tags. */
function gatewayAddress(text: string): GatewayAddress {
  const match = /^([a-z0-9][a-z0-9-]{0,30})=(.+)$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new InvalidError("options.gateway", `--gateway must be NAME=HOST:PORT, not "${text}"`);
  }
  return { name: match[1], ...parseAddress(match[2], "--gateway") };
}

function gatewaysOf(options: Options): Map<string, GatewayAddress> {
  const gateways = new Map<string, GatewayAddress>();
  for (const gateway of options.list("gateway").map(gatewayAddress)) {
    if (gateways.has(gateway.name)) {
      throw new InvalidError("options.gateway", `--gateway: "${gateway.name}" is given twice`);
    }
    gateways.set(gateway.name, gateway);
  }
  return gateways;
}

function dialer(
  gateways: ReadonlyMap<string, GatewayAddress>,
  identity: TlsIdentity,
): (name: string) => Promise<Wire> {
  return (name) => {
    const at = gateways.get(name);
    if (at === undefined) throw new InvalidError("options.gateway", `no gateway named "${name}"`);
    const { host, port } = at;
    return dialTls({ host, port, identity, expect: "gateway", expectName: name });
  };
}

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("router", name, logLevelOf(options));
  const gateways = gatewaysOf(options);
  const identity = readIdentity(options.text("identity"), `router-${name}`);
  const graceMs = options.number("graceMs", 0, 600_000);
  const router = await startRouter({
    name,
    ...options.address("listen"),
    whitelist: trustFrom(options).whitelist,
    gateways: [...gateways.keys()],
    dial: dialer(gateways, identity),
    logger,
    limits: { queueMs: options.number("queueMs", 0, 600_000) },
  });
  const observers = await observe(options, identity, router, logger);
  announceReady(router.port, observers === null ? {} : { observe: observers.port });
  await untilStopped();
  await router.close(graceMs);
  await observers?.close();
  return 0;
}

async function observe(
  options: Options,
  identity: TlsIdentity,
  router: RunningRouter,
  logger: Logger,
): Promise<Listener | null> {
  if (!options.has("observe")) return null;
  return listenTls({
    ...options.address("observe"),
    identity,
    accept: ["observer", "operator"],
    onWire: (wire) => {
      serveObservers(wire, () => router.status(), systemClock);
    },
    onRefused: (reason) => {
      logger.log("warn", "router.peer-refused", { reason });
    },
  });
}
