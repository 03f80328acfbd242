/** `weir depot`: holds weights and offers them to gateways over mutual TLS. */
import { readFileSync } from "node:fs";
import { systemClock } from "../adapter/clock.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import { systemRandom } from "../adapter/random.ts";
import { listenTls, readIdentity } from "../adapter/tls.ts";
import { openWeightsFile } from "../adapter/weights-file.ts";
import { InvalidError } from "../base/assert.ts";
import { enrolledKey } from "../base/enrol.ts";
import { Depot } from "../depot/offer.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  name: { kind: "text", help: "name of this depot, as in its certificate", default: "d1" },
  listen: { kind: "text", help: "HOST:PORT for gateways and observers", required: true },
  identity: { kind: "text", help: "folder of depot-NAME.crt, .key and ca.crt", required: true },
  model: { kind: "list", help: "ID=FILE.gguf, weights to hold", required: true },
  deviceKey: {
    kind: "list",
    help: "NAME=FILE, a gateway and its device public key (64 hex digits): the only ones that get weights",
    required: true,
  },
  logLevel: { kind: "text", help: "debug, info, warn or error", default: "info" },
};

/** Runs a depot until SIGINT or SIGTERM. Returns the exit code. */
export function runDepot(argv: string[]): Promise<number> {
  return withErrors("weir depot", async () => {
    const options = readOptions(argv, specs);
    if (options === null) {
      process.stdout.write(helpText("weir depot [options]", "Hold weights for gateways.", specs));
      return 0;
    }
    return serve(options);
  });
}

/** NAME=FILE, both not empty. Throws InvalidError. */
function assignment(text: string, option: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidError("depot.option", `${option} must be NAME=FILE, not "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** The configured device keys, checked now and not when a gateway asks. */
function deviceKeysOf(options: Options): Map<string, string> {
  const keys = new Map<string, string>();
  for (const text of options.list("deviceKey")) {
    const [gateway, path] = assignment(text, "--device-key");
    try {
      const hex = readFileSync(path, "utf8").trim();
      enrolledKey(hex);
      keys.set(gateway, hex);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new InvalidError("depot.device-key", `device key of ${gateway}, ${path}: ${why}`);
    }
  }
  return keys;
}

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("depot", name, logLevelOf(options));
  const models = await Promise.all(
    options.list("model").map((text) => {
      const [modelId, path] = assignment(text, "--model");
      return openWeightsFile(path, modelId);
    }),
  );
  const deviceKeys = deviceKeysOf(options);
  const depot = new Depot({ name, models, deviceKeys, random: systemRandom, logger });
  const listener = await listenTls({
    ...options.address("listen"),
    identity: readIdentity(options.text("identity"), `depot-${name}`),
    accept: ["gateway", "observer", "operator"],
    onWire: (wire) => {
      if (wire.peer.role === "gateway") depot.attachGateway(wire);
      else serveObservers(wire, () => depot.status(), systemClock);
    },
    onRefused: (reason) => {
      logger.log("warn", "depot.peer-refused", { reason });
    },
  });
  announceReady(listener.port);
  await untilStopped();
  await listener.close();
  await Promise.all(models.map((model) => model.close()));
  return 0;
}
