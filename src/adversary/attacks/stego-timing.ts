import { defineAttack } from "../attack.ts";
import { messageKnobs } from "../message.ts";
import { pacing, readPauses } from "../pauses.ts";

export const attack = defineAttack({
  id: "stego-timing",
  group: "steganography",
  carrier: "time",
  title: "hides bits in the pauses between pieces of a reply",
  expected: "not caught",
  why: "Recomputation sees no time. Replies leave on the grid of the release tick, so a pause is a whole number of ticks: the gateway's counts bound what they may carry, and do not end it. Throughput falls, which people see. A gateway with `wholeReplies` leaves one pause a reply.",
  knobs: { ...messageKnobs, bytes: 2, shortMs: 40, longMs: 100 },
  prepare: (host, knobs) => Promise.resolve(pacing(host, knobs)),
  receive: readPauses,
});
