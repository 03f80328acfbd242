/** `weir tamper`: makes a simulated sensor of a gateway's enclosure report tampering, for trials. */
import { existsSync } from "node:fs";
import { setSensor } from "../../adapter/tamper-files.ts";
import { InvalidError } from "../../base/assert.ts";
import { tamperKinds } from "../../gateway/tamper.ts";
import type { TamperKind } from "../../gateway/tamper.port.ts";
import { devicePaths } from "../device/folder.ts";
import { UsageError } from "../site/arguments.ts";
import { deviceFolder } from "../site/devices.ts";
import { dataPaths } from "../site/paths.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir tamper GATEWAY KIND [OPTIONS]

SIMULATED tampering: one of the gateway's sensors reports it. The gateway cuts its server's power, destroys its
device's secret and ends. THAT IS FOR GOOD: its ring, log and state can never be read again. A new ceremony
(weir ceremony renew GATEWAY) makes a new device. KIND: ${tamperKinds.join(", ")}

${commonHelp}`;

/** What each sensor then says: open, cut, far outside its range, silent. */
const saying: Readonly<Record<TamperKind, string>> = {
  lid: "1",
  mesh: "1",
  temperature: "-60",
  voltage: "3.3",
  heartbeat: "stopped",
};

/** `weir tamper`. */
export function runTamper(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    wordsMax: 2,
    run: (args, folder) => {
      const [gateway, word] = args.words;
      const kind = tamperKinds.find((candidate) => candidate === word);
      if (gateway === undefined || kind === undefined) {
        throw new UsageError(`name a gateway and one of ${tamperKinds.join(", ")}`);
      }
      const paths = devicePaths(deviceFolder(dataPaths(folder), gateway));
      if (!existsSync(paths.fuses)) {
        throw new InvalidError(
          "tamper.gateway",
          `there is no device of a gateway "${gateway}" in ${folder}`,
        );
      }
      setSensor(paths.tamper, kind, saying[kind]);
      if (args.flag("json")) printJson({ gateway, kind, simulated: true });
      else print(`the ${kind} sensor of ${gateway} now reports tampering (simulated)\n`);
      return Promise.resolve(0);
    },
  });
}
