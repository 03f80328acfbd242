/** report.html: one page without a network, from what report.json says and the trials themselves. */
import { attackGroups } from "../../adversary/attack.ts";
import { bitsPlot, curvesPlot, delaysPlot } from "./report-plots.ts";
import { style } from "./report-style.ts";
import type { Report } from "./report-json.ts";
import type { AttackSummary, Quantiles } from "./summary.ts";
import { escaped, figure } from "./svg.ts";
import type { RunHead, StepTaken, Trial } from "./trial.ts";

const percent = (share: number): string => `${figure(100 * share)}%`;
const maybe = (value: number | null, unit = ""): string =>
  value === null ? "not known" : `${figure(value)}${unit}`;

function until({ median, p90 }: Quantiles, budget: number): string {
  if (median === null) return Number.isFinite(budget) ? `none in ${figure(budget)}` : "–";
  const shown = (value: number | null): string =>
    value === null ? (Number.isFinite(budget) ? `over ${figure(budget)}` : "–") : figure(value);
  return `${shown(median)} / ${shown(p90)}`;
}

function layersText({ layers, trials }: AttackSummary): string {
  const words = Object.entries(layers).map(([layer, count]) => {
    const name = layer === "none" ? "not caught" : layer;
    const kind = layer === "none" ? "free" : "held";
    const often = count === trials ? "" : ` ${count} of ${trials}`;
    return `<span class="${kind}">${escaped(name)}${often}</span>`;
  });
  return words.join(", ");
}

function escapeText({ escape, trials }: AttackSummary): string {
  const { count, low, high } = escape;
  return `${count} of ${trials} (${percent(low)} to ${percent(high)})`;
}

function bitsLeft({ bits }: AttackSummary): string {
  if (bits.decoded !== null) return `${figure(bits.decoded)} decoded`;
  return bits.bound === null ? "not measured" : `at most ${figure(bits.bound)}`;
}

function tableRow(one: AttackSummary): string {
  const surprise = one.asExpected ? "" : ' <span class="tag">not as expected</span>';
  const twin = one.twin.accused === 0 ? "0" : `<span class="free">${one.twin.accused}</span>`;
  return `<tr><th scope="row"><a href="#${one.attack}-${one.mode}">${escaped(one.attack)}</a> <span class="tag">${one.mode}</span></th>
<td>${layersText(one)}${surprise}</td><td class="n">${until(one.tokens, one.budget)}</td><td class="n">${until(one.pairs, Infinity)}</td>
<td class="n">${bitsLeft(one)}</td><td class="n">${escapeText(one)}</td><td class="n">${twin}</td></tr>`;
}

function overview(report: Report): string {
  const rows = report.attacks.map(tableRow).join("\n");
  return `<div class="scroll" tabindex="0" role="region" aria-label="All attacks"><table>
<caption>Tokens and pairs: recomputed ones until the alarm, median / 90%. Bits: at most what left before, by the capacity meter, or what a receiver decoded. Escaped: with a 95% interval (Clopper and Pearson). Twin: trials in which the honest server beside it was accused.</caption>
<thead><tr><th scope="col">attack</th><th scope="col">stopped by</th><th scope="col" class="n">tokens</th><th scope="col" class="n">pairs</th><th scope="col" class="n">bits left</th><th scope="col" class="n">escaped</th><th scope="col" class="n">twin</th></tr></thead>
<tbody>${rows}</tbody></table></div>`;
}

const term = (name: string, text: string): string => `<dt>${escaped(name)}</dt><dd>${text}</dd>`;

function bitsTerms({ bits }: AttackSummary): string {
  const bound =
    bits.boundPerToken === null
      ? ""
      : term(
          "bound",
          `${figure(bits.boundPerToken)} bits per token by the ${bits.boundBy}, ${maybe(bits.bound)} bits over ${figure(bits.tokensLeft)} tokens that had left; meter and release counts together ${maybe(bits.allPerToken)} per token`,
        );
  if (bits.decoded === null) return bound;
  const above = bits.aboveBound ? ' <span class="free">above the bound</span>' : "";
  const decoded = `${figure(bits.decoded)} bits, ${maybe(bits.decodedPerToken)} per token${above}, ${maybe(bits.decodedPerSecond)} per second; ${bits.wrong === null ? "" : `${percent(bits.wrong)} of symbols wrong; `}whole message in ${bits.recovered} trials`;
  const beside =
    bits.carrier === "tokens"
      ? ""
      : term(
          "carried by",
          `${bits.carrier}, not tokens: the bound that applies is that of the gateway's counts of release ticks, failures and ends, not the meter's`,
        );
  return term("decoded", decoded) + beside + bound;
}

function rungsOf(trials: readonly Trial[]): { name: string; logE: number }[] {
  const threshold = trials[0]?.threshold ?? 0;
  return [{ name: "shutdown", logE: threshold }];
}

function stepsText(trials: readonly Trial[]): string {
  const first = new Map<string, number[]>();
  for (const { steps } of trials) {
    for (const { step, tokens } of steps satisfies readonly StepTaken[]) {
      first.set(step, [...(first.get(step) ?? []), tokens]);
    }
  }
  const words = [...first].map(([step, tokens]) => {
    const sorted = [...tokens].sort((a, b) => a - b);
    const middle = sorted[Math.floor((sorted.length - 1) / 2)] ?? 0;
    return `${step} after ${figure(middle)} tokens (${tokens.length} of ${trials.length})`;
  });
  return words.join("; ");
}

function learntText(trials: readonly Trial[]): string {
  const last = trials.at(-1)?.learnt ?? [];
  if (last.length === 0) return "";
  const rows = last.map(
    ({ what, answer, detail }) =>
      `<li><strong class="${answer === "yes" ? "free" : "held"}">${answer}</strong>: ${escaped(what)}${detail === "" ? "" : ` <span class="muted">(${escaped(detail)})</span>`}</li>`,
  );
  return `<details><summary>What it tried and learnt, last trial</summary><ul>${rows.join("")}</ul></details>`;
}

function section(one: AttackSummary, trials: readonly Trial[]): string {
  const by = Object.entries(one.by).map(([id, count]) => `${escaped(id)} (${count})`);
  const steps = stepsText(trials);
  const curves = trials.some(({ curve }) => curve.length > 1)
    ? `<figure class="curves">${curvesPlot(trials, rungsOf(trials))}<figcaption>One line per trial. A line that ends at the top or before it: caught there, by evidence or by a hard finding.</figcaption></figure>`
    : "";
  const accused = one.twin.accusations.slice(0, 3).map(escaped).join("; ");
  return `<article class="attack" id="${one.attack}-${one.mode}"><div class="head"><h3>${escaped(one.attack)}</h3><span class="tag">${one.mode}</span><span class="tag">${one.group}</span><span class="tag">expected: ${one.expected}</span></div>
<p>It ${escaped(one.title)}. ${escaped(one.why)}</p>
<dl>${term("stopped by", layersText(one))}${by.length === 0 ? "" : term("found by", by.join(", "))}
${term("tokens until alarm", `${until(one.tokens, one.budget)} (median / 90%)`)}${term("seconds until alarm", until(one.seconds, Infinity))}
${steps === "" ? "" : term("ladder", escaped(steps))}${term("escaped", escapeText(one))}${bitsTerms(one)}
${term("honest twin", one.twin.accused === 0 ? `never accused, ${figure(one.twin.auditedTokens)} tokens recomputed` : `<span class="free">accused in ${one.twin.accused}</span>: ${accused}`)}</dl>${learntText(trials)}${curves}</article>`;
}

function provenance(runs: readonly RunHead[]): string {
  const rows = runs.map(
    (run) =>
      `<dl>${term("command", `<code>${escaped(run.command)}</code>`)}${term("date", new Date(run.atMs).toISOString())}${term("model", `${escaped(run.model)} <code>${run.modelRoot.slice(0, 16)}</code>`)}${term("engine", escaped(run.engine))}${term("profile", `<code>${run.profile.slice(0, 16)}</code>, ${escaped(run.profileBasis)}`)}${term("policy", `<code>${run.policy.slice(0, 16)}</code>`)}${term("machine", escaped(run.machine))}${term("Weir", escaped(run.weir))}</dl>`,
  );
  return rows.join("<hr>");
}

/** What nothing stopped, and why, in the words of each attack's author. */
function succeeded(summaries: readonly AttackSummary[]): string {
  const free = summaries.filter(({ escape }) => escape.count > 0);
  if (free.length === 0) return "";
  const items = free.map(
    (one) =>
      `<li><a href="#${one.attack}-${one.mode}">${escaped(one.attack)}</a> <span class="tag">${one.mode}</span> ${one.escape.count} of ${one.trials}: it ${escaped(one.title)}. ${escaped(one.why)}</li>`,
  );
  return `<h2>What succeeded</h2><ul class="free-list">${items.join("\n")}</ul>`;
}

/** The page. `trials`: all that the report sums up. */
export function reportHtml(report: Report, trials: readonly Trial[]): string {
  const of = ({ attack, mode }: AttackSummary): Trial[] =>
    trials.filter((trial) => trial.attack === attack && trial.mode === mode);
  const rows = report.attacks.map((summary) => ({ summary, trials: of(summary) }));
  const stego = report.attacks.filter(({ bits }) => bits.decoded !== null);
  const delays =
    rows.length === 0
      ? ""
      : `<figure class="rows">${delaysPlot(rows)}<figcaption>One dot per trial, its median as a bar; a cross: nothing stopped it.</figcaption></figure>`;
  const bits =
    stego.length === 0
      ? ""
      : `<h2>Hidden messages</h2><figure class="rows">${bitsPlot(stego)}<figcaption>Dot: bits per token that a receiver decoded from what left. Bar: what its carrier may have carried at most: by the capacity meter where tokens carry it, by the gateway's counts of what left beside them where time or failures do.</figcaption></figure>`;
  const groups = attackGroups.map((group) => {
    const mine = rows.filter(({ summary }) => summary.group === group);
    if (mine.length === 0) return "";
    return `<h2>${group[0]?.toUpperCase() ?? ""}${group.slice(1)}</h2>${mine.map((row) => section(row.summary, row.trials)).join("\n")}`;
  });
  const skipped = report.skipped.map(
    ({ attack, mode, why }) => `<li>${escaped(attack)} (${mode}): ${escaped(why)}</li>`,
  );
  const notRun =
    skipped.length === 0 ? "" : `<h2>Not run</h2><ul>${[...new Set(skipped)].join("")}</ul>`;
  const last = report.runs.at(-1);
  const when = last === undefined ? "" : new Date(last.atMs).toISOString().slice(0, 10);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Weir red team, ${when}</title><style>${style}</style></head><body><main>
<h1>What the red team came to</h1><p class="when">${when}, ${trials.length} trials of ${report.attacks.length} attacks. <em>live</em>: separate processes in sandboxes; <em>lab</em>: the same code and engine in one process.</p>
<p class="lead">${escaped(report.summary)}</p>
${succeeded(report.attacks)}
<h2>All attacks</h2>${overview(report)}${delays}${bits}
${groups.join("\n")}${notRun}
<h2>Where this comes from</h2>${provenance(report.runs)}
</main></body></html>
`;
}
