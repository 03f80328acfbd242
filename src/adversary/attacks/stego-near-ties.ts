import { defineAttack } from "../attack.ts";
import { carrying, readCarriers } from "../carriers.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-near-ties",
  group: "steganography",
  title: "hides bits in which of two nearly equal tokens it takes",
  expected: "evidence",
  why: "No choice alone is proof. But honest rounding is far smaller than `gap`, the nats from the winner that it dares to go, so there are more and wider choices than rounding makes: at 0.1 evidence comes within about a thousand tokens. At gaps within the noise of the profile it is not caught, and then the capacity meter counts what it may carry.",
  knobs: { ...messageKnobs, gap: 0.1 },
  prepare: (host, knobs) =>
    Promise.resolve(carrying(knobs, host.weights, { gap: knobs.gap, rank: Infinity })),
  receive: (observed, knobs, receiver) => readCarriers(observed, knobs, receiver),
});
