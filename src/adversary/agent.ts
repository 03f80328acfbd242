/**
 * AN ATTACK PROGRAM, for the demonstration and the tests: a server that starts honest and is taken
 * over at run time, in memory only, by an ordinary request whose text says so:
 *
 *   [[weir-attack g2 requantise-q4_0]]   g2's server rounds its weights to 4 bits and goes on with those
 *   [[weir-attack g3 wrong-seed]]        g3's server draws with a seed of its own
 *
 * It shows what gateway and recomputer can do about a server that lies after its weights were
 * checked. Cutting its power cleans it: nothing of the attack is on any disk.
 */
import type { Logger } from "../base/report.ts";
import type { Prompt } from "../format/pair.ts";
import type { LoadBegin } from "../format/server-link.ts";
import type { AgentHooks } from "../server/agent.ts";
import type { Engine } from "../server/engine.port.ts";
import { requantise } from "./requantise.ts";

export const attacks = ["requantise-q4_0", "wrong-seed"] as const;
export type Attack = (typeof attacks)[number];

/** What a client writes into a message to take over the server of `gateway`. */
export function attackRequest(gateway: string, attack: Attack): string {
  return `[[weir-attack ${gateway} ${attack}]]`;
}

const pattern = /\[\[weir-attack ([a-z0-9-]{1,31}) ([a-z0-9_-]{1,31})\]\]/;

/** The attack that a prompt asks of the server behind `gateway`; null for ordinary prompts. */
export function attackIn(prompt: Prompt, gateway: string): Attack | null {
  const texts =
    prompt.kind === "text" ? [prompt.text] : prompt.messages.map(({ content }) => content);
  for (const text of texts) {
    const match = pattern.exec(text);
    if (match?.[1] !== gateway) continue;
    return attacks.find((attack) => attack === match[2]) ?? null;
  }
  return null;
}

export interface AttackTools {
  /** Reads the received weights, while they are there. */
  readonly readWeights: (path: string) => Promise<Uint8Array>;
  /** Loads other weights beside the honest ones. */
  readonly openWeights: (gguf: Uint8Array, begin: LoadBegin) => Promise<Engine>;
  readonly logger: Logger;
}

/** XORed into the seed: any other constant would do. */
const seedChange = 0x5eed_5eed_5eed_5eedn;

/** The hooks of a turncoat: honest until a request takes it over. */
export function turncoat(tools: AttackTools): AgentHooks {
  let begin: LoadBegin | null = null;
  let weights: Uint8Array | null = null;
  let wrongSeed = false;
  let other: Engine | null = null;
  let converting = false;

  const requantiseNow = async (): Promise<void> => {
    if (converting || weights === null || begin === null) return;
    converting = true;
    other = await tools.openWeights(requantise(weights, "Q4_0"), begin);
    tools.logger.log("warn", "attack.requantised", { gateway: begin.gateway });
  };
  const obey = (prompt: Prompt): void => {
    const attack = begin === null ? null : attackIn(prompt, begin.gateway);
    if (attack === "wrong-seed") wrongSeed = true;
    if (attack === "requantise-q4_0") void requantiseNow();
  };
  return {
    async weights(path, load) {
      begin = load;
      weights = await tools.readWeights(path);
      return path;
    },
    seed: (seed) => (wrongSeed ? seed ^ seedChange : seed),
    engine: (honest) => ({
      contextTokens: honest.contextTokens,
      parallel: honest.parallel,
      promptIds(prompt) {
        obey(prompt);
        return honest.promptIds(prompt);
      },
      isEndOfGeneration: (id) => honest.isEndOfGeneration(id),
      speller: () => honest.speller(),
      open: () => (other ?? honest).open(),
      async close() {
        await other?.close();
        await honest.close();
      },
    }),
  };
}
