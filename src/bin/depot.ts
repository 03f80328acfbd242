/** `weir depot`: holds weights and offers them to gateways over mutual TLS. */
import { systemClock } from "../adapter/clock.ts";
import { jsonLogger } from "../adapter/logger.ts";
import { serveObservers } from "../adapter/observe.ts";
import { listenTls, readIdentity } from "../adapter/tls.ts";
import { openWeightsFile } from "../adapter/weights-file.ts";
import { InvalidError } from "../base/assert.ts";
import { Depot } from "../depot/offer.ts";
import { helpText, readOptions, type Options, type OptionSpecs } from "./options.ts";
import { announceReady, logLevelOf, untilStopped, withErrors } from "./process.ts";

const specs: OptionSpecs = {
  name: { kind: "text", help: "name of this depot, as in its certificate", default: "d1" },
  listen: { kind: "text", help: "HOST:PORT for gateways and observers", required: true },
  identity: { kind: "text", help: "folder of depot-NAME.crt, .key and ca.crt", required: true },
  model: { kind: "list", help: "ID=FILE.gguf, weights to hold", required: true },
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

async function serve(options: Options): Promise<number> {
  const name = options.text("name");
  const logger = jsonLogger("depot", name, logLevelOf(options));
  const models = await Promise.all(
    options.list("model").map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new InvalidError("depot.model", `--model must be ID=FILE, not "${text}"`);
      return openWeightsFile(text.slice(at + 1), text.slice(0, at));
    }),
  );
  const depot = new Depot(name, models, logger);
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
