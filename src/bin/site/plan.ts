/** Which roles a site on one machine has, in the order of their start, and each role's configuration. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fromHex } from "../../base/bytes.ts";
import { publicKeyHex } from "../../base/sign.ts";
import type { SiteConfig } from "./config.ts";
import { devicePaths } from "../device/folder.ts";
import { deviceFolder } from "./devices.ts";
import { formatVkey, noteKey, noteKeyType } from "../../format/note.ts";
import { witnessKeyName } from "../log-keys.ts";
import { drawKeyOf } from "../draw.ts";
import { readIfThere } from "./files.ts";
import { deviceKeyFile, logKeyFile, readSigningKey, seedFile } from "./keys.ts";
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
  /** Where the publisher serves the logs. */
  readonly logPort: number;
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
  const { whitelist, trustRoot } = paths;
  return { whitelist, trustRoot, rootAnchor: setUp.trust.anchor };
}

function local(before: Ready | null): string {
  return `127.0.0.1:${before?.port ?? 0}`;
}

function webhook({ config }: PlanInput): Record<string, unknown> {
  return config.webhook === undefined ? {} : { webhook: config.webhook };
}

function depot(input: PlanInput): PlannedRole {
  const model = [`${input.setUp.entry.modelId}=${input.config.model}`];
  const deviceKey = gatewayNames(input.config.servers).map(
    (name) => `${name}=${deviceKeyFile(input.paths.keys, name)}`,
  );
  return {
    key: "depot",
    role: "depot",
    name: "depot",
    command: "depot",
    configure: (before) => ({ ...common(input, "depot"), listen: local(before), model, deviceKey }),
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
      ...warning(input),
      ...webhook(input),
      listen: local(before),
      orderKey: seedFile(paths.keys, "recomputer-order"),
      model: [`${setUp.entry.modelId}=${config.model}`],
      profile: [paths.profile],
      db: join(paths.recomputer, "verdicts.sqlite"),
      releaseKeys: [publicKeyHex(readSigningKey(paths.keys, "operator"))],
      ...watchedDraws(input),
      ...(config.policy === undefined ? {} : { policy: config.policy }),
      replay: config.replay,
      sandbox: config.sandbox,
    }),
  };
}

function warning({ config }: PlanInput): Record<string, unknown> {
  return { expiryWarningDays: config.expiryWarningDays };
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
    fuses: devicePaths(deviceFolder(paths, name)).fuses,
    configure: (before) => ({
      ...common(input, name),
      ...trusted(input),
      ...warning(input),
      ...webhook(input),
      listen: local(before),
      data: join(paths.gateways, name),
      device: deviceFolder(paths, name),
      ...witnessed(input),
      model: setUp.entry.modelId,
      depot: `127.0.0.1:${input.portOf("depot")}`,
      recomputer: `127.0.0.1:${input.portOf("recomputer")}`,
      recomputerName: "recomputer",
      shutdownKeys: [orderKey("recomputer-order")],
      releaseKeys: [orderKey("operator")],
      epsilon: config.epsilon,
      tickMs: config.tickMs,
      wholeReplies: config.wholeReplies,
      ringBytes: config.ringMiB * 1_048_576,
      outboxPairs: config.outboxPairs,
      eraseBytes: config.eraseMiB * 1_048_576,
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

/** The parties, each with a witness. */
const witnessParties = ["a", "b"] as const;

/** `PARTY=VKEY` of both witnesses. */
function witnessKeys({ paths }: PlanInput): string[] {
  return witnessParties.map((party) => {
    const publicKey = publicKeyHex(readSigningKey(paths.keys, `witness-${party}`));
    const name = witnessKeyName(party, publicKey);
    return `${party}=${formatVkey(noteKey(name, noteKeyType.cosignature, publicKey))}`;
  });
}

function rounds({ config }: PlanInput): Record<string, unknown> {
  return { roundSeconds: config.roundSeconds, roundPairs: config.roundPairs };
}

/** `PARTY=HEX`, the key by which a party's witness signs its part of the draw. */
function drawKeyOfParty({ paths }: PlanInput, party: (typeof witnessParties)[number]): string {
  const seed = fromHex((readIfThere(seedFile(paths.keys, `witness-${party}`)) ?? "").trim(), 32);
  return `${party}=${publicKeyHex(drawKeyOf(seed))}`;
}

/** What the recomputer is told of the gateways' draws. */
function watchedDraws(input: PlanInput): Record<string, unknown> {
  const { config, paths } = input;
  if (!config.witnesses) return {};
  const log = perGateway(input, (name) => keyIn(logKeyFile(paths.keys, name)));
  const epsilonMin = config.epsilon;
  return { log, witness: witnessKeys(input), epsilonMin, ...rounds(input) };
}

/** What a gateway is told of the witnesses of its log. */
function witnessed(input: PlanInput): Record<string, unknown> {
  const { witnesses, logBacklog } = input.config;
  if (!witnesses) return {};
  const drawKey = witnessParties.map((party) => drawKeyOfParty(input, party));
  return { witness: witnessKeys(input), logBacklog, drawKey, ...rounds(input) };
}

function perGateway(input: PlanInput, value: (name: string) => string): string[] {
  return gatewayNames(input.config.servers).map((name) => `${name}=${value(name)}`);
}

function keyIn(path: string): string {
  return (readIfThere(path) ?? "").trim();
}

function witness(input: PlanInput, party: (typeof witnessParties)[number]): PlannedRole {
  const { paths, config } = input;
  const key = `witness-${party}` as const;
  return {
    key,
    role: "witness",
    name: party,
    command: "witness",
    configure: (before) => ({
      party,
      logLevel: config.logLevel,
      listen: local(before),
      key: seedFile(paths.keys, key),
      data: join(paths.log, key),
      source: `http://127.0.0.1:${input.logPort}`,
      log: perGateway(input, (name) => keyIn(logKeyFile(paths.keys, name))),
      device: perGateway(input, (name) => keyIn(deviceKeyFile(paths.keys, name))),
      drawKey: [drawKeyOfParty(input, party === "a" ? "b" : "a")],
    }),
  };
}

function publisher(input: PlanInput): PlannedRole {
  const { paths } = input;
  return {
    key: "publisher",
    role: "publisher",
    name: "publisher",
    command: "publisher",
    configure: () => ({
      ...common(input, "publisher"),
      listen: `127.0.0.1:${input.logPort}`,
      data: join(paths.log, "publisher"),
      gateway: perGateway(input, (name) => `127.0.0.1:${input.portOf(`gateway-${name}`)}`),
      log: perGateway(input, (name) => keyIn(logKeyFile(paths.keys, name))),
      witness: witnessParties.map(
        (party) => `${party}=http://127.0.0.1:${input.portOf(`witness-${party}`)}`,
      ),
      witnessKey: witnessKeys(input),
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
      simulated: simulatedParts(input.agent, input.setUp.trust.byHand),
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
    [
      depot(input),
      recomputer(input),
      ...(input.config.witnesses ? witnessParties.map((party) => witness(input, party)) : []),
    ],
    gatewayNames(input.config.servers).map((name, i) => gateway(input, name, i)),
    [...(input.config.witnesses ? [publisher(input)] : []), router(input)],
    [page(input)],
  ];
}

/** The order of an orderly stop: no new requests, then servers off, then the rest. */
export function stopOrder(config: SiteConfig): string[][] {
  return [
    ["router"],
    gatewayNames(config.servers).map((name) => `gateway-${name}`),
    ["page", "recomputer", "depot", "publisher", "witness-a", "witness-b"],
  ];
}

/** What is simulated about the site itself; roles report the rest. */
export function simulatedParts(agent: string | undefined, byHand: boolean): string[] {
  const trial = "party A and party B: both keys were made on this machine and lie in one folder";
  const parts = [
    ...(byHand ? [] : [trial]),
    "separate machines: every role is a process of one user on one computer",
  ];
  if (agent !== undefined) {
    parts.unshift("ATTACK AGENT: servers run a program that turns into an attacker on request");
  }
  return parts;
}
