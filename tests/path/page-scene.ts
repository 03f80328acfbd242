/**
 * A site of role endpoints for the status page's tests: real TLS and real STATUS frames, but what
 * the roles say is set by the test.
 */
import { systemClock } from "../../src/adapter/clock.ts";
import { serveObservers, type Observed } from "../../src/adapter/observe.ts";
import { createAuthority, issue, type PemPair } from "../../src/adapter/pki.ts";
import { listenTls, type Listener, type TlsIdentity } from "../../src/adapter/tls.ts";
import type { WatchedTarget } from "../../src/bin/dashboard.ts";
import { defaultPolicy, defaultRelease, ladderOf } from "../../src/format/policy.ts";
import { fleetBudget } from "../../src/verification/fleet.ts";
import type { WatchedRole } from "../../src/dashboard/read.ts";
import type {
  Alarm,
  DepotStatus,
  GatewayCarriers,
  GatewayEvidence,
  GatewayStatus,
  RecomputerStatus,
  RoleStatus,
  RouterStatus,
  VerdictSummary,
} from "../../src/format/status.ts";

const host = "127.0.0.1";

export function gatewayStatus(name: string, more: Partial<GatewayStatus> = {}): GatewayStatus {
  return {
    role: "gateway",
    name,
    modelId: "weir-demo-8m",
    mode: "SERVING",
    ready: true,
    draining: false,
    halted: null,
    epoch: 1,
    boots: 1,
    lastKillReason: "",
    upload: { bitsForwarded: 0, bitsTotal: 8 * 15_800_000 },
    inflight: 0,
    pairs: { logged: 0, sampled: 0, cutOff: 0 },
    tokens: 0,
    log: { size: 0, root: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    outbox: { waiting: 0, capacity: 1024 },
    ring: { bytes: 0, capacity: 268_435_456, pairsForgotten: 0, forgottenThrough: "" },
    recomputer: { connected: true, silentMs: 120 },
    isolation: { kind: "unshare", detail: "user, network, mount and pid namespaces" },
    simulated: ["power: a process group stands for the power feed"],
    alarms: [],
    ...more,
  };
}

export function verdict(
  gateway: string,
  number: number,
  atMs: number,
  more: Partial<VerdictSummary> = {},
): VerdictSummary {
  return {
    tag: `${gateway}.${(0x10000000000 + number).toString(16).padStart(16, "0")}`,
    gateway,
    atMs,
    kind: "pass",
    findings: [],
    scores: { tokens: 96, mismatches: 1, meanMargin: 0.004, maxMargin: 0.11 },
    ...more,
  };
}

const fleetLogE = fleetBudget(defaultPolicy.fleet).logE;
/** As a recomputer tells the default policy. */
export const toldPolicy = {
  ladder: ladderOf(defaultPolicy, fleetLogE),
  capacity: defaultPolicy.capacity,
  release: defaultRelease,
  fleet: { ...defaultPolicy.fleet, yearsBetween: fleetBudget(defaultPolicy.fleet).yearsBetween },
};

/** Evidence of an honest server of which 40 pairs were audited; `more` says what is different. */
export function evidence(gateway: string, more: Partial<GatewayEvidence> = {}): GatewayEvidence {
  const detector = (id: string, title: string): GatewayEvidence["detectors"][number] => {
    return { id, title, logE: -1.1, logChange: -0.4 };
  };
  return {
    gateway,
    pairs: 40,
    tokens: 3840,
    logE: -0.9,
    logEThreshold: fleetLogE,
    logChange: -0.3,
    logChangeThreshold: fleetLogE,
    step: "none",
    steps: [],
    detectors: [
      detector("margin", "how far the tokens lie from the recomputed draw"),
      detector("mismatch", "share of tokens that differ from the recomputed draw"),
    ],
    capacity: {
      tokens: 3840,
      bitsPerToken: 0.012,
      upperBitsPerToken: 5.2,
      upperBitsPerSecond: 740,
      limitBitsPerToken: defaultPolicy.capacity.bitsPerToken,
    },
    ...more,
  };
}

/** What a recomputer makes of a gateway's counts: a stream of 50 tokens a second. */
export function carriers(gateway: string): GatewayCarriers {
  const counts = { seconds: 600, tokens: 30_000, release: 80_000, failures: 40, ends: 3000 };
  return { gateway, ...counts, bitsPerToken: 2.77, bitsPerSecond: 140 };
}

export function recomputerStatus(more: Partial<RecomputerStatus> = {}): RecomputerStatus {
  return {
    role: "recomputer",
    name: "r1",
    engine: "ready",
    queued: 0,
    judged: { pass: 0, fail: 0, unable: 0 },
    tokens: 0,
    msPerToken: 0.42,
    marginLimit: { meanMax: 0.012, meanSpread: 0.14 },
    policy: toldPolicy,
    recent: [],
    alarms: [],
    simulated: [],
    ...more,
  };
}

export function routerStatus(more: Partial<RouterStatus> = {}): RouterStatus {
  const counts = { inflight: 0, connections: 0, requests: 0, errors: 0 };
  return { role: "router", name: "main", ...counts, gateways: [], ...more };
}

export function depotStatus(): DepotStatus {
  const models = [{ modelId: "weir-demo-8m", sizeBytes: 15_800_000 }];
  return { role: "depot", name: "d1", models, uploads: 3, bytesSent: 47_400_000 };
}

export function failAlarm(gateway: string, atMs: number): Alarm {
  return {
    id: `fail-${gateway}`,
    atMs,
    severity: "critical",
    kind: "verdict.fail",
    subject: `gateway/${gateway}`,
    text: `pair ${gateway}.0000010000000007 failed: token.margin: token 31 lies 3 nats below`,
  };
}

/** One role's endpoint: tells whoever watches what `status` is now. */
export class FakeRole {
  readonly #identity: TlsIdentity;
  readonly #observed = new Set<Observed>();
  #listener: Listener | null = null;
  #status: RoleStatus;
  port = 0;

  constructor(identity: TlsIdentity, status: RoleStatus) {
    this.#identity = identity;
    this.#status = status;
  }

  get target(): WatchedTarget {
    const { role, name } = this.#status;
    return { role, name, host, port: this.port };
  }

  async start(): Promise<void> {
    this.#listener = await listenTls({
      host,
      port: this.port,
      identity: this.#identity,
      accept: ["observer"],
      onWire: (wire) => {
        const observed = serveObservers(wire, () => this.#status, systemClock);
        this.#observed.add(observed);
        wire.onClose(() => this.#observed.delete(observed));
      },
    });
    this.port = this.#listener.port;
  }

  say(status: RoleStatus): void {
    this.#status = status;
    for (const observed of this.#observed) observed.push();
  }

  async stop(): Promise<void> {
    await this.#listener?.close();
    this.#listener = null;
  }
}

export interface Scene {
  readonly observer: TlsIdentity;
  readonly targets: readonly WatchedTarget[];
  /** The role `gateway/g1`. */
  role(key: string): FakeRole;
  close(): Promise<void>;
}

function identity(pair: PemPair, authority: PemPair): TlsIdentity {
  return {
    cert: Buffer.from(pair.cert),
    key: Buffer.from(pair.key),
    ca: Buffer.from(authority.cert),
  };
}

/** Starts an endpoint for each status, with certificates of a fresh authority. */
export async function startScene(statuses: readonly RoleStatus[]): Promise<Scene> {
  const nowMs = systemClock.wallMs();
  const authority = await createAuthority("page-test", nowMs);
  const certify = async (role: WatchedRole | "observer", name: string): Promise<TlsIdentity> =>
    identity(await issue(authority, role, name, nowMs), authority);
  const roles = new Map<string, FakeRole>();
  for (const status of statuses) {
    const role = new FakeRole(await certify(status.role, status.name), status);
    await role.start();
    roles.set(`${status.role}/${status.name}`, role);
  }
  return {
    observer: await certify("observer", "page"),
    targets: [...roles.values()].map(({ target }) => target),
    role(key): FakeRole {
      const found = roles.get(key);
      if (found === undefined) throw new Error(`the scene has no ${key}`);
      return found;
    },
    async close(): Promise<void> {
      await Promise.all([...roles.values()].map((role) => role.stop()));
    },
  };
}
