import { defineAttack } from "../attack.ts";
import { trying } from "../trying.ts";

export const attack = defineAttack({
  id: "memory-after-restart",
  group: "isolation",
  title: "leaves itself a note for after the power cycle",
  expected: "isolation",
  why: "Nothing writable outlives its processes, and they all end with the power. The page cache and the processor's state are shared with the host; whether they carry anything cannot be told from inside.",
  // Armed twice with one `marker`: before the restart with find = 0, after it with find = 1.
  knobs: { marker: 1, find: 0 },
  prepare: (host, { marker, find }) =>
    trying(host, (walls) => {
      const name = `weir-note-${marker}`;
      return find === 0 ? walls.mark(name) : walls.find(name);
    }),
});
