/** The recomputer in the joint draw's model: whoever walks the log. */
import { encodeRoundOpen } from "../../src/format/leaf.ts";
import type { Mark } from "../../src/gateway/store.port.ts";
import { RoundWalk } from "../../src/recomputer/round-walk.ts";

/** Many worlds have the same log. */
const walked = new WeakMap<readonly Mark[], number>();

/** What a recomputer says of a log that it walks: how many lies. */
export function liesTold(marks: readonly Mark[]): number {
  const known = walked.get(marks);
  if (known !== undefined) return known;
  const walk = new RoundWalk({ epsilonMin: 0, lateEntries: 1000 });
  const opens = marks.flatMap(({ entry }) =>
    entry.kind === "round-open" ? [encodeRoundOpen(entry)] : [],
  );
  const count = walk.add(Buffer.concat(opens)).filter(({ kind }) => kind === "lie").length;
  walked.set(marks, count);
  return count;
}
