/** The list of attacks. A new one is a file here and two lines below. */
import { InvalidError } from "../../base/assert.ts";
import type { Attack, Knobs } from "../attack.ts";
import { attack as cachedAnswers } from "./cached-answers.ts";
import { attack as directChannels } from "./direct-channels.ts";
import { attack as droppedBlock } from "./dropped-block.ts";
import { attack as endsEarly } from "./ends-early.ts";
import { attack as expertIteration } from "./expert-iteration.ts";
import { attack as fineTuned } from "./fine-tuned.ts";
import { attack as hiddenSystemPrompt } from "./hidden-system-prompt.ts";
import { attack as invisibleCharacters } from "./invisible-characters.ts";
import { attack as kvQ40 } from "./kv-q4_0.ts";
import { attack as kvQ80 } from "./kv-q8_0.ts";
import { attack as lateTokens } from "./late-tokens.ts";
import { attack as lora } from "./lora.ts";
import { attack as lowLoad } from "./low-load.ts";
import { attack as memoryAfterRestart } from "./memory-after-restart.ts";
import { attack as nudgedRow } from "./nudged-row.ts";
import { attack as otherModel } from "./other-model.ts";
import { attack as otherUnicodeForms } from "./other-unicode-forms.ts";
import { attack as ownRandomness } from "./own-randomness.ts";
import { attack as repetitionPenalty } from "./repetition-penalty.ts";
import { attack as replayedAnswer } from "./replayed-answer.ts";
import { attack as requantiseQ40 } from "./requantise-q4_0.ts";
import { attack as requantiseQ80 } from "./requantise-q8_0.ts";
import { attack as samplerFault } from "./sampler-fault.ts";
import { attack as seedReused } from "./seed-reused.ts";
import { attack as someRequests } from "./some-requests.ts";
import { attack as someUsers } from "./some-users.ts";
import { attack as stegoBlocks } from "./stego-blocks.ts";
import { attack as stegoCuts } from "./stego-cuts.ts";
import { attack as stegoFraming } from "./stego-framing.ts";
import { attack as stegoNearTiesInsider } from "./stego-near-ties-insider.ts";
import { attack as stegoNearTies } from "./stego-near-ties.ts";
import { attack as stegoRanks } from "./stego-ranks.ts";
import { attack as stegoTiming } from "./stego-timing.ts";
import { attack as temperatureHigh } from "./temperature-high.ts";
import { attack as temperatureLow } from "./temperature-low.ts";
import { attack as topKOff } from "./top-k-off.ts";
import { attack as topPOff } from "./top-p-off.ts";
import { attack as truncatedContext } from "./truncated-context.ts";
import { attack as unableAfterCheating } from "./unable-after-cheating.ts";
import { attack as unable } from "./unable.ts";
import { attack as wrongSeed } from "./wrong-seed.ts";

export const attacks: readonly Attack[] = [
  droppedBlock,
  fineTuned,
  kvQ40,
  kvQ80,
  lora,
  nudgedRow,
  otherModel,
  requantiseQ40,
  requantiseQ80,
  hiddenSystemPrompt,
  ownRandomness,
  repetitionPenalty,
  seedReused,
  temperatureHigh,
  temperatureLow,
  topKOff,
  topPOff,
  truncatedContext,
  wrongSeed,
  lateTokens,
  lowLoad,
  samplerFault,
  someRequests,
  someUsers,
  cachedAnswers,
  endsEarly,
  invisibleCharacters,
  otherUnicodeForms,
  replayedAnswer,
  unableAfterCheating,
  unable,
  stegoBlocks,
  stegoCuts,
  stegoFraming,
  stegoNearTiesInsider,
  stegoNearTies,
  stegoRanks,
  stegoTiming,
  directChannels,
  memoryAfterRestart,
  expertIteration,
];

/** Throws InvalidError `attack.unknown`. */
export function attackNamed(id: string): Attack {
  const found = attacks.find((attack) => attack.id === id);
  if (found === undefined) throw new InvalidError("attack.unknown", `there is no attack "${id}"`);
  return found;
}

/** An attack's knobs with some of them set. Throws InvalidError `attack.knob` for one it has not. */
export function knobsOf(attack: Attack, set: Knobs): Knobs {
  for (const [name, value] of Object.entries(set)) {
    if (!Object.hasOwn(attack.knobs, name)) {
      throw new InvalidError("attack.knob", `${attack.id} has no knob "${name}"`);
    }
    if (!Number.isFinite(value)) {
      throw new InvalidError("attack.knob", `${attack.id}: ${name} is not a number`);
    }
  }
  return { ...attack.knobs, ...set };
}
