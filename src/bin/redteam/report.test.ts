import assert from "node:assert/strict";
import { test } from "node:test";
import { attacks } from "../../adversary/attacks/index.ts";
import { nothingReceived, trialOf } from "./fixture.ts";
import { reportHtml } from "./report.ts";
import { reportJson } from "./report-json.ts";
import { decades, ticks } from "./svg.ts";
import type { RunHead } from "./trial.ts";

const head: RunHead = {
  ...{ schema: 1, kind: "run", command: "weir redteam --lab <x>", weir: "0", model: "m" },
  ...{ modelRoot: "aa", engine: "e", profile: "bb", profileBasis: "measured", policy: "cc" },
  ...{ machine: "a machine", atMs: 0 },
};

const trials = [
  trialOf(),
  trialOf({ seed: 2, alarm: null }),
  trialOf({ attack: "stego-near-ties", mode: "live", received: nothingReceived, alarm: null }),
  trialOf({
    attack: "direct-channels",
    alarm: null,
    meter: null,
    curve: [],
    learnt: [{ what: "TCP <to> the host", answer: "yes", detail: "a & b" }],
  }),
];
const skipped = [
  {
    schema: 1,
    kind: "skipped",
    attack: "lora",
    mode: "lab",
    seed: 1,
    why: "no <adapter>",
  } as const,
];
const report = reportJson(attacks, { trials, skipped, heads: [head] });
const html = reportHtml(report, trials);

test("report: one page -> nothing is fetched, no script, every tag that opens closes", () => {
  assert.doesNotMatch(html, /(src|href)="(?!#)/);
  assert.doesNotMatch(html, /<script|@import|url\(/);
  const voids = /^(meta|hr)$/;
  const open: string[] = [];
  for (const [, close = "", name = "", own = ""] of html.matchAll(
    /<(\/?)([a-z][a-z0-9]*)(?:"[^"]*"|[^<>"])*?(\/?)>/g,
  )) {
    if (close === "/") assert.equal(open.pop(), name);
    else if (own === "" && !voids.test(name)) open.push(name);
  }
  assert.deepEqual(open, []);
});

test("report: words of attacks and servers -> shown as text, never as markup", () => {
  assert.match(html, /TCP &lt;to&gt; the host/);
  assert.match(html, /a &amp; b/);
  assert.match(html, /no &lt;adapter&gt;/);
  assert.match(html, /weir redteam --lab &lt;x&gt;/);
});

test("report: the summary stands first, then every attack once per mode, with its plots named", () => {
  assert.ok(html.indexOf('class="lead"') < html.indexOf("<table>"));
  for (const { attack, mode } of report.attacks) {
    assert.equal(html.split(`id="${attack}-${mode}"`).length, 2);
  }
  for (const [svg] of html.matchAll(/<svg[^>]*>/g))
    assert.match(svg, /role="img" aria-label="[^"]+"/);
  assert.doesNotMatch(html, /NaN|Infinity|undefined/);
});

test("report: no trial yet -> still a page", () => {
  const empty = reportJson(attacks, { trials: [], skipped: [], heads: [] });
  assert.match(reportHtml(empty, []), /No trial has ended yet/);
});

test("svg: ticks are round and cover the range; decades likewise", () => {
  assert.deepEqual(ticks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
  assert.deepEqual(ticks(-3, 7, 5), [-2, 0, 2, 4, 6]);
  assert.deepEqual(decades(0.01, 10), [0.01, 0.1, 1, 10]);
});
