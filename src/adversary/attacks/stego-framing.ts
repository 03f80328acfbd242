import { defineAttack } from "../attack.ts";
import { framing, readFrames } from "../frames.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-framing",
  group: "steganography",
  carrier: "time",
  title: "hides bits in how many tokens it puts into a frame",
  expected: "gateway",
  why: "The gateway joins whatever comes between two release ticks, so a client sees the tick's pieces and not the server's. With `paceMs` above the tick it leaves one frame to each tick, and some of it comes through: what then remains is a timing channel.",
  knobs: { ...messageKnobs, bytes: 4, many: 4, paceMs: 0 },
  prepare: (host, knobs) => Promise.resolve(framing(host, knobs)),
  receive: readFrames,
});
