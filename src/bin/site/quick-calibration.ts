/** `weir up` with a model that nobody has calibrated: measures, in a child process, and says so. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { homeFolder } from "./config.ts";
import type { QuickCalibrate } from "./profile.ts";
import type { StopSignals } from "./signals.ts";

/** Lines of progress are passed on at most this often. */
const quietMs = 5000;

/**
 * Runs `weir calibrate MODEL --quick`. A request to stop ends it, with its processes, before a file is
 * written: then UnavailableError `site.stopped`. When it fails, InvalidError `profile.calibration` with how to make a profile by hand.
 */
export function quickCalibration(tell: (text: string) => void, stop: StopSignals): QuickCalibrate {
  return async (model, out) => {
    tell(`${model} has no calibration profile: measuring honest servers on this machine first`);
    const program = join(homeFolder, "src/bin/weir.ts");
    const args = [program, "calibrate", model, "--quick", "--out", out, "--die-with-stdin"];
    // A group of its own: the terminal's Ctrl-C reaches this process alone, which asks the child once.
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
      stdio: ["pipe", "ignore", "pipe"],
      detached: true,
    });
    void stop.asked.then(() => child.kill("SIGTERM"));
    stop.onAgain(() => child.kill("SIGTERM"));
    let last = "";
    let toldMs = 0;
    createInterface({ input: child.stderr }).on("line", (line) => {
      last = line;
      if (Date.now() - toldMs < quietMs) return;
      toldMs = Date.now();
      tell(line);
    });
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    if (stop.wasAsked) {
      throw new UnavailableError("site.stopped", "stopped while it measured", "none");
    }
    if (code === 0) {
      tell("a quick profile was made; `weir calibrate` without --quick makes a better one");
      return;
    }
    throw new InvalidError(
      "profile.calibration",
      `no calibration profile for ${model}, and a quick one could not be made (${last}). ` +
        "Make one with `weir calibrate MODEL.gguf --out FILE` and name it with --profile FILE",
    );
  };
}
