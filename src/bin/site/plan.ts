/** Which roles a site on one machine has, in the order of their start, and each role's configuration. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { publicKeyHex } from "../../base/sign.ts";
import type { SiteConfig } from "./config.ts";
import { readSigningKey, ringKeyFile, seedFile } from "./keys.ts";
import type { DataPaths } from "./paths.ts";
import { gatewayNames, type SetUp } from "./setup.ts";
import type { SiteRole } from "./site-file.ts";
import type { Ready, RoleSpec } from "./supervisor.ts";

export interface PlannedRole extends RoleSpec {
  readonly role: SiteRole["role"];
  readonly name: string;
}

export interface PlanInput {
  readonly config: SiteConfig;
  readonly paths: DataPaths;
  readonly setUp: SetUp;
  readonly port: number;
  readonly pagePort: number;
  /** Program that servers run instead of the honest agent; only the demonstration names one. */
  readonly agent: string | undefined;
  /** Where a role that was started before listens. */
  readonly portOf: (key: string) => number;
}

/** What all roles read alike. */
function common(input: PlanInput, name: string): Record<string, unknown> {
  return { name, identity: input.paths.keys, logLevel: input.config.logLevel };
}

function trusted({ paths, setUp }: PlanInput): Record<string, unknown> {
  return { whitelist: paths.whitelist, partyA: setUp.parties.a, partyB: setUp.parties.b };
}

function local(before: Ready | null): string {
  return `127.0.0.1:${before?.port ?? 0}`;
}

function webhook({ config }: PlanInput): Record<string, unknown> {
  return config.webhook === undefined ? {} : { webhook: config.webhook };
}

function depot(input: PlanInput): PlannedRole {
  const model = [`${input.setUp.entry.modelId}=${input.config.model}`];
  return {
    key: "depot",
    role: "depot",
    name: "depot",
    command: "depot",
    configure: (before) => ({ ...common(input, "depot"), listen: local(before), model }),
  };
}

function recomputer(input: PlanInput): PlannedRole {
  const { paths, setUp, config } = input;
  return {
    key: "recomputer",
    role: "recomputer",
    name: "recomputer",
    command: "recomputer",
    configure: (before) => ({
      ...common(input, "recomputer"),
      ...trusted(input),
      ...webhook(input),
      listen: local(before),
      orderKey: seedFile(paths.keys, "recomputer-order"),
      model: [`${setUp.entry.modelId}=${config.model}`],
      profile: [paths.profile],
      db: join(paths.recomputer, "verdicts.sqlite"),
      releaseKeys: [publicKeyHex(readSigningKey(paths.keys, "operator"))],
      ...(config.policy === undefined ? {} : { policy: config.policy }),
      replay: config.replay,
      sandbox: config.sandbox,
    }),
  };
}

/** Cores shared out: the servers, and as much as one of them for everything else. */
function threadsOf({ config }: PlanInput): number {
  return config.threads ?? Math.max(1, Math.floor(availableParallelism() / (config.servers + 1)));
}

/** Weights twice (received and loaded), the caches of all sequences, and room for the runtime. */
function memoryOf({ config, setUp }: PlanInput): number {
  if (config.memoryMiB !== undefined) return config.memoryMiB * 1_048_576;
  const weights = setUp.entry.weights.sizeBytes;
  return 1_073_741_824 + Math.ceil(2.5 * weights);
}

function gateway(input: PlanInput, name: string, index: number): PlannedRole {
  const { config, paths, setUp } = input;
  const orderKey = (key: "recomputer-order" | "operator"): string =>
    publicKeyHex(readSigningKey(paths.keys, key));
  return {
    key: `gateway-${name}`,
    role: "gateway",
    name,
    command: "gateway",
    configure: (before) => ({
      ...common(input, name),
      ...trusted(input),
      ...webhook(input),
      listen: local(before),
      data: join(paths.gateways, name),
      ringKey: ringKeyFile(paths.keys, name),
      model: setUp.entry.modelId,
      depot: `127.0.0.1:${input.portOf("depot")}`,
      recomputer: `127.0.0.1:${input.portOf("recomputer")}`,
      recomputerName: "recomputer",
      shutdownKeys: [orderKey("recomputer-order")],
      releaseKeys: [orderKey("operator")],
      epsilon: config.epsilon,
      tickMs: config.tickMs,
      ringBytes: config.ringMiB * 1_048_576,
      outboxPairs: config.outboxPairs,
      flickerSeconds: config.flickerSeconds,
      flickerPairs: config.flickerPairs,
      flickerOffsetSeconds: Math.round((config.flickerSeconds * index) / config.servers),
      power: {
        kind: "sandbox",
        sandbox: config.sandbox,
        ...(input.agent === undefined ? {} : { agent: input.agent }),
        threads: threadsOf(input),
        parallel: config.parallel,
        memoryBytes: memoryOf(input),
      },
    }),
  };
}

function router(input: PlanInput): PlannedRole {
  const { config } = input;
  return {
    key: "router",
    role: "router",
    name: "router",
    command: "router",
    configure: (before) => ({
      ...common(input, "router"),
      ...trusted(input),
      listen: `${config.host}:${input.port}`,
      observe: `127.0.0.1:${before?.observe ?? 0}`,
      gateway: gatewayNames(config.servers).map(
        (name) => `${name}=127.0.0.1:${input.portOf(`gateway-${name}`)}`,
      ),
    }),
  };
}

function page(input: PlanInput): PlannedRole {
  const { config, portOf } = input;
  const watched = [
    ...gatewayNames(config.servers).map((name) => ({ role: "gateway", name })),
    { role: "recomputer", name: "recomputer" },
    { role: "router", name: "router" },
    { role: "depot", name: "depot" },
  ];
  const address = (role: string, name: string): string =>
    `127.0.0.1:${portOf(role === "gateway" ? `gateway-${name}` : role)}`;
  return {
    key: "page",
    role: "page",
    name: "page",
    command: "page",
    configure: () => ({
      name: "page",
      identity: input.paths.keys,
      listen: `${config.host}:${input.pagePort}`,
      endpoint: endpointOf(config, input.port),
      simulated: simulatedParts(input.agent),
      watch: watched.map(({ role, name }) => `${role}/${name}=${address(role, name)}`),
    }),
  };
}

function hostForUrl(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

/** Where clients send requests. */
export function endpointOf(config: SiteConfig, port: number): string {
  return `http://${hostForUrl(config.host)}:${port}/v1`;
}

/** Where browsers find the status page. */
export function pageUrlOf(config: SiteConfig, port: number): string {
  return `http://${hostForUrl(config.host)}:${port}/`;
}

/** The roles in stages: each stage needs the ports of those before it. */
export function planSite(input: PlanInput): PlannedRole[][] {
  return [
    [depot(input), recomputer(input)],
    gatewayNames(input.config.servers).map((name, i) => gateway(input, name, i)),
    [router(input)],
    [page(input)],
  ];
}

/** The order of an orderly stop: no new requests, then servers off, then the rest. */
export function stopOrder(config: SiteConfig): string[][] {
  return [
    ["router"],
    gatewayNames(config.servers).map((name) => `gateway-${name}`),
    ["page", "recomputer", "depot"],
  ];
}

/** What is simulated about the site itself; roles report the rest. */
export function simulatedParts(agent: string | undefined): string[] {
  const parts = [
    "party A and party B: both keys were made on this machine and lie in one folder",
    "separate machines: every role is a process of one user on one computer",
  ];
  if (agent !== undefined) {
    parts.unshift("ATTACK AGENT: servers run a program that turns into an attacker on request");
  }
  return parts;
}
