/** `weir demo`: a site comes up, two of its servers cheat, and everything that should happen does. */
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ChildSite } from "./demo/child-site.ts";
import { Story, type Pace } from "./demo/story.ts";
import { jsonTeller, textTeller, type Teller } from "./demo/teller.ts";
import { World } from "./demo/world.ts";
import { parseArguments } from "./site/arguments.ts";
import { homeFolder } from "./site/config.ts";
import { stopSignals } from "./site/signals.ts";

const help = `Usage: weir demo [OPTIONS]

A story of a minute or two: a site comes up; honest traffic passes; one server swaps its model
in memory, another draws with a wrong seed; both are caught, alarmed on and switched off while the
third keeps serving; a signed order and a power cycle bring them back clean. Exits 0 only if all of
it happened. Runs in a temporary folder and leaves nothing behind.

  --fast        no pauses for reading; without a terminal there are none anyway
  --keep        keep the folder of the site, and say where it is
  --json        one JSON object per line instead of the story
  --help        this text
`;

/** Half of all pairs are recomputed, so that the story does not drag; nothing else is special. */
const options = ["--servers", "3", "--epsilon", "0.5", "--flicker-seconds", "0"];
const agent = resolve(homeFolder, "src/bin/adversary-agent.ts");

async function tell(teller: Teller, child: ChildSite, pace: Pace): Promise<readonly string[]> {
  const up = await child.up;
  const world = new World(child.site());
  try {
    return await new Story(teller, world, up, pace).tell();
  } finally {
    await world.close();
  }
}

/** `weir demo`. Resolves with 0 only if all of the story happened; 130 when it was interrupted. */
export async function runDemo(argv: string[]): Promise<number> {
  const args = parseArguments(argv, {
    json: { type: "boolean" },
    fast: { type: "boolean" },
    keep: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  });
  if (args.flag("help")) {
    process.stdout.write(help);
    return 0;
  }
  const startedMs = performance.now();
  const teller = args.flag("json")
    ? jsonTeller((text) => process.stdout.write(text))
    : textTeller(process.stdout, startedMs);
  const stop = stopSignals();
  const read = process.stdout.isTTY && !args.flag("json") && !args.flag("fast");
  // The site lives on while people read: traffic flows, servers cheat, verdicts fall.
  const pace: Pace = (seconds) =>
    read ? sleep(1000 * seconds, undefined, { ref: false }) : Promise.resolve();
  teller.chapter("A small datacenter starts: three servers, and nobody trusts them");
  const child = new ChildSite([...options, "--agent", agent], (event, text) => {
    if (event === "note" || event === "role") teller.live(text);
  });
  stop.onAgain(() => {
    child.hurry();
  });
  try {
    const told = tell(teller, child, pace);
    // When interrupted, the story ends by the site's going away; that is no failure of its own.
    const problems = await Promise.race([told, stop.asked.then(() => null)]);
    told.catch(() => undefined);
    if (problems === null) return 130;
    teller.end(problems.length === 0, Math.round((performance.now() - startedMs) / 1000));
    return problems.length === 0 ? 0 : 1;
  } finally {
    await child.stop(args.flag("keep"));
    if (args.flag("keep")) teller.aside(`kept: ${child.folder}`);
    stop.close();
  }
}
