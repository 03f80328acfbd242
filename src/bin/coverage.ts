/** `weir coverage`: how much recomputation gives how much confidence (docs/COVERAGE.md). */
import { writeFileSync } from "node:fs";
import { UnavailableError } from "../base/assert.ts";
import { answerCoverage } from "./coverage/answer.ts";
import { coveragePlot } from "./coverage/plot.ts";
import { coverageHelp, readRequest } from "./coverage/question.ts";
import { coverageText, rfd018Figures, rfd018Text } from "./coverage/tables.ts";

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new UnavailableError("coverage.plot", `--plot ${path} cannot be written: ${why}`, "none");
  }
}

/** Prints tables or JSON, and draws the plot where asked. */
export function runCoverage(argv: string[]): number {
  const { help, rfd018, json, question } = readRequest(argv);
  const asJson = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
  if (help) {
    process.stdout.write(coverageHelp);
    return 0;
  }
  if (rfd018) {
    process.stdout.write(json ? asJson(rfd018Figures()) : rfd018Text());
    return 0;
  }
  const coverage = answerCoverage(question);
  process.stdout.write(json ? asJson(coverage) : coverageText(coverage));
  if (question.plot !== null) {
    write(question.plot, coveragePlot(question));
    if (!json) process.stdout.write(`\nPlot: ${question.plot}\n`);
  }
  return 0;
}
