/** The tables of `weir coverage`, for terminals. */
import { cleanBound, rfd018, rfd018Table, sampleSize } from "../../verification/rfd018.ts";
import type { Coverage, Simulated } from "./answer.ts";
import type { Question } from "./question.ts";

/** Three significant digits; thousands with commas, very large and very small ones as powers. */
export function amount(value: number): string {
  if (!Number.isFinite(value)) return "never";
  if (value === 0) return "0";
  if (value >= 1e9 || value < 1e-3) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

/** Days in the unit that reads best. */
export function time(days: number): string {
  if (!Number.isFinite(days)) return "never";
  if (days >= 730) return `${amount(days / 365)} y`;
  if (days >= 1) return `${amount(days)} d`;
  const hours = days * 24;
  if (hours >= 2) return `${amount(hours)} h`;
  return hours * 60 >= 2 ? `${amount(hours * 60)} min` : `${amount(hours * 3600)} s`;
}

/** A probability, with as many nines as it has. */
export function chance(value: number): string {
  if (value < 1e-4) return value === 0 ? "0%" : "< 0.01%";
  if (1 - value < 1e-9) return "100%";
  if (value <= 0.99) return `${amount(100 * value)}%`;
  const nines = Math.ceil(-Math.log10(1 - value));
  return `${(100 * value).toFixed(Math.max(1, nines - 1))}%`;
}

const percent = (value: number): string => `${amount(100 * value)}%`;

/** Columns padded to their widest entry; the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ");
  return rows.map((row) => `  ${line(row).trimEnd()}\n`).join("");
}

function heading(question: Question): string {
  const { traffic, servers, cheating, alpha, components, solve } = question;
  const { epsilon, beta, pairsPerDay, tokensPerPair } = traffic;
  const epsilonText =
    solve === "epsilon" ? "" : ` epsilon ${amount(epsilon)}: that share is audited.`;
  const betaText = solve === "beta" ? "" : ` A cheat forges ${percent(beta)} of its pairs.`;
  const one = question.cases[0]?.detection;
  const rule =
    one === undefined || one.kind === "power"
      ? "Each audited forged pair is judged by itself."
      : `Alarm when a server's log e-value reaches ${amount(one.threshold)} nats: ` +
        `ln(2 x servers / alpha), alpha ${amount(alpha)}, + ln(8 x ${components} / 7).`;
  return (
    `${amount(servers)} servers, each ${amount(pairsPerDay)} pairs a day of ${amount(tokensPerPair)} tokens.` +
    `${epsilonText}${betaText}${solve === null ? ` ${amount(cheating)} servers cheat.` : ""}\n${rule}\n`
  );
}

/** What the mark says. */
const doubtfulText =
  "  ~ rests on a chance below 1%, where the formula errs to the late side: luck comes earlier.\n" +
  "    --simulate plays servers one by one\n";

const marked = (text: string, doubt: boolean): string => (doubt ? `~${text}` : text);

function answerTables({ question, answers, recomputation }: Coverage): string {
  const within = time(question.withinDays);
  const one = answers.map(({ name, meanAuditedForged, pairs, days, ...answer }) => [
    name,
    amount(meanAuditedForged),
    amount(pairs.mean),
    time(days.mean),
    time(days.median),
    time(days.p90),
    time(days.p999),
    marked(chance(answer.within), answer.doubtful.within),
  ]);
  const campaign = answers.map(({ name, campaign: c, meanForgedTokens, doubtful }) => [
    name,
    marked(time(c.firstDaysMedian), doubtful.firstDaysMedian),
    marked(time(c.firstDaysP999), doubtful.firstDaysP999),
    time(c.allDaysP999),
    marked(chance(c.anyWithin), doubtful.within),
    chance(c.allWithin),
    amount(meanForgedTokens),
  ]);
  const { share, recomputers, auditsPerDay, falseAlarmPerPair } = recomputation;
  const doubts = [...one, ...campaign].flat().some((cell) => cell.startsWith("~"));
  return (
    `\nOne server, time since it began to cheat:\n${table([
      ["", "audited*", "pairs", "mean", "median", "90%", "99.9%", `within ${within}`],
      ...one,
    ])}  * forged pairs that must be audited, on average\n` +
    `\nA campaign of ${amount(question.cheating)} servers:\n${table([
      [
        "",
        "first: median",
        "99.9%",
        "all: 99.9%",
        `any in ${within}`,
        `all in ${within}`,
        "tokens*",
      ],
      ...campaign,
    ])}  * forged by each server before it is caught, on average\n` +
    (doubts ? doubtfulText : "") +
    `\nRecomputation: ${percent(share)} of the fleet's compute, ${amount(recomputers)} ` +
    `${recomputers === 1 ? "server" : "servers"} at full load, ${amount(auditsPerDay)} audits a day.\n` +
    `Judged one by one, a pair may raise a false alarm with probability ${amount(falseAlarmPerPair)} ` +
    `at most (alpha in ten years).\n`
  );
}

function solvedTable({ question, solved }: Coverage): string {
  const { withinDays, confidence, solve } = question;
  const goal = `one server within ${time(withinDays)} with probability ${percent(confidence)}`;
  if (solve === "epsilon") {
    const rows = (solved ?? []).map(({ name, value, share, recomputers }) => [
      name,
      value === null ? "not even 1" : amount(value),
      share === null ? "" : percent(share),
      recomputers === null ? "" : amount(recomputers),
    ]);
    const head = ["", "epsilon", "fleet compute", "recomputers"];
    return `\nThe least epsilon that catches ${goal}:\n${table([head, ...rows])}`;
  }
  const rows = (solved ?? []).map(({ name, value, forgedPairsPerDay, forgedTokensPerDay }) => [
    name,
    value === 1 ? "all" : amount(value ?? NaN),
    amount(forgedPairsPerDay ?? NaN),
    amount(forgedTokensPerDay ?? NaN),
  ]);
  const head = ["", "beta", "pairs/day", "tokens/day"];
  return (
    `\nWhat a cheat can afford: the share it can forge before audits catch ${goal}:\n` +
    table([head, ...rows])
  );
}

function simulatedTable(list: readonly Simulated[]): string {
  const [first] = list;
  const rows = list.flatMap(({ name, rows: found }) => {
    if (found.length === 0) return [[name, "never caught: not played", "", "", ""]];
    return found.map(({ what, formula, simulation }, i) => {
      const show = what === "caught in time" ? chance : amount;
      const { value, low, high } = simulation;
      return [
        i === 0 ? name : "",
        what,
        show(formula),
        show(value),
        `${show(low)} to ${show(high)}`,
      ];
    });
  });
  return (
    `\nSimulation, ${amount(first?.runs ?? 0)} servers played (seed ${first?.seed ?? 0}):\n` +
    table([["", "", "formula", "simulation", "95% interval"], ...rows])
  );
}

/** All that was asked, as text. */
export function coverageText(coverage: Coverage): string {
  const { question, solved, simulated } = coverage;
  return (
    heading(question) +
    (solved === null ? answerTables(coverage) : solvedTable(coverage)) +
    (simulated === null ? "" : simulatedTable(simulated))
  );
}

const clean = [300, 1000, 3000, 10_000] as const;
const rates = [1e-2, 1e-3, 1e-4] as const;

/** `--rfd018` for machines. */
export function rfd018Figures(): object {
  return {
    table: rfd018Table(),
    fakesUntil99: rates.map((rate) => ({ rate, pairs: sampleSize(rate, 0.99) })),
    fakesUntil999: rates.map((rate) => ({ rate, pairs: sampleSize(rate, 0.999) })),
    clean: clean.map((samples) => ({ samples, rateBelow: cleanBound(samples, 0.95) })),
  };
}

/** `--rfd018` for people. */
export function rfd018Text(): string {
  const cost = rfd018Table().map((row) => [
    amount(row.batch),
    amount(row.verified),
    amount(row.tokensRecomputed),
    percent(row.cost),
    percent(row.printed),
    percent(row.exact),
  ]);
  const rate = rates.map((r) => {
    const [n99, n999] = [sampleSize(r, 0.99), sampleSize(r, 0.999)];
    const shown = (n: number): string => `${n.toFixed(1)} (${amount(Math.ceil(n))})`;
    return [amount(r), shown(n99), amount(4.6 / r), shown(n999), amount(7 / r)];
  });
  const bound = clean.map((n) => [amount(n), percent(cleanBound(n, 0.95))]);
  return (
    `RFD 018: ${amount(rfd018.fakeTokens)} fake tokens of ${amount(rfd018.tokens)}, caught with ${percent(rfd018.confidence)}: N_VERIFIED = 7 / F_FAKE\n` +
    table([["batch", "N_VERIFIED", "tokens", "cost", "as printed", "exact"], ...cost]) +
    "  cost        7 x BATCH / (F_FAKE x N_TOKENS): the RFD's table, 7% and 0.7%\n" +
    "  as printed  7 x BATCH x F_FAKE / N_TOKENS, the RFD's line: F_FAKE stands on the wrong side\n" +
    "  exact       each fake packet drawn at most once, and -ln 0.001 = 6.9 rather than 7\n" +
    "\nAudits until one forged pair is met (forged share times power = rate); whole numbers in brackets\n" +
    table([["rate", "99%", "4.6/rate", "99.9%", "7/rate"], ...rate]) +
    "\nClean audits, and the share of forged pairs that they leave possible (95%)\n" +
    table([["audits", "share below"], ...bound])
  );
}
