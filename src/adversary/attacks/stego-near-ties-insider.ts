import { defineAttack } from "../attack.ts";
import { choosing, readChoices } from "../choices.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-near-ties-insider",
  group: "steganography",
  title: "hides bits in near ties, for a receiver who knows the seeds",
  expected: "evidence",
  why: "As stego-near-ties and found by the same evidence, but the receiver computes each position's candidates itself, so every near tie carries whole bits and no other position any: an upper end of what near ties can carry. Its receiver needs the gateway's seeds, which a gateway never tells.",
  knobs: { ...messageKnobs, gap: 0.1 },
  prepare: (host, knobs) => Promise.resolve(choosing(knobs, host.weights)),
  receive: readChoices,
});
