/** `weir stop`: asks the supervisor of a running site to stop, and waits until it is gone. */
import { setTimeout as sleep } from "node:timers/promises";
import { UnavailableError } from "../../base/assert.ts";
import { lockHolder } from "../site/lock.ts";
import { findSite } from "../site/site-file.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir stop [OPTIONS]

Stops a running site in order: no new requests, servers off, then the rest. Its data stays.

  --timeout N   seconds to wait before giving up (default 60)
  --force       do not wait for open requests
${commonHelp}`;

/** `weir stop`. Exit code 0 also when nothing ran. */
export function runStop(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: { timeout: { type: "string" }, force: { type: "boolean" } },
    run: async (args, folder) => {
      const seconds = args.number("timeout", 0, 86_400) ?? 60;
      const { paths, holder } = findSite(folder);
      const say = (stopped: boolean, text: string): void => {
        if (args.flag("json")) printJson({ stopped, folder: paths.root });
        else print(`${text}\n`);
      };
      if (holder === null) {
        say(false, `the site in ${paths.root} is not running`);
        return 0;
      }
      process.kill(holder.pid, "SIGTERM");
      if (args.flag("force")) process.kill(holder.pid, "SIGTERM");
      const deadline = performance.now() + 1000 * seconds;
      while (lockHolder(paths.lock)?.started === holder.started) {
        if (performance.now() > deadline) {
          const text = `the site in ${paths.root} is still stopping after ${seconds} s`;
          throw new UnavailableError("site.stop", text, "unknown");
        }
        await sleep(50);
      }
      say(true, `stopped the site in ${paths.root}`);
      return 0;
    },
  });
}
