/** Minds that try the walls of their sandbox. */
import { InvalidError } from "../base/assert.ts";
import type { Host, Learnt, Mind } from "./attack.ts";

/** An honest server but for what it tried when it was armed. */
export async function trying(
  host: Host,
  attempt: (walls: NonNullable<Host["walls"]>) => Promise<readonly Learnt[]>,
): Promise<Mind> {
  if (host.walls === null) {
    throw new InvalidError("attack.walls", "this needs a server in its sandbox, not the lab");
  }
  const learnt = await attempt(host.walls);
  return { serve: (job, honest) => honest(job), report: () => learnt };
}
