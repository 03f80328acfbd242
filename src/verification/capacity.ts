/**
 * The cumulative covert-capacity meter of one server: how many bits per token its replies may have
 * carried to somebody who can recompute them too, given everything that audits saw.
 *
 * The bound. Fix a margin b and a rank K. A claimed token is *near* when it is among the N_b candidates
 * whose noisy score lies within b of the best; otherwise it *deviates*, and then *deeply* when K or
 * more candidates beat it. With p the share of tokens that deviate and q the share of those that are
 * deep, V the vocabulary:
 *
 *   C(b, K) = H(p) + (1-p) E[log2 N_b | near] + p ( H(q) + (1-q) log2 K + q log2(V-K) )
 *
 * Where each term comes from: write a reply down for somebody who has the model and the seed. For each
 * token first say whether it deviates, which costs H(p) bits per token in the long run (`positions`);
 * if it is near, which of the N_b it is (`nearTies`); if it deviates, whether deeply, H(q) (`depth`);
 * then which of the K best (`shallow`) or which of the others (`deep`). Nobody can carry more in a
 * reply than it takes to write it down: the weights 2^-cost of all replies sum to at most 1 (Kraft), at
 * every prefix, so at most 2^c replies cost c bits or less. This is a theorem about trees of tokens,
 * not an average; `capacity.test.ts` counts all replies of small alphabets against it.
 *
 * Why H(p), the entropy of *which* positions deviate, must be in: the published simple bound p log2 V
 * (arXiv 2511.02620) pays only for what the odd tokens are. But a sender who only ever chooses between
 * "as computed" and "the runner-up" speaks by *where* he deviates: one deviation in 200 tokens carries
 * log2 200 = 7.6 bits by its place, whatever the token. p = 0.5%: H(p) = 0.045 bits per token, as much
 * again as the headline 0.5% of log2 V = 0.085. (Five terms: research of June 2026, repository
 * zk-hillclimb.)
 *
 * The least over a grid. Each (b, K) gives a valid bound, so the least does, at a price: the receiver
 * must know which cell and which p, q. That costs log2(cells) + 2 log2(tokens + 1) bits once per
 * stream, reported as `choice`. The grid is fixed here, in advance; the confidence bounds hold for all
 * of its cells at once (alpha is shared out), so that taking the least is not optimism.
 *
 * Uncertainty. Tokens of a pair depend on each other and pairs are drawn by coins, so the observation
 * is the pair: sums per pair, divided by the longest pair, in bounded-mean.ts, which needs nothing but
 * their boundedness and holds at all times at once, however often the meter is read. That is why an
 * honest server's upper bound falls like 1/pairs: after n clean pairs a share of about 10/n of all pairs
 * may still be altogether forged. Bits per second follow with the served token rate.
 *
 * Trust: only pairs kept by the coin may be added; pairs that were rechecked because of suspicion are
 * no sample. When epsilon changes, later pairs weigh differently. Lengths of all pairs stand in the log,
 * audited or not, so the mean and the longest length are taken as known.
 */
import { assert, InvalidError } from "../base/assert.ts";
import { Fields, parseJson } from "../format/json.ts";
import { lowerMean, upperMean, type Moments } from "./bounded-mean.ts";
import { gapsMax, type TokenFacts } from "./facts.ts";

/** Margins, nats of logit. Near the noise of honest engines the best b is a few standard deviations. */
export const marginGrid = [0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28] as const;
export const rankGrid = [1, 2, 4, 8, 32, 128] as const;

/** A cell of the grid is chosen, and p and q, once per stream. */
const cells = marginGrid.length * rankGrid.length;
/** log2 N_b never exceeds this: a token with more near ties than facts list counts as deviating. */
const nearBitsMax = Math.log2(gapsMax);
/** Bounds that must hold at once: shares that deviate and near bits for each b, deep shares for each cell. */
const statements = 2 * marginGrid.length + cells;

/** Sums over pairs of a quantity per pair, and of its square. */
export interface BlockSums {
  readonly sum: number;
  readonly squares: number;
}

/** What one server's audited pairs have shown; goes through `encodeCapacity` unchanged. */
export interface CapacityState {
  readonly pairs: number;
  readonly tokens: number;
  /** Tokens of the longest pair. */
  readonly longest: number;
  /** The largest vocabulary that was served. */
  readonly vocabSize: number;
  /** One for each b: tokens that deviate. */
  readonly deviating: readonly BlockSums[];
  /** One for each b: log2 N_b over near tokens. */
  readonly nearBits: readonly BlockSums[];
  /** One for each (b, K), K fastest: tokens that deviate deeply. */
  readonly deep: readonly BlockSums[];
}

export interface CapacityTerms {
  readonly positions: number;
  readonly nearTies: number;
  readonly depth: number;
  readonly shallow: number;
  readonly deep: number;
  /** Which cell of the grid and which p and q: falls like log(tokens)/tokens. */
  readonly choice: number;
}

/** Bits per token. All but lower and upper are those of the audited tokens themselves. */
export interface CapacityResult {
  readonly bitsPerToken: number;
  /** Between these the meter of *all* tokens served lies, audited or not, with the asked confidence. */
  readonly lower: number;
  readonly upper: number;
  /** The cell of the grid with the least bits: margin in nats, rank. */
  readonly b: number;
  readonly k: number;
  /** Share of tokens that deviate, share of those that are deep. */
  readonly p: number;
  readonly q: number;
  readonly terms: CapacityTerms;
  /** p log2 V with p at b = 0, as published; for comparison, it is not a bound. */
  readonly simple: number;
}

export interface CapacityOptions {
  /** Of lower and upper together; default 0.95. */
  readonly confidence?: number;
  /** Longest pair served, tokens; default the longest audited. */
  readonly longestPair?: number;
}

const none: BlockSums = { sum: 0, squares: 0 };

/** A server of which nothing has been audited; it could name `vocabSize` tokens. */
export function newCapacity(vocabSize: number): CapacityState {
  assert(Number.isInteger(vocabSize) && vocabSize >= 2, "a vocabulary has at least two tokens");
  return {
    ...{ pairs: 0, tokens: 0, longest: 0, vocabSize },
    deviating: marginGrid.map(() => none),
    nearBits: marginGrid.map(() => none),
    deep: Array.from({ length: cells }, () => none),
  };
}

const plus = (sums: BlockSums, value: number): BlockSums =>
  value === 0 ? sums : { sum: sums.sum + value, squares: sums.squares + value * value };

/** N_b of a position; Infinity when more candidates lie within b than the facts list. */
function nearCount(facts: TokenFacts, b: number): number {
  const { gaps } = facts;
  let count = 0;
  while (count < gaps.length && (gaps[count] ?? Infinity) <= b) count++;
  return count === gapsMax ? Infinity : count;
}

/** What one pair adds at one margin. */
function pairAt(facts: readonly TokenFacts[], b: number): { off: TokenFacts[]; bits: number } {
  const off: TokenFacts[] = [];
  let bits = 0;
  for (const token of facts) {
    const near = nearCount(token, b);
    // Outside the support the margin is Infinity; by its rank a token is one of the N_b or it is not.
    if (token.margin > b || token.rank >= near || near === Infinity) off.push(token);
    else bits += Math.log2(near);
  }
  return { off, bits };
}

/**
 * The state after one more audited pair; an empty pair changes nothing. `vocabSize`: tokens that the
 * server could have named.
 */
export function addTokens(
  state: CapacityState,
  facts: readonly TokenFacts[],
  vocabSize: number,
): CapacityState {
  assert(Number.isInteger(vocabSize) && vocabSize >= 2, "a vocabulary has at least two tokens");
  if (facts.length === 0) return state;
  const pair = marginGrid.map((b) => pairAt(facts, b));
  return {
    pairs: state.pairs + 1,
    tokens: state.tokens + facts.length,
    longest: Math.max(state.longest, facts.length),
    vocabSize: Math.max(state.vocabSize, vocabSize),
    deviating: state.deviating.map((sums, i) => plus(sums, pair[i]?.off.length ?? 0)),
    nearBits: state.nearBits.map((sums, i) => plus(sums, pair[i]?.bits ?? 0)),
    deep: state.deep.map((sums, cell) => {
      const rank = rankGrid[cell % rankGrid.length] ?? 1;
      const off = pair[Math.floor(cell / rankGrid.length)]?.off ?? [];
      return plus(sums, off.filter((token) => token.rank >= rank).length);
    }),
  };
}

/** -x log2 x. */
const surprisal = (x: number): number => (x <= 0 ? 0 : -x * Math.log2(x));

/**
 * The five terms from shares per token: `off` deviating, `deep` of them deeply, `near` bits of near
 * ties. 0 <= deep <= off <= 1. A deep token is charged log2(V-1) rather than log2(V-K): where top-p
 * keeps fewer than K candidates, more than V-K tokens lie outside.
 */
export function capacityTerms(
  off: number,
  deep: number,
  near: number,
  k: number,
  vocabSize: number,
): Omit<CapacityTerms, "choice"> {
  const shallow = off - deep;
  const positions = surprisal(off) + surprisal(1 - off);
  // p H(q), written so that p = 0 needs no case.
  const depth = Math.max(0, surprisal(deep) + surprisal(shallow) - surprisal(off));
  const best = Math.log2(Math.min(k, vocabSize));
  return {
    ...{ positions, nearTies: near, depth },
    shallow: shallow * best,
    deep: deep * Math.log2(vocabSize - 1),
  };
}

const total = (terms: Omit<CapacityTerms, "choice">): number =>
  terms.positions + terms.nearTies + terms.depth + terms.shallow + terms.deep;

/**
 * The largest five-term value with at most these shares. The sum is concave; with S shallow and D
 * deep tokens to choose from it rises up to off = (S + deep)/(S + 1) and deep = off D/(S + D), and falls
 * beyond.
 */
export function largest(
  off: number,
  deep: number,
  near: number,
  k: number,
  vocabSize: number,
): number {
  const s = Math.min(k, vocabSize);
  const d = vocabSize - 1;
  const mostDeep = Math.min(deep, d / (1 + s + d));
  const most = Math.min(off, (s + mostDeep) / (s + 1));
  return total(capacityTerms(most, Math.min(mostDeep, (most * d) / (s + d)), near, k, vocabSize));
}

/** The least five-term value with shares between these: concave, so it lies at a corner. */
function least(
  off: readonly [number, number],
  deep: readonly [number, number],
  near: number,
  k: number,
  vocabSize: number,
): number {
  const corners = off.flatMap((o) => deep.map((d) => [o, Math.min(d, o)] as const));
  return corners.reduce(
    (min, [o, d]) => Math.min(min, total(capacityTerms(o, d, near, k, vocabSize))),
    Infinity,
  );
}

/** Bounds per token on a quantity of at most `unit` per token, from its sums per pair. */
function bounds(
  state: CapacityState,
  sums: BlockSums,
  unit: number,
  longest: number,
  alpha: number,
): readonly [number, number] {
  if (state.pairs === 0) return [0, unit];
  const scale = unit * longest;
  const moments: Moments = {
    count: state.pairs,
    sum: sums.sum / scale,
    squares: sums.squares / scale ** 2,
  };
  const perToken = (scale * state.pairs) / state.tokens;
  return [
    lowerMean(moments, alpha) * perToken,
    Math.min(unit, upperMean(moments, alpha) * perToken),
  ];
}

interface Cell {
  readonly bits: number;
  readonly lower: number;
  readonly upper: number;
  readonly b: number;
  readonly k: number;
  readonly off: number;
  readonly deepShare: number;
  readonly terms: Omit<CapacityTerms, "choice">;
}

function readCells(state: CapacityState, longest: number, alpha: number): Cell[] {
  const { vocabSize } = state;
  const tokens = Math.max(1, state.tokens);
  return marginGrid.flatMap((b, i) => {
    const offSums = state.deviating[i] ?? none;
    const nearSums = state.nearBits[i] ?? none;
    const off = bounds(state, offSums, 1, longest, alpha);
    const near = bounds(state, nearSums, nearBitsMax, longest, alpha);
    return rankGrid.map((k, j): Cell => {
      const deepSums = state.deep[i * rankGrid.length + j] ?? none;
      const deep = bounds(state, deepSums, 1, longest, alpha);
      const share = offSums.sum / tokens;
      const deepShare = deepSums.sum / tokens;
      const terms = capacityTerms(share, deepShare, nearSums.sum / tokens, k, vocabSize);
      return {
        ...{ b, k, terms, deepShare, off: share, bits: total(terms) },
        lower: least(off, deep, near[0], k, vocabSize),
        upper: largest(off[1], deep[1], near[1], k, vocabSize),
      };
    });
  });
}

/**
 * Reads the meter. Before anything was audited it says what no audit would: log2 V. The point value
 * belongs to the audited tokens and is a strict bound on what they carry; `lower` and `upper` belong
 * to all tokens of the server.
 */
export function readCapacity(state: CapacityState, options: CapacityOptions = {}): CapacityResult {
  const { confidence = 0.95, longestPair = state.longest } = options;
  assert(confidence > 0 && confidence < 1, "confidence lies between 0 and 1");
  assert(longestPair >= state.longest, "no audited pair is longer than the longest served");
  const all = Math.log2(state.vocabSize);
  const alpha = (1 - confidence) / (2 * statements);
  const read = readCells(state, Math.max(1, longestPair), alpha);
  const best = read.reduce((least, cell) => (cell.bits < least.bits ? cell : least));
  const tokens = Math.max(1, state.tokens);
  const choice = (Math.log2(cells) + 2 * Math.log2(state.tokens + 1)) / tokens;
  const lower = Math.min(all, ...read.map((cell) => cell.lower));
  const upper = Math.min(all, Math.min(...read.map((cell) => cell.upper)) + choice);
  const { b, k, off, deepShare } = best;
  return {
    bitsPerToken: state.pairs === 0 ? all : Math.min(all, best.bits + choice),
    ...{ lower, upper, b, k, p: off, q: off === 0 ? 0 : deepShare / off },
    terms: { ...best.terms, choice },
    simple: state.pairs === 0 ? all : ((state.deviating[0]?.sum ?? 0) / tokens) * all,
  };
}

/**
 * Bits per second from bits per token: `auditedTokensPerSecond` / epsilon tokens are served a second.
 * 0 < epsilon <= 1.
 */
export function bitsPerSecond(
  bitsPerToken: number,
  auditedTokensPerSecond: number,
  epsilon: number,
): number {
  assert(epsilon > 0 && epsilon <= 1, "epsilon lies between 0 and 1");
  return (bitsPerToken * auditedTokensPerSecond) / epsilon;
}

/** Format of stored states; changes with the grid. */
const format = "capacity/1";

/** The state as JSON, for the database. */
export function encodeCapacity(state: CapacityState): string {
  const flat = (list: readonly BlockSums[]): number[] => list.flatMap((s) => [s.sum, s.squares]);
  const { pairs, tokens, longest, vocabSize } = state;
  return JSON.stringify({
    ...{ format, pairs, tokens, longest, vocabSize },
    deviating: flat(state.deviating),
    nearBits: flat(state.nearBits),
    deep: flat(state.deep),
  });
}

function fail(why: string): never {
  throw new InvalidError("capacity.state", `capacity state: ${why}`);
}

/** Reads pairs of sums; a sum is at most `most`, and squares are at most the sum's square. */
function sumsOf(fields: Fields, name: string, length: number, most: number): BlockSums[] {
  const list = fields.numbers(name, 0, Number.MAX_VALUE);
  if (list.length !== 2 * length) fail(`${name} must be a list of ${2 * length} numbers`);
  const slack = 1 + 1e-9;
  return Array.from({ length }, (_, i): BlockSums => {
    const sum = list[2 * i] ?? 0;
    const squares = list[2 * i + 1] ?? 0;
    if (sum > most * slack) fail(`${name}[${2 * i}] is not possible`);
    if (squares > sum * sum * slack) fail(`${name}[${2 * i + 1}] is not possible`);
    return { sum, squares };
  });
}

/** The inverse of `encodeCapacity`. Throws InvalidError that names the field. */
export function decodeCapacity(text: string): CapacityState {
  const fields = new Fields(parseJson(text), "capacity state");
  if (fields.text("format") !== format) fail(`format must be "${format}"`);
  const pairs = fields.integer("pairs", 0, Number.MAX_SAFE_INTEGER);
  const tokens = fields.integer("tokens", pairs, Number.MAX_SAFE_INTEGER);
  const longest = fields.integer("longest", pairs === 0 ? 0 : 1, tokens);
  const vocabSize = fields.integer("vocabSize", 2, 2 ** 32);
  if (tokens > pairs * longest) fail("tokens exceeds pairs x longest");
  const state: CapacityState = {
    ...{ pairs, tokens, longest, vocabSize },
    deviating: sumsOf(fields, "deviating", marginGrid.length, tokens),
    nearBits: sumsOf(fields, "nearBits", marginGrid.length, tokens * nearBitsMax),
    deep: sumsOf(fields, "deep", cells, tokens),
  };
  fields.end();
  return state;
}
