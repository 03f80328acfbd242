/** The plots of the report: evidence over tokens, tokens until alarm, bits against the meter. */
import type { AttackSummary } from "./summary.ts";
import {
  bottomAxis,
  cross,
  decades,
  dot,
  figure,
  label,
  leftAxis,
  line,
  linear,
  logarithmic,
  picture,
  polyline,
  ticks,
  type Box,
} from "./svg.ts";
import { layerOf, type Trial } from "./trial.ts";

const curveBox: Box = { width: 640, height: 250, left: 44, right: 12, top: 26, bottom: 38 };

/** The higher of the two statistics: what the ladder looks at. */
const worse = (logE: number, logChange: number): number => Math.max(logE, logChange);

/** Log e-value over recomputed tokens, one line per trial, with the thresholds of the ladder. */
export function curvesPlot(
  trials: readonly Trial[],
  rungs: readonly { readonly name: string; readonly logE: number }[],
): string {
  const drawn = trials.filter(({ curve }) => curve.length > 1);
  const tokensMax = Math.max(100, ...drawn.map(({ curve }) => curve.at(-1)?.[0] ?? 0));
  const all = drawn.flatMap(({ curve }) => curve.map(([, a, b]) => worse(a, b)));
  const top = Math.max(20, ...rungs.map(({ logE }) => logE * 1.1));
  const low = Math.max(-10, Math.min(0, ...all));
  const box = curveBox;
  const x = linear([0, tokensMax], [box.left, box.width - box.right]);
  const y = linear([low, top], [box.height - box.bottom, box.top]);
  const clip = (value: number): number => y(Math.min(top, Math.max(low, value)));
  const lines = drawn.map((trial) => {
    const points = trial.curve.map(([t, a, b]) => [x(t), clip(worse(a, b))] as const);
    const kind = trial.alarm === null ? "curve free" : "curve held";
    return polyline([[x(0), clip(0)], ...points], kind);
  });
  const marks = rungs.map(
    ({ name, logE }) =>
      line(box.left, y(logE), box.width - box.right, y(logE), "rung") +
      label(box.width - box.right, y(logE) - 4, `${name}, ${logE.toFixed(1)}`, "end", "rungname"),
  );
  const about = `Log e-value over recomputed tokens in ${drawn.length} trials; the threshold for shutdown is ${(rungs.at(-1)?.logE ?? 0).toFixed(1)} nats.`;
  return picture(
    box,
    about,
    bottomAxis(box, x, ticks(0, tokensMax, 6), "recomputed tokens") +
      leftAxis(box, y, ticks(low, top, 5), "log e-value, nats") +
      marks.join("") +
      lines.join(""),
  );
}

const rowHeight = 22;

const nameOf = ({ attack, mode }: AttackSummary): string =>
  mode === "live" ? `${attack}, live` : attack;

interface Row {
  readonly summary: AttackSummary;
  readonly trials: readonly Trial[];
}

function axisRange(values: readonly number[], floor: number): readonly [number, number] {
  const used = values.filter((value) => value > 0);
  const low = Math.min(floor * 10, ...used);
  const high = Math.max(floor * 100, ...used);
  return [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high))];
}

function rowBox(rows: number): Box {
  const height = 30 + rows * rowHeight + 40;
  return { width: 640, height, left: 190, right: 60, top: 20, bottom: 40 };
}

/** One dot per trial where its alarm fell; a cross at the right where none did. */
export function delaysPlot(rows: readonly Row[]): string {
  const alarms = rows.flatMap(({ trials }) => trials.map(({ alarm }) => alarm?.auditedTokens ?? 0));
  const budgets = rows.map(({ summary }) => summary.budget);
  const range = axisRange([...alarms, ...budgets], 1);
  const box = rowBox(rows.length);
  const x = logarithmic(range, [box.left, box.width - box.right]);
  const edge = box.width - box.right + 24;
  const body = rows.map(({ summary, trials }, i) => {
    const y = box.top + (i + 0.5) * rowHeight;
    const marks = trials.map((trial) => {
      const { alarm, seed } = trial;
      if (alarm !== null) {
        const title = `seed ${seed}: ${alarm.auditedTokens} tokens, ${alarm.by}`;
        return dot(x(alarm.auditedTokens), y, 4, "trial held", title);
      }
      const held = layerOf(trial) !== "none";
      const title = `seed ${seed}: no alarm in ${trial.served.tokens} tokens`;
      return held
        ? dot(edge, y, 4, "trial held", `${title}; it came to nothing`)
        : cross(edge, y, 4, "trial free", title);
    });
    const { median } = summary.tokens;
    const middle = median === null ? "" : line(x(median), y - 8, x(median), y + 8, "median");
    const name = label(box.left - 8, y + 4, nameOf(summary), "end", "name");
    const rule = line(box.left, y, box.width - 8, y, "row");
    return name + rule + marks.join("") + middle;
  });
  const never = label(edge, box.top - 6, "no alarm", "middle");
  const about = `Recomputed tokens until the alarm, for ${rows.length} attacks; the table gives the same figures.`;
  const axis = bottomAxis(
    box,
    x,
    decades(...range),
    "recomputed tokens until the alarm (logarithmic)",
  );
  return picture(box, about, axis + never + body.join(""));
}

/** Bits per token that receivers decoded, beside the bound on what carried them. */
export function bitsPlot(rows: readonly AttackSummary[]): string {
  const values = rows.flatMap(({ bits }) => [bits.decodedPerToken ?? 0, bits.boundPerToken ?? 0]);
  const range = axisRange(
    values.map((value) => Math.max(value, 0.0005)),
    0.001,
  );
  const box = rowBox(rows.length);
  const x = logarithmic(range, [box.left, box.width - box.right]);
  const body = rows.map((row, i) => {
    const { attack, bits, mode } = row;
    const y = box.top + (i + 0.5) * rowHeight;
    const name = label(box.left - 8, y + 4, nameOf(row), "end", "name");
    const rule = line(box.left, y, box.width - box.right, y, "row");
    const decoded = bits.decodedPerToken ?? 0;
    const bound = bits.boundPerToken;
    const limit =
      bound === null
        ? ""
        : line(x(bound), y - 7, x(bound), y + 7, "bound") +
          label(x(bound) + 5, y + 4, figure(bound), "start");
    const title = `${attack}, ${mode}: ${figure(decoded)} bits per token decoded`;
    return name + rule + limit + dot(x(decoded), y, 4.5, "decoded", title);
  });
  const about =
    "Bits per token that receivers decoded, and the bound on their carrier; the table gives the same figures.";
  const axis = bottomAxis(box, x, decades(...range), "bits per token (logarithmic)");
  return picture(box, about, axis + body.join(""));
}
