/** What a calibration says: a progress line while it runs, tables at its end. */
import { runOf, type HonestCell } from "../../verification/calibration.ts";
import type { EdgeBound } from "../../verification/edge.ts";
import type { Profile } from "../../format/profile.ts";
import { table } from "../site/screen.ts";
import type { Measured } from "./measure.ts";
import { detectors, evidenceWidth } from "./scoring.ts";

/** Milliseconds between two progress lines where standard error is no terminal. */
const lineMs = 4000;

function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** Writes progress with an estimate of the time that is left: one line, rewritten, on a terminal. */
export function progressLine(
  out: { write(text: string): unknown; readonly isTTY?: boolean | undefined },
  nowMs: () => number,
): { readonly tell: (done: number, what: string) => void; readonly end: () => void } {
  const startMs = nowMs();
  let shownMs = -Infinity;
  let open = false;
  return {
    tell(done, what) {
      const now = nowMs();
      if (now - shownMs < (out.isTTY === true ? 200 : lineMs)) return;
      shownMs = now;
      const left = done < 0.02 ? "" : `, ${span(((now - startMs) * (1 - done)) / done)} left`;
      const line = `${Math.floor(100 * done)}%${left}: ${what}`;
      if (out.isTTY === true) {
        out.write(`\r\x1b[K${line}`);
        open = true;
      } else out.write(`${line}\n`);
    },
    end() {
      if (open) out.write("\n");
      open = false;
    },
  };
}

const small = (value: number): string => (value === 0 ? "0" : value.toPrecision(2));

/** Which builds computed alike, and the noise between those that did not. */
export function buildsText(measured: Measured): string {
  const members = measured.servers.map(({ name, members: list }): [string, string] => [
    name,
    list.join(", "),
  ]);
  const noise = measured.noise.map(({ server, way, sigma, largest, ...to }): string[] => [
    `${server}, ${way}`,
    `${to.reference}, ${to.replay}`,
    small(sigma),
    small(largest),
  ]);
  return [
    "Builds that compute the same bits:",
    table(members),
    "Noise of one logit between server and recomputer (nats: sigma, largest):",
    table([["server", "recomputer", "sigma", "largest"], ...noise]),
  ].join("\n");
}

/** One line per kind of server and reference. */
export function cellsText(cells: readonly HonestCell[]): string {
  const rows = cells.map((cell): string[] => {
    const { tokens, pairs, mismatches, meanMargin, maxMargin, outside } = runOf(cell);
    const share = tokens === 0 ? 0 : (100 * mismatches) / tokens;
    return [
      cell.server,
      `${cell.reference}, ${cell.replay}`,
      cell.condition.split(";")[0] ?? "",
      String(pairs),
      String(tokens),
      `${share.toFixed(4)}%`,
      String(outside),
      small(meanMargin),
      small(maxMargin),
    ];
  });
  const head = ["server", "recomputer", "shape", "pairs", "tokens"];
  return table([[...head, "differ", "outside", "mean margin", "largest"], ...rows]);
}

/** How the edge came about. */
export function edgeText(bound: EdgeBound): string {
  const { edge, values, largest, exceeding, threshold, excessUpper } = bound;
  return (
    `Edge: ${small(edge)} nats, from ${values} pairs of at most ${small(largest)}: ` +
    `${exceeding} beyond ${small(threshold)}, by at most ${small(excessUpper)} on average\n\n`
  );
}

/** Detectors' numbers of a profile. */
export function detectorsText(profile: Profile): string {
  const rows = profile.detectors.map(({ id, observed, upper, nullMean }): string[] => [
    id,
    small(observed),
    small(upper),
    small(nullMean),
  ]);
  return table([["detector", "observed", "upper", "null mean"], ...rows]);
}

/** Mean evidence per detector (ratios: of the best alternative, nats per token), over all pairs. */
export function evidenceMeans(cells: readonly HonestCell[]): { id: string; mean: number }[] {
  let at = 0;
  return detectors.map(({ id, kind, alternatives }) => {
    const sums = new Array<number>(alternatives).fill(0);
    let [draws, tokens] = [0, 0];
    for (const pair of cells.flatMap((cell) => cell.pairs)) {
      for (let start = at; start < pair.evidence.length; start += evidenceWidth) {
        for (let i = 0; i < alternatives; i++) {
          sums[i] = (sums[i] ?? 0) + (pair.evidence[start + i] ?? 0);
        }
        draws++;
        tokens += pair.tokens;
      }
    }
    at += alternatives;
    return { id, mean: Math.max(...sums) / Math.max(1, kind === "bounded" ? draws : tokens) };
  });
}
