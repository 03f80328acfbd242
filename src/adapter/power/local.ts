/**
 * Power of a server on this machine: a sandboxed process group, started and ended. It stands in for
 * a power switch and says so; what it does guarantee is that no process and no memory is left.
 */
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/report.ts";
import type { IsolationStatus } from "../../format/status.ts";
import type { Power, PoweredServer } from "../../gateway/power.port.ts";
import { wireOver } from "../link.ts";
import { startBox, type BoxPaths, type BoxSpec } from "../sandbox/box.ts";
import type { Detected } from "../sandbox/detect.ts";
import { packageRoot } from "../sandbox/layout.ts";
import { logSays } from "./says.ts";

export interface LocalPowerOptions {
  /** Name of the server, for its wire and its log lines. */
  readonly name: string;
  /** What `detectSandbox` found. */
  readonly isolation: Detected;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Program, sizes and user; see `agentArgv` for the ordinary program. */
  readonly box: BoxSpec;
}

export interface AgentOptions {
  readonly threads: number;
  readonly parallel: number;
}

/** The command line of the ordinary agent, src/bin/server-agent.ts. */
export function agentArgv(options: AgentOptions): (paths: BoxPaths) => string[] {
  return (paths) => [
    paths.node,
    paths.own(`${packageRoot}/src/bin/server-agent.ts`),
    ...["--fd", "3", "--weights-dir", paths.weights],
    ...["--threads", String(options.threads), "--parallel", String(options.parallel)],
  ];
}

/** Power over one server on this machine. */
export function localPower(options: LocalPowerOptions): Power {
  const isolation: Detected & IsolationStatus = options.isolation;
  return {
    simulated: "server power is a process group on this machine, not a switched outlet",
    async on(): Promise<PoweredServer> {
      const box = await startBox(isolation.kind, options.box);
      logSays(box.says, options.logger, options.clock);
      const wire = wireOver(box.link, { role: "server", name: options.name });
      const gone = box.gone.then(({ reason }) => {
        wire.close(reason);
        return reason;
      });
      return {
        wire,
        isolation,
        gone,
        async kill(): Promise<void> {
          wire.close("power was cut");
          await box.kill();
        },
      };
    },
  };
}
