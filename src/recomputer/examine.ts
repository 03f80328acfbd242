/**
 * Steps 3 to 6 of one proof request, by itself: parse and tie together, replay, score, judge. What it
 * means beside other pairs is evidence.ts's.
 */
import { UnavailableError } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import type { Leaf } from "../format/leaf.ts";
import type { Profile, ProfileFile } from "../format/profile.ts";
import { tagEpoch, type Tag } from "../format/tag.ts";
import type { Verdict } from "../format/verdict.ts";
import type { WhitelistEntry } from "../format/whitelist.ts";
import type { TokenFacts } from "../verification/facts.ts";
import { checkAgainstModel, checkSeed, openPair, unsupported, type OpenedPair } from "./checks.ts";
import type { Engines } from "./engines.ts";
import { judgeReplayed, judgeUnreplayed } from "./judge.ts";
import { profileOf } from "./profiles.ts";
import { replayPair, type ReplayDeadline } from "./replay.ts";
import { scorePair } from "./score.ts";
import { Share } from "./share.ts";
import type { VerdictStore } from "./store.port.ts";

export interface ExaminerParts {
  readonly clock: Clock;
  readonly store: VerdictStore;
  readonly entries: readonly WhitelistEntry[];
  readonly profiles: readonly ProfileFile[];
  readonly engines: Engines;
  readonly replay: ReplayDeadline;
}

/** What a replay showed. */
export interface Replay {
  readonly profile: Profile;
  readonly facts: readonly TokenFacts[];
  readonly vocabularySize: number;
  readonly msPerToken: number;
}

export interface Examined {
  /** null when the request did not parse or tie together. */
  readonly pair: OpenedPair | null;
  /** null when not even the leaf could be read. */
  readonly leaf: Leaf | null;
  readonly verdict: Verdict;
  /** null when it failed before a replay. */
  readonly replay: Replay | null;
}

export class Examiner {
  readonly #parts: ExaminerParts;
  readonly #share: Share;

  constructor(parts: ExaminerParts) {
    this.#parts = parts;
    this.#share = new Share(parts.clock);
  }

  /**
   * `onModel` hears which model it is about, once that is known. Throws UnavailableError when the
   * pair cannot be judged now.
   */
  async examine(
    gateway: string,
    tag: Tag,
    request: Buffer,
    onModel: (modelId: string) => void,
  ): Promise<Examined> {
    const epochKey = (of: Tag): Uint8Array => this.#epochKey(gateway, of);
    const { pair, ...opening } = openPair(request, tag, this.#parts.entries, epochKey);
    if (pair === null) {
      const leaf = "leaf" in opening ? opening.leaf : null;
      return { pair, leaf, verdict: judgeUnreplayed(opening.findings), replay: null };
    }
    onModel(pair.entry.modelId);
    return { pair, leaf: pair.leaf, ...(await this.#judge(gateway, pair)) };
  }

  #epochKey(gateway: string, tag: Tag): Uint8Array {
    const epoch = tagEpoch(tag);
    const epochKey = this.#parts.store.epochKey(gateway, epoch);
    if (epochKey !== null) return epochKey;
    const text = `gateway ${gateway} has not told the key of epoch ${epoch}`;
    throw new UnavailableError("recomputer.no-epoch", text, "none");
  }

  async #judge(gateway: string, pair: OpenedPair): Promise<Pick<Examined, "verdict" | "replay">> {
    const lacking = unsupported(pair.entry);
    if (lacking !== null) throw new UnavailableError("recomputer.noise-law", lacking, "none");
    const profile = profileOf(pair.entry, this.#parts.profiles);
    const seed = checkSeed(pair.leaf, this.#epochKey(gateway, pair.tag));
    if (seed.length > 0) return { verdict: judgeUnreplayed(seed), replay: null };
    const { engines, clock, replay } = this.#parts;
    const engine = await engines.get(pair.entry);
    try {
      const findings = checkAgainstModel(pair, engine);
      if (findings.length > 0) return { verdict: judgeUnreplayed(findings), replay: null };
      const replaying = replayPair(pair, engine, clock, replay);
      const { result: positions, ms } = await this.#share.of(replaying);
      const msPerToken = positions.length === 0 ? 0 : ms / positions.length;
      const facts = scorePair(pair, positions, profile.edge);
      const { vocabularySize } = engine;
      return {
        verdict: judgeReplayed(pair, facts, profile),
        replay: { profile, facts, vocabularySize, msPerToken },
      };
    } catch (error) {
      if (error instanceof UnavailableError) engines.drop(pair.entry, engine);
      throw error;
    }
  }
}
