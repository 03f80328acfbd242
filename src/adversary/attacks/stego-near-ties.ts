import { defineAttack } from "../attack.ts";
import { carrying, readCarriers } from "../carriers.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-near-ties",
  group: "steganography",
  title: "hides bits in which of two nearly equal tokens it takes",
  expected: "not caught",
  why: "Each choice lies within what honest rounding may do, so no token is proof; only that there are more of them than rounding makes shows in the evidence, and the capacity meter counts what they may carry. `gap`, in nats, is how far from the winner it dares to go.",
  knobs: { ...messageKnobs, gap: 0.1 },
  prepare: (host, knobs) =>
    Promise.resolve(carrying(knobs, host.weights, { gap: knobs.gap, rank: Infinity })),
  receive: (observed, knobs, receiver) => readCarriers(observed, knobs, receiver),
});
