/**
 * The largest margin of a pair, unclipped: a single token far from the draw, which a mean over a long
 * pair would bury.
 *
 *   value = m / (m + 0.3), m the largest margin; 1 where a token lies outside the support
 *
 * Half at 0.3 nats, the floor of the limit at which a single token fails at once (spec/verdict.md
 * section 5): so the whole range below that limit is told apart.
 */
import type { Detector } from "../detector.ts";

const half = 0.3;

export const tail: Detector = {
  id: "tail",
  title: "the largest single deviation of a pair",
  source: "Token-DiFR's margin without its clip; the transform is Weir's own",
  kind: "bounded",
  alternatives: 1,
  needsSeed: true,
  evidence({ tokens }) {
    let largest = 0;
    for (const { margin } of tokens) largest = Math.max(largest, margin);
    return { kind: "bounded", value: largest === Infinity ? 1 : largest / (largest + half) };
  },
};
