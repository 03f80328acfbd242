/** The power of a gateway's server, from the `power` object of its configuration (spec/config.md). */
import { systemClock } from "../adapter/clock.ts";
import { checkEngineBuild } from "../adapter/llama/engine-build.ts";
import { agentArgv, localPower } from "../adapter/power/local.ts";
import { remotePower } from "../adapter/power/remote.ts";
import type { BoxPaths, SandboxKind } from "../adapter/sandbox/box.ts";
import { chooseSandbox } from "../adapter/sandbox/detect.ts";
import type { TlsIdentity } from "../adapter/tls.ts";
import { InvalidError } from "../base/assert.ts";
import type { Logger } from "../base/report.ts";
import { Fields, type Json } from "../format/json.ts";
import type { Power } from "../gateway/power.port.ts";
import { parseAddress, type Options } from "./options.ts";

const sandboxKinds: readonly ("auto" | SandboxKind)[] = ["auto", "bubblewrap", "unshare", "off"];

function sandboxKind(text: string): "auto" | SandboxKind {
  const kind = sandboxKinds.find((candidate) => candidate === text);
  if (kind === undefined) {
    throw new InvalidError(
      "power.sandbox",
      `power.sandbox must be one of ${sandboxKinds.join(", ")}`,
    );
  }
  return kind;
}

/** Another program in the server's place (attacks, benches): named by path, said in the status. */
function otherAgent(agent: string, args: readonly string[]): (paths: BoxPaths) => string[] {
  return (paths) => [
    paths.node,
    paths.own(agent),
    ...["--fd", "3", "--weights-dir", paths.weights],
    ...args,
  ];
}

/**
 * Before each power-on the libraries on this host's disk are held against the whitelist entry's build. That
 * finds a wrong installation before pairs fail; of a server that lies it says nothing.
 */
export function withCheckedEngine(power: Power, engineBuild: Buffer): Power {
  return {
    simulated: power.simulated,
    on: async () => {
      await checkEngineBuild(engineBuild);
      return power.on();
    },
    ...(power.off === undefined ? {} : { off: () => power.off?.() ?? Promise.resolve() }),
  };
}

async function openLocal(
  from: Fields,
  name: string,
  logger: Logger,
  engineBuild: Buffer,
): Promise<Power> {
  const wanted = from.optionalText("sandbox", "auto");
  const agent = from.optionalText("agent", "");
  const agentArgs = from.optionalTexts("agentArgs");
  const threads = from.optionalInteger("threads", 1, 1, 1024);
  const parallel = from.optionalInteger("parallel", 8, 1, 4096);
  const memoryBytes = from.optionalInteger("memoryBytes", 2 ** 30, 2 ** 20, 2 ** 45);
  from.end();
  const isolation = await chooseSandbox(sandboxKind(wanted));
  const sizes = ["--threads", String(threads), "--parallel", String(parallel)];
  const argv =
    agent === "" ? agentArgv({ threads, parallel }) : otherAgent(agent, [...sizes, ...agentArgs]);
  const power = localPower({
    name,
    isolation,
    logger,
    clock: systemClock,
    box: { argv, memoryBytes },
  });
  if (agent === "") return withCheckedEngine(power, engineBuild);
  const simulated = `${power.simulated}; the server runs another program than Weir's own (${agent})`;
  return { simulated, on: () => power.on() };
}

async function openRemote(
  from: Fields,
  name: string,
  identity: TlsIdentity,
  logger: Logger,
): Promise<Power> {
  const { host, port } = parseAddress(from.text("listen"), "power.listen");
  const powerOff = from.optionalTexts("powerOff");
  const powerOn = from.optionalTexts("powerOn");
  const server = from.optionalText("server", name);
  from.end();
  return remotePower({
    name: server,
    host,
    port,
    identity,
    logger,
    onTimeoutMs: 30_000,
    commandTimeoutMs: 30_000,
    ...(powerOff.length > 0 ? { powerOff } : {}),
    ...(powerOn.length > 0 ? { powerOn } : {}),
  });
}

/** Opens the configured power. Throws InvalidError `power.*` or `json.*`, naming the field. */
export function openPower(
  options: Options,
  identity: TlsIdentity,
  logger: Logger,
  engineBuild: Buffer,
): Promise<Power> {
  const from = new Fields((options.json("power") ?? { kind: "sandbox" }) as Json, "power");
  const name = options.text("name");
  const kind = from.text("kind");
  if (kind === "sandbox") return openLocal(from, name, logger, engineBuild);
  if (kind === "remote") return openRemote(from, name, identity, logger);
  throw new InvalidError("power.kind", `power.kind must be sandbox or remote, not "${kind}"`);
}
