/** Stands in for the gateway in tests of the first stage: says what it was handed, or waits to be ended. */
import { dieWithFirstStage, readHandover } from "../../src/bin/device/handover.ts";
import { sha256Hex } from "../../src/base/hash.ts";

const { rootKey, info } = readHandover(3);
dieWithFirstStage(3);
const secret = rootKey.export();
const seen = JSON.stringify(process.env) + process.argv.join(" ");
const leaked = [secret.toString("hex"), secret.toString("base64")].some((form) =>
  seen.includes(form),
);
process.stdout.write(
  `${JSON.stringify({ root: sha256Hex(secret), leaked, args: process.argv.slice(2), info, pid: process.pid })}\n`,
);
if (process.argv.includes("--wait")) setInterval(() => undefined, 1000);
