/** The gateway as the stage that the boot ROM starts (boot/rom.ts): its secrets come through file descriptor 3. */
import { dieWithFirstStage, readHandover } from "./device/handover.ts";
import { runGateway } from "./gateway.ts";
import { dieWithStdin } from "./site/orphan.ts";

const pipe = 3;

const args = process.argv.slice(2);
const own = args.filter((arg) => arg !== "--die-with-stdin");
const handover = readHandover(pipe);
dieWithFirstStage(pipe);
if (own.length !== args.length) dieWithStdin();
process.exit(await runGateway(own, handover));
