import { defineAttack } from "../attack.ts";
import { carrying, readCarriers } from "../carriers.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-ranks",
  group: "steganography",
  title: "hides bits in taking the best, the second or the third token",
  expected: "hard finding",
  why: "Half of its tokens are not the winner, by as many nats as it takes: one of the first few is proof. What a channel gains that does not hide.",
  knobs: { ...messageKnobs, n: 8 },
  prepare: (host, knobs) =>
    Promise.resolve(carrying(knobs, host.weights, { gap: Infinity, rank: knobs.n })),
  receive: (observed, knobs, receiver) => readCarriers(observed, knobs, receiver),
});
