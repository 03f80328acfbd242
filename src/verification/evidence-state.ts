/** How evidence about a server is stored: JSON with a version, one document per server. */
import { InvalidError } from "../base/assert.ts";
import { Fields, parseJson } from "../format/json.ts";
import { fractions, stakes } from "./bets.ts";
import type { DetectorAccount, EvidenceState } from "./sequential.ts";

/** Changes whenever stakes, fractions or entry weights change: old wealth would mean something else. */
const schema = 1;
/** Nats. 10^7 pairs at the worst factor of any bettor stay far below. */
const logMax = 1e12;
const countMax = Number.MAX_SAFE_INTEGER;
/** Rounding of shares, which are stored as they are. */
const rounding = 1e-9;

/** The document for `state`. Finite by construction: no bettor can lose everything. */
export function encodeEvidence(state: EvidenceState): string {
  return JSON.stringify({ schema, ...state });
}

/**
 * Reads what `encodeEvidence` wrote. InvalidError (`json.syntax`, `json.shape`, `evidence.*`) names the
 * field that is wrong; capital that does not add up is refused.
 */
export function decodeEvidence(text: string): EvidenceState {
  const from = new Fields(parseJson(text), "evidence");
  from.integer("schema", schema, schema);
  const state: EvidenceState = {
    pairs: from.integer("pairs", 0, countMax),
    tokens: from.integer("tokens", 0, countMax),
    reserve: from.number("reserve", Number.MIN_VALUE, 1),
    detectors: from
      .objects("detectors")
      .map((entry, i) => parseAccount(entry, `evidence.detectors[${i}]`)),
  };
  from.end();
  checkWhole(state);
  return state;
}

function parseAccount(from: Fields, path: string): DetectorAccount {
  const account: DetectorAccount = {
    id: from.text("id"),
    kind: parseKind(from.text("kind"), `${path}.kind`),
    share: from.number("share", Number.MIN_VALUE, 1),
    bets: from.integer("bets", 0, countMax),
    start: from.numbers("start", -logMax, logMax),
    change: from.numbers("change", -logMax, logMax),
  };
  from.end();
  const unit = account.kind === "bounded" ? stakes.length : fractions.length;
  const bettors = account.start.length;
  const fits = account.kind === "bounded" ? bettors === unit : bettors > 0 && bettors % unit === 0;
  if (!fits) refuse("bettors", `${path}.start has ${bettors} bettors, not ${unit} or a multiple`);
  if (account.change.length !== bettors) {
    refuse("bettors", `${path}.change has ${account.change.length} bettors, start ${bettors}`);
  }
  if (account.bets === 0 && [...account.start, ...account.change].some((log) => log !== 0)) {
    refuse("bets", `${path}.bets is 0, but there is wealth`);
  }
  return account;
}

function parseKind(text: string, path: string): DetectorAccount["kind"] {
  if (text === "bounded" || text === "ratios") return text;
  return refuse("kind", `${path} must be bounded or ratios`);
}

function checkWhole(state: EvidenceState): void {
  if (state.tokens < state.pairs) refuse("tokens", "evidence.tokens is less than evidence.pairs");
  let capital = state.reserve;
  state.detectors.forEach((account, i) => {
    const previous = state.detectors[i - 1];
    if (previous !== undefined && previous.id >= account.id) {
      refuse("order", `evidence.detectors[${i}].id must come after ${previous.id}`);
    }
    if (account.bets > state.pairs) refuse("bets", `evidence.detectors[${i}].bets exceeds pairs`);
    capital += account.share;
  });
  if (Math.abs(capital - 1) > rounding) {
    refuse("capital", `evidence.reserve and the shares add up to ${capital}, not to 1`);
  }
}

function refuse(code: string, message: string): never {
  throw new InvalidError(`evidence.${code}`, message);
}
