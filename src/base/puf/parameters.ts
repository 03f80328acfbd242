/**
 * Parameters of the fuzzy extractor and what they are worth: the entropy that public helper data leave, and the
 * chance that a key does not come back, both computed exactly and not copied. The textbook count n - k bits per block
 * is wrong for biased cells: for rep7 x BCH(255,131) at 0.88 bits per cell it comes to less than nothing.
 */
import { BchCode } from "./bch.ts";

/** One construction: `blocks` code words of BCH over GF(2^m) correcting t, each bit repeated `repeat` times. */
export interface PufParameters {
  readonly id: string;
  readonly m: 7 | 8;
  readonly t: number;
  readonly repeat: number;
  readonly blocks: number;
  /** Share of ones among cells that the entropy is counted for. */
  readonly bias: number;
  /** Share of cells that may differ between two power-ups, which the failure rate is counted for. */
  readonly errorRate: number;
}

const row = (
  ...[bias, errorRate, repeat, m, t, blocks]: readonly [
    number,
    number,
    number,
    7 | 8,
    number,
    number,
  ]
): PufParameters => ({
  id: `rep${repeat}-bch${2 ** m - 1}-t${t}-x${blocks}`,
  ...{ m, t, repeat, blocks, bias, errorRate },
});

/** Constructions with at least 256 bits left and a failure rate of at most 10^-9, by bias and error rate. */
export const pufTable: readonly PufParameters[] = [
  row(0.5, 0.05, 1, 8, 42, 6),
  row(0.5, 0.1, 5, 8, 18, 2),
  row(0.5, 0.15, 9, 7, 10, 4),
  row(0.54, 0.05, 3, 8, 18, 3),
  row(0.54, 0.1, 9, 8, 7, 2),
  row(0.54, 0.15, 7, 8, 19, 4),
  row(0.6, 0.05, 3, 8, 15, 6),
  row(0.6, 0.1, 9, 8, 7, 5),
  row(0.6, 0.15, 13, 8, 8, 9),
];

/** What devices are made with: 15 % of errors is the usual design point, 54 % of ones a usual bias. */
export const defaultPuf: PufParameters = row(0.54, 0.15, 7, 8, 19, 4);

const codes = new Map<string, BchCode>();

/** The outer code of a construction; made once. */
export function codeOf({ m, t }: PufParameters): BchCode {
  const key = `${m}/${t}`;
  const known = codes.get(key);
  if (known !== undefined) return known;
  const code = new BchCode(m, t);
  codes.set(key, code);
  return code;
}

/** Cells that a construction reads. */
export function cellsOf(parameters: PufParameters): number {
  return parameters.repeat * codeOf(parameters).n * parameters.blocks;
}

function logChoose(n: number, k: number): number {
  let sum = 0;
  for (let i = 1; i <= k; i++) sum += Math.log((n - k + i) / i);
  return sum;
}

/** P(X = k), X binomial of n and p. */
export function binomial(n: number, k: number, p: number): number {
  return Math.exp(logChoose(n, k) + k * Math.log(p) + (n - k) * Math.log1p(-p));
}

/** P(X > k), X binomial of n and p. */
export function binomialAbove(n: number, k: number, p: number): number {
  let sum = 0;
  for (let i = n; i > k; i--) sum += binomial(n, i, p);
  return sum;
}

/**
 * Average conditional min-entropy, in bits, of one bit that `repeat` cells of this bias carry, given the public
 * differences between them: -log2 of the expected best guess. An attacker sees the cells up to complement.
 */
export function repeatedEntropy(repeat: number, bias: number): number {
  let guess = 0;
  for (let ones = 0; ones <= repeat; ones++) {
    const seen = binomial(repeat, ones, bias);
    const complement = binomial(repeat, repeat - ones, bias);
    guess += Math.max(seen, complement) / 2;
  }
  return -Math.log2(guess);
}

/** Bits of min-entropy that the key has left once the helper data are public: sum of n * H - (n - k) over blocks. */
export function residualEntropy(parameters: PufParameters): number {
  const { n, k } = codeOf(parameters);
  const perBlock = n * repeatedEntropy(parameters.repeat, parameters.bias) - (n - k);
  // To a millionth of a bit: sums of floating-point numbers come out a hair below whole numbers.
  return Math.round(1e6 * parameters.blocks * perBlock) / 1e6;
}

/** Chance that a repetition decodes to the wrong bit when each cell errs with `errorRate`. */
function bitFailure(repeat: number, errorRate: number): number {
  return binomialAbove(repeat, Math.floor(repeat / 2), errorRate);
}

/** Chance that the key does not come back, exactly, when each cell errs independently with `errorRate`. */
export function failureRate(parameters: PufParameters, errorRate: number): number {
  const { n, t } = codeOf(parameters);
  const block = binomialAbove(n, t, bitFailure(parameters.repeat, errorRate));
  return -Math.expm1(parameters.blocks * Math.log1p(-block));
}
