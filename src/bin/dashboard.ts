/** `weir page`: watches roles and serves the status page. Wiring only; the parts are in dashboard/. */
import { systemClock } from "../adapter/clock.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { dialTls, readIdentity, type TlsIdentity } from "../adapter/tls.ts";
import { InvalidError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { pageAssets } from "../dashboard/assets.ts";
import {
  initialFeed,
  reduceFeed,
  targetKey,
  type FeedEvent,
  type Moment,
  type Target,
} from "../dashboard/feed.ts";
import { joinSite } from "../dashboard/join.ts";
import { watchedRoles } from "../dashboard/read.ts";
import { servePage } from "../dashboard/serve.ts";
import { watchRole } from "../dashboard/watch.ts";
import { helpText, parseAddress, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  listen: {
    kind: "text",
    help: "HOST:PORT where browsers find the page; port 0 takes a free one",
    default: "127.0.0.1:8089",
  },
  identity: { kind: "text", help: "folder of observer-NAME.crt, .key and ca.crt", required: true },
  name: { kind: "text", help: "name of this observer, as in its certificate", default: "page" },
  watch: {
    kind: "list",
    help: `ROLE/NAME=HOST:PORT, a role to watch; ROLE is one of ${watchedRoles.join(", ")}`,
    required: true,
  },
  endpoint: {
    kind: "text",
    help: "URL where clients send requests, to show on the page",
    default: "",
  },
  simulated: {
    kind: "list",
    help: "something about the site itself that is simulated, in words, to show on the page",
  },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
  json: { kind: "flag", help: "print only the JSON line that says where the page is" },
};

interface Address {
  readonly host: string;
  readonly port: number;
}

export interface WatchedTarget extends Target, Address {}

export interface DashboardOptions {
  readonly listen: Address;
  readonly identity: TlsIdentity;
  readonly watch: readonly WatchedTarget[];
  /** Shown as it is; "" shows nothing. */
  readonly endpoint?: string;
  /** What is simulated about the site itself, in words; roles report the rest. */
  readonly simulated?: readonly string[];
  readonly logger?: Logger;
}

export interface Dashboard {
  readonly port: number;
  close(): Promise<void>;
}

function now(): Moment {
  return { wallMs: systemClock.wallMs(), monotonicMs: systemClock.monotonicMs() };
}

/**
 * Watches the roles and serves the page until `close`. Throws UnavailableError `page.listen` when
 * the port cannot be had; roles that cannot be reached are shown so and tried again.
 */
export async function startDashboard(options: DashboardOptions): Promise<Dashboard> {
  let state = initialFeed(options.watch, now());
  const document = (): ReturnType<typeof joinSite> =>
    joinSite(state, options.endpoint ?? "", systemClock.wallMs(), options.simulated);
  const { host, port } = options.listen;
  const server = await servePage({
    host,
    port,
    assets: pageAssets(),
    document,
    clock: systemClock,
  });
  const take = (event: FeedEvent): void => {
    state = reduceFeed(state, event);
    server.changed();
  };
  const watches = options.watch.map((target) => {
    const key = targetKey(target);
    const { role, name: expectName } = target;
    const peer = { host: target.host, port: target.port, expect: role, expectName };
    return watchRole({
      target,
      dial: () => dialTls({ ...peer, identity: options.identity }),
      clock: systemClock,
      onStatus: (status) => {
        take({ kind: "status", key, status, now: now() });
      },
      onDown: (why) => {
        // Each failed attempt comes here; one line for each outage is enough.
        if (state.roles.get(key)?.reach.state !== "unreachable") {
          options.logger?.log("warn", "page.role-down", { peer: key, why });
        }
        take({ kind: "down", key, why, now: now() });
      },
    });
  });
  const seconds = systemClock.every(1000, () => {
    take({ kind: "second", now: now() });
  });
  return {
    port: server.port,
    async close(): Promise<void> {
      seconds.cancel();
      for (const watch of watches) watch.close();
      await server.close();
    },
  };
}

/** Reads `gateway/g1=127.0.0.1:9001`. Throws InvalidError `options.watch`. */
export function parseWatch(text: string): WatchedTarget {
  const match = /^([^/=]*)\/([^/=]*)=(.*)$/.exec(text);
  if (match === null) {
    throw new InvalidError("options.watch", `--watch must be ROLE/NAME=HOST:PORT, not "${text}"`);
  }
  const [, role, name = "", address = ""] = match;
  const known = watchedRoles.find((candidate) => candidate === role);
  if (known === undefined) {
    const roles = watchedRoles.join(", ");
    throw new InvalidError("options.watch", `--watch ${text}: "${role ?? ""}" is none of ${roles}`);
  }
  if (!/^[a-z0-9][a-z0-9-]{0,30}$/.test(name)) {
    throw new InvalidError("options.watch", `--watch ${text}: "${name}" is no role name`);
  }
  return { role: known, name, ...parseAddress(address, `--watch ${text}`) };
}

function targetsOf(options: Options): WatchedTarget[] {
  const targets = options.list("watch").map(parseWatch);
  const keys = targets.map(targetKey);
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice !== undefined) throw new InvalidError("options.watch", `${twice} is watched twice`);
  if (targets.length === 0) throw new InvalidError("options.watch", "--watch names no role");
  return targets;
}

/** `weir page`. Serves until SIGINT or SIGTERM. Returns the exit code. */
export function runDashboard(argv: readonly string[]): Promise<number> {
  return withErrors("weir page", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      const summary = "Serve the status page: one live view of a site, read-only.";
      process.stdout.write(helpText("weir page [options]", summary, specs));
      return 0;
    }
    const name = options.text("name");
    const listen = options.address("listen");
    const dashboard = await startDashboard({
      listen,
      identity: readIdentity(options.text("identity"), `observer-${name}`),
      watch: targetsOf(options),
      endpoint: options.text("endpoint"),
      simulated: options.list("simulated"),
      logger: jsonLogger("page", name, logLevelOf(options)),
    });
    const host = listen.host.includes(":") ? `[${listen.host}]` : listen.host;
    const url = `http://${host}:${dashboard.port}/`;
    announceReady(dashboard.port, { url });
    if (!options.flag("json")) process.stdout.write(`status page: ${url}\n`);
    await untilStopped();
    await dashboard.close();
    return 0;
  });
}
