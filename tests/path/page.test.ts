/** The status page in a real Chromium, against role endpoints whose word the test sets. */
import assert from "node:assert/strict";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { startDashboard, type Dashboard } from "../../src/bin/dashboard.ts";
import type { RoleStatus } from "../../src/format/status.ts";
import {
  depotStatus,
  evidence,
  failAlarm,
  gatewayStatus,
  recomputerStatus,
  routerStatus,
  startScene,
  verdict,
  type Scene,
} from "./page-scene.ts";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** The first Chromium on the path; CHROMIUM names another. */
function findChromium(): string | null {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const candidates = folders.flatMap((folder) => names.map((name) => join(folder, name)));
  const named = process.env["CHROMIUM"];
  for (const candidate of named === undefined ? candidates : [named, ...candidates]) {
    try {
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch {
      // Not here: try the next.
    }
  }
  return null;
}

const executablePath = findChromium();
const skip = executablePath === null ? "NOT TESTED: no Chromium on this machine" : false;
if (skip !== false) process.stderr.write(`page.test.ts: ${skip}\n`);

let browser: Browser;
/** Everything that the browser writes, its profile too. */
let scratch = "";

before(async () => {
  if (executablePath === null) return;
  scratch = mkdtempSync(join(tmpdir(), "weir-page-test-"));
  browser = await chromium.launch({
    executablePath,
    headless: true,
    env: { ...process.env, TMPDIR: scratch, HOME: scratch },
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});

after(async () => {
  if (scratch === "") return;
  await browser.close();
  rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
});

interface Stage {
  readonly scene: Scene;
  readonly page: Page;
  readonly url: string;
  /** Errors that the page logged or threw, and requests that went anywhere else. */
  readonly faults: string[];
  /** The page's server goes away, and comes back at the same port. */
  readonly stopServer: () => Promise<void>;
  readonly startServer: () => Promise<void>;
}

function collectFaults(context: BrowserContext, page: Page, origin: string): string[] {
  const faults: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  context.on("request", (request) => {
    if (!request.url().startsWith(`${origin}/`)) faults.push(`asked ${request.url()}`);
  });
  return faults;
}

async function stage(
  t: TestContext,
  statuses: readonly RoleStatus[],
  width = 1280,
): Promise<Stage> {
  const scene = await startScene(statuses);
  t.after(() => scene.close());
  let dashboard: Dashboard | null = null;
  let port = 0;
  const startServer = async (): Promise<void> => {
    dashboard = await startDashboard({
      listen: { host: "127.0.0.1", port },
      identity: scene.observer,
      watch: scene.targets,
      endpoint: "http://127.0.0.1:8080/v1",
    });
    port = dashboard.port;
  };
  const stopServer = async (): Promise<void> => {
    await dashboard?.close();
    dashboard = null;
  };
  await startServer();
  t.after(stopServer);
  const context = await browser.newContext({ viewport: { width, height: 800 } });
  t.after(() => context.close());
  const page = await context.newPage();
  const url = `http://127.0.0.1:${port}`;
  const faults = collectFaults(context, page, url);
  await page.goto(url);
  return { scene, page, url, faults, stopServer, startServer };
}

/** Waits until `selector` shows `text`. */
async function shows(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text, visible: true }).first().waitFor();
}

/** Pixels that the page is wider than its window, counting text that is clipped nowhere. */
function overflow(page: Page): Promise<number> {
  return page.evaluate(
    "document.scrollingElement.scrollWidth - document.documentElement.clientWidth",
  );
}

function card(name: string): string {
  return `#servers > li:has(h3:text-is("${name}"))`;
}

const others = [routerStatus({ requests: 41 }), recomputerStatus(), depotStatus()];

test(
  "page: a server uploads, serves, fails and is halted -> all told live, without a reload",
  { skip },
  async (t) => {
    const upload = (done: number): RoleStatus =>
      gatewayStatus("g1", {
        mode: "UPLOAD",
        ready: false,
        upload: { bitsForwarded: 8_000_000 * done, bitsTotal: 80_000_000 },
      });
    const { scene, page, faults } = await stage(t, [upload(1), gatewayStatus("g2"), ...others]);
    const g1 = scene.role("gateway/g1");
    await shows(page, "h1", "1 server serving, 1 uploading");
    await page.evaluate("window.neverReloaded = true");
    await shows(page, card("g1"), "1.0 MB of 10.0 MB of weights checked · 10 %");
    g1.say(upload(7));
    await shows(page, card("g1"), "70 %");
    await page.locator(`${card("g1")} progress[aria-label="Upload of weights to g1"]`).waitFor();

    const serving = { pairs: { logged: 1234, sampled: 120, cutOff: 0 }, tokens: 5000 };
    g1.say(gatewayStatus("g1", serving));
    await shows(page, "h1", "2 servers serving");
    await shows(page, `${card("g1")} .badge`, "Serving");
    await shows(page, `${card("g1")} .stat`, /Logged1,234/);
    await shows(page, "#alarms-empty", "No alarms.");
    g1.say(gatewayStatus("g1", { ...serving, tokens: 5900 }));
    await shows(page, `${card("g1")} .rate-value`, /^[1-9]/);

    const nowMs = Date.now();
    const fail = verdict("g1", 7, nowMs, {
      kind: "fail",
      findings: ["token.margin"],
      scores: { tokens: 96, mismatches: 30, meanMargin: 0.214, maxMargin: 3 },
    });
    const noted = verdict("g1", 6, nowMs - 1000, { findings: ["margin.mean"] });
    const recent = [noted, fail];
    const recomputer = scene.role("recomputer/r1");
    recomputer.say(recomputerStatus({ recent, alarms: [failAlarm("g1", nowMs)] }));
    await shows(page, "#alarms li", "A server's output failed verification");
    await shows(page, "#alarms li", "Critical");
    await page
      .locator('#announce[role="alert"]', { hasText: "New alarm" })
      .waitFor({ state: "attached" });
    await shows(page, "#verdicts tr", /Failg1\.0000010000000007.*0\.214 of 0\.026token\.margin/);
    await shows(page, "#verdicts tr", /Passg1\.0000010000000006.*noted: margin\.mean/);
    await shows(page, `${card("g1")} .mark-text`, "Last 2 verdicts: 1 passed, 1 failed");
    await page.locator("#chart canvas").waitFor();
    await page.locator('#chart[aria-label*="2 checked pairs"][aria-label*="1 failed"]').waitFor();

    const halted = { digest: "ab", reason: "verdict FAIL on g1.0000010000000007", sinceMs: nowMs };
    g1.say(gatewayStatus("g1", { ...serving, mode: "KILLED", ready: false, halted }));
    await shows(page, "h1", "1 server serving, 1 halted");
    await shows(page, `${card("g1")} .badge`, "Halted");
    await shows(page, `${card("g1")} .why`, "verdict FAIL on g1.0000010000000007");
    await shows(page, "#link", "Live");
    assert.match(await page.title(), /1 server serving, 1 halted/);
    assert.equal(await page.evaluate("window.neverReloaded"), true);
    assert.deepEqual(faults, []);
  },
);

test(
  "page: isolation off -> a banner names the servers; back on -> it goes",
  { skip },
  async (t) => {
    const off = { isolation: { kind: "off", detail: "no user namespaces here" } } as const;
    const { scene, page } = await stage(t, [
      gatewayStatus("g1", off),
      gatewayStatus("g2"),
      ...others,
    ]);
    await shows(page, "#isolation", "Isolation is OFF");
    await shows(page, "#isolation", "Server g1 runs without a sandbox");
    await shows(page, `${card("g1")} .isolation`, "Isolation is OFF: no user namespaces here");
    const size = await page.locator("#isolation").boundingBox();
    assert.ok(size !== null && size.width > 900 && size.height > 80, "the banner is big");
    scene.role("gateway/g1").say(gatewayStatus("g1"));
    await page.locator("#isolation").waitFor({ state: "hidden" });
  },
);

test(
  "page: a role stops answering -> unreachable since when, never silently stale; then back",
  { skip },
  async (t) => {
    const pairs = { logged: 77, sampled: 5, cutOff: 0 };
    const { scene, page, faults } = await stage(t, [gatewayStatus("g1", { pairs }), ...others]);
    await shows(page, `${card("g1")} .stat`, /Logged77/);
    await scene.role("gateway/g1").stop();
    await shows(page, "h1", "1 server unreachable");
    await shows(page, `${card("g1")} .badge`, "Unreachable");
    await shows(page, `${card("g1")} .why`, /No answer since \d\d:\d\d:\d\d .*the last it said/);
    await shows(page, "#alarms li", "gateway/g1 does not answer");
    await scene.role("gateway/g1").start();
    await shows(page, "h1", "1 server serving");
    await shows(page, "#alarms-empty", "No alarms.");
    assert.deepEqual(faults, []);
  },
);

test(
  "page: its own server restarts -> says that the connection is lost, then live again",
  { skip },
  async (t) => {
    const { scene, page, stopServer, startServer } = await stage(t, [
      gatewayStatus("g1"),
      ...others,
    ]);
    await shows(page, "#link", "Live");
    await page.evaluate("window.neverReloaded = true");
    await stopServer();
    await shows(page, "#link", /Connection lost, trying again\. Shown: /);
    scene.role("gateway/g1").say(gatewayStatus("g1", { draining: true }));
    await startServer();
    await shows(page, "#link", "Live");
    await shows(page, "h1", "1 server draining");
    assert.equal(await page.evaluate("window.neverReloaded"), true);
  },
);

test(
  "page: evidence grows step by step -> odds, ladder, tests, capacity and what was done, in words",
  { skip },
  async (t) => {
    const calm = [gatewayStatus("g1"), gatewayStatus("g2")];
    const { scene, page, faults } = await stage(t, [...calm, ...others]);
    await shows(page, "#evidence-empty", "No pair has been audited yet");
    const recomputer = scene.role("recomputer/r1");
    recomputer.say(recomputerStatus({ evidence: [evidence("g2")] }));
    const card = '#evidence > li:has(h3:text-is("g2"))';
    await shows(page, card, "Evidence that g2 is not running the agreed model:none");
    await shows(page, card, "From 40 audited pairs, 3,840 tokens");
    await shows(page, card, "50,000,000 to 1 with a probability of at most 1 in 25,000,000");
    await shows(page, '#evidence > li:has(h3:text-is("g1"))', "No pair of this server");
    await page.locator("#trail-chart canvas").waitFor();

    const grown = evidence("g2", {
      ...{ pairs: 900, logE: 3.71, logChange: 12.4 },
      ...{ step: "quarantine", steps: ["raise-epsilon", "recheck-ring", "quarantine"] },
      detectors: [{ id: "margin", title: "how far it is", logE: 2, logChange: 14 }],
    });
    recomputer.say(recomputerStatus({ evidence: [grown] }));
    scene.role("gateway/g2").say(
      gatewayStatus("g2", {
        sampling: { epsilon: 1, own: 0.1, order: "a" },
        recheck: { digest: "b", sinceMs: 1, done: false, sent: 312, lost: 4, of: 1480 },
        quarantine: { digest: "c", reason: "why", sinceMs: 1, held: 3, passed: 120, withheld: 2 },
      }),
    );
    await shows(page, `${card} .badge`, "Quarantined");
    await shows(page, `${card} .claim-figure`, "240,000 to 1");
    await shows(page, `${card} .measure`, /Since its evidence began41 to 1/);
    await shows(page, `${card} .measure`, /Since it changed, if it did240,000 to 1/);
    await shows(page, `${card} .measure`, /how far it is1,200,000 to 1/);
    await shows(page, `${card} .rung[data-taken=true]`, "Replies are held");
    assert.equal(await page.locator(`${card} .rung[data-taken=true]`).count(), 3);
    await shows(page, `${card} .done`, "3 wait now, 120 passed and went out, 2 were withheld");
    await shows(
      page,
      `${card} .done`,
      "312 of 1,480 pairs sent to the recomputer so far, 4 no longer whole",
    );
    await shows(page, `${card} .done`, "Every reply is kept for recomputation by order");
    await shows(page, card, /at most 5\.2\. The parties allow 0\.2, counted from 10,000,000/);
    await shows(page, card, "internet needs about 6 Mb/s per peer, 8,100 times as much");
    await page.locator('#trail-chart[aria-label*="g2 240,000 to 1"]').waitFor();
    await shows(page, "h1", "1 server serving, 1 quarantined");
    assert.deepEqual(faults, []);
  },
);

const hostile = `<script>alert(1)</script><img src=x onerror="alert(2)">\u202e${"W".repeat(300)}`;

function hostileRoles(): RoleStatus[] {
  const alarm = { ...failAlarm("g1", Date.now()), subject: hostile.slice(0, 120), text: hostile };
  const alarms = [alarm, { ...alarm, id: "2", severity: "warning" as const, kind: "constructor" }];
  const halted = { digest: "d", reason: hostile, sinceMs: Date.now() };
  const tag = hostile.slice(0, 120);
  const model = { modelId: tag, sizeBytes: 1 };
  return [
    gatewayStatus("g1", {
      modelId: tag,
      halted,
      lastKillReason: hostile,
      isolation: { kind: "off", detail: hostile },
      log: { size: 8e15, root: tag },
      pairs: { logged: 9e15, sampled: 9e15, cutOff: 9e15 },
      simulated: [hostile],
      alarms,
    }),
    gatewayStatus("g2", { mode: "UPLOAD", upload: { bitsForwarded: 9e15, bitsTotal: 1 } }),
    recomputerStatus({
      evidence: [
        evidence("g1", {
          ...{ pairs: 9e15, tokens: 9e15, logE: 1e308, logChange: -1e308, logEThreshold: -1e308 },
          detectors: [{ id: tag, title: hostile, logE: 1e308, logChange: -1e308 }],
        }),
        evidence("g2", { logE: 3.3, logEThreshold: 1e308 }),
      ],
      recent: [
        verdict("g1", 1, 9e15, { tag, gateway: tag }),
        verdict("g1", 2, 1, {
          kind: "fail",
          findings: ["token.outside-support", "prompt.mismatch"],
        }),
      ],
      alarms,
    }),
    { ...depotStatus(), models: [model, model] },
  ];
}

test(
  "page: hostile strings from roles -> inert text, and nothing breaks the layout",
  { skip },
  async (t) => {
    const { page, faults } = await stage(t, hostileRoles(), 360);
    await shows(page, "#alarms li", "<script>alert(1)</script>");
    await shows(page, "#simulated", "<script>alert(1)</script>");
    await shows(page, card("g1"), 'onerror="alert(2)"');
    await shows(page, "#verdicts tr", "token.outside-support");
    await page.locator("#evidence summary").first().click();
    await shows(page, "#evidence > li .tests", "<script>alert(1)</script>");
    await page.locator("#trail-chart canvas").waitFor();
    assert.equal(await page.locator("body script, main img").count(), 0);
    assert.equal(await overflow(page), 0);
    await page.setViewportSize({ width: 1280, height: 800 });
    assert.equal(await overflow(page), 0);
    assert.deepEqual(faults, []);
  },
);

test("page: a phone of 360 px, in each state -> no horizontal scroll", { skip }, async (t) => {
  const { scene, page, stopServer } = await stage(
    t,
    [gatewayStatus("g1"), gatewayStatus("g2"), ...others],
    360,
  );
  await shows(page, "h1", "2 servers serving");
  assert.equal(await overflow(page), 0);
  const recent = Array.from({ length: 40 }, (_, i) => verdict("g1", i, Date.now() - 1000 * i));
  const halted = { digest: "d", reason: "verdict FAIL", sinceMs: Date.now() };
  scene.role("recomputer/r1").say(
    recomputerStatus({
      recent,
      evidence: [evidence("g1", { logE: 31 }), evidence("g2")],
      alarms: [failAlarm("g1", Date.now())],
    }),
  );
  scene.role("gateway/g1").say(gatewayStatus("g1", { halted }));
  await shows(page, "h1", "1 server serving, 1 halted");
  await page.locator("#chart canvas").waitFor();
  assert.equal(await overflow(page), 0);
  await scene.role("gateway/g2").stop();
  await shows(page, "h1", "1 server halted, 1 unreachable");
  assert.equal(await overflow(page), 0);
  await stopServer();
  await shows(page, "#link", "Connection lost");
  assert.equal(await overflow(page), 0);
});

test(
  "page: keyboard and structure -> skip link, ordered headings, folded verdicts open by key",
  { skip },
  async (t) => {
    const recent = Array.from({ length: 40 }, (_, i) => verdict("g1", i, Date.now() - 1000 * i));
    const { page } = await stage(t, [gatewayStatus("g1"), recomputerStatus({ recent })]);
    await page.locator("#verdicts tr").nth(11).waitFor();
    const levels = await page.evaluate<number[]>(
      "[...document.querySelectorAll('h1,h2,h3')].map((node) => Number(node.tagName[1]))",
    );
    assert.equal(levels.filter((level) => level === 1).length, 1);
    levels.forEach((level, i) => {
      assert.ok(level - (levels[i - 1] ?? 0) <= 1, "no heading level is skipped");
    });
    await page.keyboard.press("Tab");
    assert.equal(
      await page.evaluate("document.activeElement.textContent"),
      "Skip to the site's state",
    );
    assert.equal(await page.locator("#verdicts tr").count(), 12);
    await page.locator("#verdicts-more").focus();
    await page.keyboard.press("Enter");
    await page.locator("#verdicts tr").nth(39).waitFor();
    assert.equal(await page.locator("#verdicts-more").getAttribute("aria-expanded"), "true");
  },
);
