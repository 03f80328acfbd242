/** A site from its first process to its last. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UnavailableError } from "../../base/assert.ts";
import type { Logger } from "../../base/report.ts";
import type { GatewayStatus, RoleStatus } from "../../format/status.ts";
import type { Announcer, UpSummary } from "./announce.ts";
import { watchRole, type Watch } from "./client.ts";
import { homeFolder, type SiteConfig } from "./config.ts";
import { writeAtomic } from "./files.ts";
import type { DataPaths } from "./paths.ts";
import {
  endpointOf,
  pageUrlOf,
  planSite,
  simulatedParts,
  stopOrder,
  type PlannedRole,
} from "./plan.ts";
import type { SetUp } from "./setup.ts";
import type { StopSignals } from "./signals.ts";
import type { SiteFile, SiteRole } from "./site-file.ts";
import { serverState, simulatedList } from "./site-view.ts";
import { romDigest } from "../device/manifest.ts";
import { Supervisor, type RoleSpec } from "./supervisor.ts";

export interface RunSite {
  readonly config: SiteConfig;
  readonly paths: DataPaths;
  readonly setUp: SetUp;
  readonly port: number;
  readonly pagePort: number;
  readonly logPort: number;
  readonly agent: string | undefined;
  readonly announcer: Announcer;
  readonly logger: Logger;
  readonly stop: StopSignals;
}

/** After this the summary is printed with whatever states the servers have. */
const summaryAfterMs = 55_000;

const weirScript = fileURLToPath(new URL("../weir.ts", import.meta.url));
const romScript = fileURLToPath(new URL("../../boot/rom.ts", import.meta.url));

/** The command line of a role: a gateway starts through its device's first stage, whose digest is looked at first. */
function launchLine(spec: RoleSpec, config: string, rom: string): string[] {
  const node = [process.execPath, "--disable-warning=ExperimentalWarning"];
  const options = ["--config", config, "--die-with-stdin"];
  if (spec.fuses === undefined) return [...node, weirScript, spec.command, ...options];
  if (romDigest() === rom) return [...node, romScript, "--fuses", spec.fuses, "--", ...options];
  const text = "boot refused: the first stage is not the one that both parties signed\n";
  return [...node, "-e", `process.stderr.write(${JSON.stringify(text)}); process.exit(78)`];
}

class RunningSite {
  readonly #o: RunSite;
  readonly #supervisor: Supervisor;
  readonly #stages: PlannedRole[][];
  readonly #startedMs = Date.now();
  readonly #statuses = new Map<string, RoleStatus | null>();
  readonly #states = new Map<string, string>();
  readonly #alarms = new Set<string>();
  readonly #watches: Watch[] = [];
  readonly #serving = Promise.withResolvers<undefined>();

  constructor(options: RunSite) {
    this.#o = options;
    this.#supervisor = new Supervisor({
      configFolder: options.paths.config,
      logFolder: options.paths.logs,
      logger: options.logger,
      launch: (spec, file) => launchLine(spec, file, options.setUp.rom),
      onChange: () => {
        this.#record();
      },
    });
    const portOf = (key: string): number =>
      this.#supervisor.states().find((state) => state.key === key)?.ready?.observe ?? 0;
    this.#stages = planSite({ ...options, portOf });
  }

  get #plan(): PlannedRole[] {
    return this.#stages.flat();
  }

  #roles(): SiteRole[] {
    const states = this.#supervisor.states();
    return this.#plan.map(({ key, role, name }) => {
      const state = states.find((candidate) => candidate.key === key);
      return {
        key,
        role,
        name,
        phase: state?.phase ?? "stopped",
        pid: state?.pid ?? null,
        port: state?.ready?.observe ?? null,
        restarts: state?.restarts ?? 0,
      };
    });
  }

  /** Writes site.json: what runs now, for the other commands. */
  #record(): void {
    const { config, setUp, paths } = this.#o;
    this.#tellBricked();
    const file: SiteFile = {
      format: 1,
      startedMs: this.#startedMs,
      endpoint: endpointOf(config, this.#o.port),
      page: pageUrlOf(config, this.#o.pagePort),
      modelId: setUp.entry.modelId,
      model: config.model,
      trust: setUp.trust,
      epsilon: config.epsilon,
      simulated: simulatedParts(this.#o.agent, setUp.trust.byHand),
      roles: this.#roles(),
    };
    writeAtomic(paths.site, `${JSON.stringify(file, null, 2)}\n`, 0o600);
  }

  #tellBricked(): void {
    for (const { key, name, phase } of this.#roles()) {
      if (phase !== "bricked" || this.#states.get(key) === "BRICKED") continue;
      this.#states.set(key, "BRICKED");
      const cure = `weir ceremony renew ${name} --data ${this.#o.paths.root}`;
      this.#o.announcer.note(
        `${name} is BRICKED: its secret is gone for good; a new device: ${cure}`,
      );
    }
  }

  async start(): Promise<void> {
    for (const stage of this.#stages) {
      if (this.#o.stop.wasAsked) return;
      await Promise.all(stage.map((role) => this.#startRole(role)));
    }
  }

  async #startRole(role: PlannedRole): Promise<void> {
    try {
      await this.#supervisor.start(role);
    } catch (error) {
      const bricked = this.#roles().some(
        ({ key, phase }) => key === role.key && phase === "bricked",
      );
      if (!bricked || !(error instanceof UnavailableError)) throw error;
      // The others serve on; a bricked device is not this command's to bring back.
      this.#o.announcer.note(error.message);
      return;
    }
    this.#o.announcer.role(role.key, "started");
    if (role.role !== "gateway" && role.role !== "recomputer") return;
    const watch = watchRole(
      this.#o.paths.keys,
      () => this.#roles().find(({ key }) => key === role.key),
      (status) => {
        this.#heard(role, status);
      },
    );
    this.#watches.push(watch);
  }

  #heard(role: PlannedRole, status: RoleStatus | null): void {
    this.#statuses.set(role.key, status);
    if (this.#o.stop.wasAsked) return;
    if (status?.role === "gateway" || status?.role === "recomputer") {
      for (const alarm of status.alarms) {
        const id = `${role.key}/${alarm.id}`;
        // Alarms of earlier runs stand in the status; here only what happens now is told.
        const fresh = alarm.atMs >= this.#startedMs && !this.#alarms.has(id);
        if (fresh) this.#o.announcer.alarm(alarm);
        this.#alarms.add(id);
      }
    }
    if (role.role !== "gateway") return;
    const gateway = this.#gatewayStatus(role.key);
    const state = serverState(gateway);
    if (this.#states.get(role.key) !== state) this.#o.announcer.server(role.name, gateway);
    this.#states.set(role.key, state);
    const gateways = this.#plan.filter((planned) => planned.role === "gateway");
    const settled = gateways.every(({ key }) => {
      const word = this.#states.get(key);
      return word === "SERVING" || word === "HALTED" || word === "BRICKED";
    });
    if (settled) this.#serving.resolve(undefined);
  }

  #gatewayStatus(key: string): GatewayStatus | null {
    const status = this.#statuses.get(key);
    return status?.role === "gateway" ? status : null;
  }

  /** Resolves when every server serves or is halted, or when waiting longer says nothing more. */
  async settled(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, summaryAfterMs, undefined);
    await Promise.race([this.#serving.promise, promise, this.#o.stop.asked]);
    clearTimeout(timer);
  }

  summary(): UpSummary {
    const { config, paths, setUp, port, pagePort } = this.#o;
    const endpoint = endpointOf(config, port);
    const { modelId } = setUp.entry;
    const body = { model: modelId, messages: [{ role: "user", content: "Tell me a story." }] };
    const gateways = this.#plan.filter(({ role }) => role === "gateway");
    return {
      endpoint,
      page: pageUrlOf(config, pagePort),
      modelId,
      epsilon: config.epsilon,
      trust: setUp.trust,
      servers: gateways.map(({ key, name }) => ({ name, status: this.#gatewayStatus(key) })),
      simulated: simulatedList(simulatedParts(this.#o.agent, setUp.trust.byHand), [
        ...this.#statuses.values(),
      ]),
      command: process.cwd() === resolve(homeFolder) ? "./weir" : "weir",
      where: paths.root === resolve(".weir") ? "" : ` --data ${paths.root}`,
      curl: `curl ${endpoint}/chat/completions -H 'content-type: application/json' -d '${JSON.stringify(body)}'`,
    };
  }

  /** In order; the second time at once. */
  async stop(): Promise<void> {
    const { announcer, stop, config } = this.#o;
    for (const watch of this.#watches) watch.close();
    announcer.stopping(false);
    stop.onAgain(() => {
      announcer.stopping(true);
      this.#supervisor.kill();
    });
    await this.#supervisor.stop(stopOrder(config));
    this.#record();
    announcer.stopped();
  }

  kill(): void {
    this.#supervisor.kill();
  }
}

/**
 * Starts all roles, says when they serve, and waits to be stopped. Throws UnavailableError when a
 * role cannot be started; no process is left then.
 */
export async function runSite(options: RunSite): Promise<number> {
  const site = new RunningSite(options);
  // The last resort of a supervisor that dies of a bug; roles also notice it by their stdin.
  const killAll = (): void => {
    site.kill();
  };
  process.once("exit", killAll);
  try {
    await Promise.race([site.start(), options.stop.asked]);
    if (!options.stop.wasAsked) await site.settled();
    if (!options.stop.wasAsked) options.announcer.up(site.summary());
    await options.stop.asked;
  } finally {
    await site.stop();
    process.removeListener("exit", killAll);
  }
  return 0;
}
