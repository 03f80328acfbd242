/** What a calibration profile makes of scored outputs: findings and evidence, as a recomputer would. */
import type { Profile } from "../../format/profile.ts";
import { isFatal, type Finding } from "../../format/verdict.ts";
import type { Detector } from "../../verification/detector.ts";
import type { TokenFacts } from "../../verification/facts.ts";
import {
  addPair,
  detectorLogs,
  emptyEvidence,
  logChange,
  logE,
  type EvidenceState,
} from "../../verification/sequential.ts";
import { marginFindings } from "../../verification/threshold.ts";

export interface OutputFinding extends Finding {
  readonly sample: number;
  readonly output: number;
}

export interface Judgement {
  /** `fail`: a hard finding, or evidence at or beyond the threshold. */
  readonly verdict: "pass" | "fail";
  readonly findings: readonly OutputFinding[];
  /** Nats: ln(2 / alpha), as for one server (docs/STATISTICS.md section 4). */
  readonly threshold: number;
  readonly alpha: number;
  /** Log e-values of all outputs together, in the order of the file. */
  readonly logE: number;
  readonly logChange: number;
  readonly detectors: ReturnType<typeof detectorLogs>;
}

/** Outputs of one provider, one after the other; each is one bet. */
export class Judge {
  readonly #profile: Profile;
  readonly #alpha: number;
  readonly #betting: readonly Detector[];
  readonly #seedKnown: boolean;
  readonly #findings: OutputFinding[] = [];
  #state: EvidenceState;

  /** `betting`: the detectors that bet; those that the profile has not calibrated are left out. */
  constructor(
    profile: Profile,
    betting: readonly Detector[],
    options: { readonly alpha: number; readonly seedKnown: boolean },
  ) {
    const calibrated = new Set(profile.detectors.map(({ id }) => id));
    this.#profile = profile;
    this.#alpha = options.alpha;
    this.#seedKnown = options.seedKnown;
    this.#betting = betting.filter(({ id }) => calibrated.has(id));
    this.#state = emptyEvidence(this.#betting);
  }

  /** Adds an output of at least one token. */
  add(
    at: { readonly sample: number; readonly output: number },
    ids: readonly number[],
    tokens: readonly TokenFacts[],
  ): void {
    const { clip, sigma, detectors } = this.#profile;
    // Without the seed a margin is that of the bare logits, which no honest draw keeps: the support alone counts.
    const known = marginFindings(tokens, ids, this.#profile).filter(
      ({ id }) => this.#seedKnown || id === "token.outside-support",
    );
    this.#findings.push(...known.map((finding) => ({ ...at, ...finding })));
    // As in a recomputer: a pair with a hard finding stands for itself.
    if (known.some(({ id }) => isFatal(id))) return;
    const evidence = this.#betting.map((detector) => ({
      id: detector.id,
      evidence: detector.evidence({ tokens }, { clip, sigma }),
    }));
    this.#state = addPair(this.#state, evidence, tokens.length, detectors);
  }

  /** What all outputs so far come to. */
  get judgement(): Judgement {
    const threshold = Math.log(2 / this.#alpha);
    const [start, change] = [logE(this.#state), logChange(this.#state)];
    const beyond = Math.max(start, change) >= threshold;
    return {
      verdict: beyond || this.#findings.some(({ id }) => isFatal(id)) ? "fail" : "pass",
      findings: this.#findings,
      ...{ threshold, alpha: this.#alpha, logE: start, logChange: change },
      detectors: detectorLogs(this.#state),
    };
  }
}

/** For people. */
export function judgementText(judgement: Judgement, profileDigest: string): string {
  const { verdict, findings, threshold, alpha, detectors } = judgement;
  const shown = findings.map(
    ({ sample, output, id, evidence }) => `  ${sample}.${output} ${id}: ${evidence}\n`,
  );
  const each = detectors.map(
    (one) => `  ${one.id}: ${Math.max(one.logE, one.logChange).toFixed(2)} nats\n`,
  );
  const log = Math.max(judgement.logE, judgement.logChange).toFixed(2);
  return [
    `${verdict.toUpperCase()} by the profile ${profileDigest.slice(0, 16)}...: `,
    `log e-value ${log} nats, threshold ${threshold.toFixed(2)} (ln 2/alpha, alpha ${alpha})\n`,
    ...each,
    ...shown,
  ].join("");
}
