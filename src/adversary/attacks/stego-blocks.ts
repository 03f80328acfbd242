import { defineAttack } from "../attack.ts";
import { readBlocks, searching } from "../blocks.ts";
import { messageKnobs } from "../message.ts";

export const attack = defineAttack({
  id: "stego-blocks",
  group: "steganography",
  title: "tries near ties until a whole stretch of text shows the wanted bit",
  expected: "evidence",
  why: "As stego-near-ties, but rarer: it drafts a stretch, and changes one near tie after the other until a keyed parity of the text fits: half of the stretches are sent as the honest server would, the others with one or two near ties taken the other way, and the receiver needs nothing but the text. It costs the server two drafts a stretch. Every changed token lies up to `gap` off, so evidence comes all the same: after 1,465 and 2,150 recomputed tokens in two trials.",
  knobs: { ...messageKnobs, gap: 0.1, letters: 240, tries: 24 },
  prepare: (host, knobs) => Promise.resolve(searching(knobs, host.weights)),
  receive: readBlocks,
});
