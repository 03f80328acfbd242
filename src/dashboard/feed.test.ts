import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  carriers,
  evidence,
  gatewayStatus,
  recomputerStatus,
  routerStatus,
  toldPolicy,
  verdict,
} from "../../tests/path/page-scene.ts";
import type { GatewayStatus, RecomputerStatus, RoleStatus } from "../format/status.ts";
import {
  initialFeed,
  rateWindowMs,
  ratesMax,
  reduceFeed,
  tokenRate,
  verdictsMax,
  type FeedState,
  type Target,
} from "./feed.ts";
import { joinSite } from "./join.ts";

const wall = 1_700_000_000_000;
const at = (ms: number): { wallMs: number; monotonicMs: number } => ({
  wallMs: wall + ms,
  monotonicMs: ms,
});

const targets: Target[] = [
  { role: "gateway", name: "g1" },
  { role: "gateway", name: "g2" },
  { role: "recomputer", name: "r1" },
  { role: "router", name: "main" },
];

function told(state: FeedState, status: RoleStatus, ms: number): FeedState {
  const key = `${status.role}/${status.name}`;
  return reduceFeed(state, { kind: "status", key, status, now: at(ms) });
}

function site(state: FeedState, ms = 0): ReturnType<typeof joinSite> {
  return joinSite(state, "http://x", wall + ms);
}

function fresh(): FeedState {
  return initialFeed(targets, at(0));
}

const serving = (name: string, more: Partial<GatewayStatus> = {}): GatewayStatus =>
  gatewayStatus(name, more);
const judged = (more: Partial<RecomputerStatus>): RecomputerStatus => recomputerStatus(more);

test("feed: nothing heard yet -> every role is connecting and has no figures", () => {
  const document = site(fresh());
  assert.equal(document.headline.text, "2 servers connecting");
  assert.equal(document.headline.level, "busy");
  assert.deepEqual(
    document.servers.map(({ name, reach, facts }) => [name, reach.state, facts]),
    [
      ["g1", "connecting", null],
      ["g2", "connecting", null],
    ],
  );
});

test("feed: all serve -> a good headline; one halted -> alarm", () => {
  let state = told(told(fresh(), serving("g1"), 1), serving("g2"), 1);
  assert.deepEqual(site(state).headline, { text: "2 servers serving", level: "good" });
  const halted = { digest: "d", reason: "FAIL", sinceMs: wall };
  state = told(state, serving("g2", { mode: "KILLED", halted }), 2);
  assert.deepEqual(site(state).headline, { text: "1 server serving, 1 halted", level: "alarm" });
  assert.equal(site(state).servers[1]?.facts?.mode, "HALTED");
});

test("feed: draining, loading and uploading are told apart from serving", () => {
  let state = told(fresh(), serving("g1", { draining: true }), 1);
  state = told(state, serving("g2", { mode: "UPLOAD" }), 1);
  assert.equal(site(state).headline.text, "1 server draining, 1 uploading");
  state = told(state, serving("g2", { ready: false }), 1);
  assert.equal(site(state).headline.text, "1 server draining, 1 getting ready");
});

test("feed: isolation off on any server -> listed, and the headline is never good", () => {
  let state = told(fresh(), serving("g1"), 1);
  state = told(state, serving("g2", { isolation: { kind: "off", detail: "forbidden" } }), 1);
  assert.deepEqual(site(state).isolationOff, ["g2"]);
  assert.equal(site(state).headline.level, "attention");
});

test("feed: counters over time -> tokens per second over the sliding window", () => {
  let state = fresh();
  for (let s = 0; s <= 5; s++) state = told(state, serving("g1", { tokens: 100 * s }), 1000 * s);
  assert.equal(site(state).servers[0]?.tokensPerSecond, 100);
  for (let s = 6; s <= 30; s++) state = told(state, serving("g1", { tokens: 500 }), 1000 * s);
  assert.equal(site(state).servers[0]?.tokensPerSecond, 0);
  assert.ok((state.roles.get("gateway/g1")?.samples.length ?? 0) <= rateWindowMs / 1000 + 1);
});

test("feed: a counter restarts -> no rate is made of the fall", () => {
  let state = told(fresh(), serving("g1", { tokens: 900 }), 0);
  state = told(state, serving("g1", { tokens: 10 }), 1000);
  assert.equal(site(state).servers[0]?.tokensPerSecond, null);
  state = told(state, serving("g1", { tokens: 60 }), 2000);
  assert.equal(site(state).servers[0]?.tokensPerSecond, 50);
});

test("feed: a server stops serving -> its rate is not told any more", () => {
  let state = told(fresh(), serving("g1", { tokens: 0 }), 0);
  state = told(state, serving("g1", { tokens: 80 }), 1000);
  state = told(state, serving("g1", { tokens: 80, mode: "KILLED" }), 1500);
  assert.equal(site(state).servers[0]?.tokensPerSecond, null);
});

test("tokenRate: any rising counter -> a rate between 0 and the steepest step", () => {
  const steps = fc.array(fc.record({ dt: fc.integer({ min: 1, max: 5000 }), dn: fc.nat(9999) }), {
    minLength: 2,
  });
  fc.assert(
    fc.property(steps, (all) => {
      let [atMs, tokens] = [0, 0];
      const samples = all.map(({ dt, dn }) => {
        [atMs, tokens] = [atMs + dt, tokens + dn];
        return { atMs, tokens };
      });
      const rate = tokenRate(samples);
      const steepest = Math.max(...all.map(({ dt, dn }) => (1000 * dn) / dt));
      assert.ok(rate !== null && rate >= 0 && rate <= steepest + 1e-9);
    }),
  );
});

test("feed: seconds pass -> the sparkline grows to its bound, with gaps while unknown", () => {
  let state = fresh();
  for (let s = 0; s < 2 * ratesMax; s++) {
    if (s > 100) state = told(state, serving("g1", { tokens: 20 * s }), 1000 * s);
    state = reduceFeed(state, { kind: "second", now: at(1000 * s + 1) });
  }
  const rates = site(state).servers[0]?.rates ?? [];
  assert.equal(rates.length, ratesMax);
  assert.equal(rates[0], null);
  assert.equal(rates.at(-1), 20);
});

test("feed: a role goes down -> unreachable since the first failure, last facts kept, an alarm", () => {
  let state = told(fresh(), serving("g1", { tokens: 7 }), 10);
  state = reduceFeed(state, { kind: "down", key: "gateway/g1", why: "reset", now: at(500) });
  state = reduceFeed(state, { kind: "down", key: "gateway/g1", why: "refused", now: at(900) });
  const [server] = site(state, 1000).servers;
  assert.deepEqual(server?.reach, { state: "unreachable", sinceMs: wall + 500, why: "refused" });
  assert.equal(server.facts?.tokens, 7);
  assert.equal(server.tokensPerSecond, null);
  const [alarm] = site(state, 1000).alarms;
  assert.equal(alarm?.kind, "page.unreachable");
  assert.equal(alarm.subject, "gateway/g1");
  assert.match(site(state).headline.text, /1 unreachable/);
  state = told(state, serving("g1"), 2000);
  assert.equal(site(state).servers[0]?.reach.state, "live");
  assert.equal(site(state).alarms.length, 0);
});

test("feed: recent verdicts overlap between statuses -> each counts once, newest first", () => {
  const first = [verdict("g1", 1, 1000), verdict("g2", 2, 2000)];
  const fail = verdict("g2", 3, 3000, { kind: "fail", findings: ["token.margin"] });
  let state = told(fresh(), judged({ recent: first }), 1);
  state = told(state, judged({ recent: [...first, fail] }), 2);
  state = told(told(state, serving("g1"), 2), serving("g2"), 2);
  const document = site(state);
  assert.deepEqual(
    document.verdicts.map(({ atMs }) => atMs),
    [3000, 2000, 1000],
  );
  assert.deepEqual(document.servers[1]?.checks, { pass: 1, fail: 1, unable: 0 });
  assert.equal(document.servers[1].checksComplete, false);
  assert.deepEqual(
    document.servers[1].lastVerdicts.map(({ kind }) => kind),
    ["pass", "fail"],
  );
});

test("feed: a pair is judged again -> the later verdict replaces the earlier", () => {
  const unable = verdict("g1", 1, 1000, { kind: "unable", scores: null });
  let state = told(fresh(), judged({ recent: [unable] }), 1);
  state = told(state, judged({ recent: [verdict("g1", 1, 4000)] }), 2);
  assert.deepEqual(
    site(state).verdicts.map(({ kind, atMs }) => [kind, atMs]),
    [["pass", 4000]],
  );
});

test("feed: the recomputer splits its counts by gateway -> those are shown", () => {
  const judgedByGateway = [{ gateway: "g1", pass: 5000, fail: 2, unable: 1 }];
  const state = told(fresh(), judged({ recent: [verdict("g1", 1, 1)], judgedByGateway }), 1);
  const [g1, g2] = site(state).servers;
  assert.deepEqual(g1?.checks, { pass: 5000, fail: 2, unable: 1 });
  assert.equal(g1?.checksComplete, true);
  assert.deepEqual(g2?.checks, { pass: 0, fail: 0, unable: 0 });
});

test("feed: two recomputers judge the same tag -> both rows stand", () => {
  const both: Target[] = [...targets, { role: "recomputer", name: "r2" }];
  let state = told(initialFeed(both, at(0)), judged({ recent: [verdict("g1", 1, 1000)] }), 1);
  const second = verdict("g1", 1, 1001, { kind: "fail", findings: ["seed.law"] });
  state = told(state, judged({ name: "r2", recent: [second] }), 1);
  assert.deepEqual(
    site(state).verdicts.map(({ recomputer, kind }) => [recomputer, kind]),
    [
      ["r2", "fail"],
      ["r1", "pass"],
    ],
  );
});

test("feed: very many verdicts -> bounded memory, the newest kept", () => {
  let state = fresh();
  for (let batch = 0; batch < 15; batch++) {
    const recent = Array.from({ length: 200 }, (_, i) =>
      verdict("g1", 200 * batch + i, 200 * batch + i),
    );
    state = told(state, judged({ recent }), batch);
  }
  assert.equal(state.verdicts.length, verdictsMax);
  assert.equal(site(state).verdicts[0]?.atMs, 2999);
  assert.equal(site(state).margins.series[0]?.points.length, 200);
});

test("feed: margins and limit -> points by server and the limit of the median length", () => {
  const scores = { tokens: 100, mismatches: 0, meanMargin: 0.02, maxMargin: 0.1 };
  const recent = [verdict("g1", 1, 1000, { scores }), verdict("g1", 2, 900, { scores: null })];
  const marginLimit = { meanMax: 0.01, meanSpread: 0.2 };
  const document = site(told(fresh(), judged({ recent, marginLimit }), 1));
  assert.deepEqual(document.margins.series[0]?.points, [{ atMs: 1000, nats: 0.02, kind: "pass" }]);
  assert.deepEqual(document.margins.limit, { nats: 0.03, tokens: 100 });
  assert.equal(document.verdicts[0]?.limit, 0.03);
});

test("feed: alarms of several roles -> joined, newest first, titled in words", () => {
  const alarm = { severity: "warning", subject: "g1", text: "" } as const;
  let state = told(
    fresh(),
    serving("g1", { alarms: [{ ...alarm, id: "a", atMs: 5, kind: "outbox.full" }] }),
    1,
  );
  state = told(
    state,
    judged({
      alarms: [
        { ...alarm, id: "a", atMs: 9, kind: "verdict.fail" },
        { ...alarm, id: "b", atMs: 1, kind: "brand-new.thing" },
      ],
    }),
    1,
  );
  assert.deepEqual(
    site(state).alarms.map(({ title, source }) => [title, source]),
    [
      ["A server's output failed verification", "recomputer/r1"],
      ["A gateway stopped serving: nowhere to keep pairs for checking", "gateway/g1"],
      ["Brand new: thing", "recomputer/r1"],
    ],
  );
});

test("feed: what is simulated -> listed once, with everywhere it is so", () => {
  let state = told(fresh(), serving("g1", { simulated: ["power", "power"] }), 1);
  state = told(state, serving("g2", { simulated: ["power", "clock"] }), 1);
  assert.deepEqual(site(state).simulated, [
    { what: "power", where: ["gateway/g1", "gateway/g2"] },
    { what: "clock", where: ["gateway/g2"] },
  ]);
  assert.deepEqual(joinSite(state, "", wall, ["both parties", "clock"]).simulated, [
    { what: "both parties", where: ["site"] },
    { what: "clock", where: ["site", "gateway/g2"] },
    { what: "power", where: ["gateway/g1", "gateway/g2"] },
  ]);
});

test("feed: nothing audited yet -> no evidence and no invented figures", () => {
  assert.deepEqual(site(told(fresh(), judged({ evidence: [] }), 1)).evidence, []);
  assert.deepEqual(site(told(fresh(), judged({}), 1)).evidence, []);
});

test("feed: evidence grows -> shown with its history, the ladder, the strongest test first", () => {
  const tests = [
    { id: "a", title: "A", logE: 1, logChange: 0 },
    { id: "b", title: "B", logE: -5, logChange: 4 },
  ];
  let state = told(fresh(), judged({ evidence: [evidence("g2")] }), 1);
  const more = evidence("g2", { pairs: 41, logE: 5.2, step: "raise-epsilon", detectors: tests });
  state = told(state, judged({ evidence: [more] }), 2);
  state = told(state, judged({ evidence: [more] }), 3);
  const [shown, ...others] = site(state).evidence;
  assert.deepEqual(others, []);
  assert.equal(shown?.server, "g2");
  assert.equal(shown.step, "raise-epsilon");
  assert.deepEqual(shown.ladder, toldPolicy.ladder);
  assert.equal(shown.capacity.minTokens, 10_000_000);
  assert.deepEqual(
    shown.detectors.map(({ id }) => id),
    ["b", "a"],
  );
  assert.deepEqual(shown.history, [
    { atMs: wall + 1, pairs: 40, logE: -0.9, logChange: -0.3 },
    { atMs: wall + 2, pairs: 41, logE: 5.2, logChange: -0.3 },
  ]);
});

test("feed: evidence about servers that nobody watches -> neither shown nor kept", () => {
  const state = told(fresh(), judged({ evidence: [evidence("g9")] }), 1);
  assert.deepEqual(site(state).evidence, []);
  assert.equal(state.trails.size, 0);
});

test("feed: two recomputers weigh one server -> both stand, each with its own history", () => {
  const both: Target[] = [...targets, { role: "recomputer", name: "r2" }];
  let state = told(initialFeed(both, at(0)), judged({ evidence: [evidence("g1")] }), 1);
  state = told(state, judged({ name: "r2", evidence: [evidence("g1", { logE: 3 })] }), 2);
  assert.deepEqual(
    site(state).evidence.map(({ recomputer, history }) => [recomputer, history[0]?.logE]),
    [
      ["r1", -0.9],
      ["r2", 3],
    ],
  );
});

test("feed: quarantine -> counted in the headline, its figures kept", () => {
  const quarantine = { digest: "q", reason: "r", sinceMs: wall, held: 3, passed: 5, withheld: 1 };
  const recheck = { digest: "r", sinceMs: wall, done: false, sent: 12, lost: 1, of: 40 };
  const sampling = { epsilon: 1, own: 0.1, order: "d" };
  let state = told(fresh(), serving("g1", { quarantine, recheck, sampling }), 1);
  state = told(state, serving("g2", { quarantine: null, recheck: null }), 1);
  const { headline, servers } = site(state);
  assert.deepEqual(headline, { text: "1 server serving, 1 quarantined", level: "attention" });
  const { facts } = servers[0] ?? {};
  assert.deepEqual({ digest: "q", ...facts?.quarantine }, quarantine);
  assert.deepEqual({ digest: "r", ...facts?.recheck }, recheck);
  assert.deepEqual(facts?.sampling, { epsilon: 1, own: 0.1, ordered: true });
  assert.equal(servers[1]?.facts?.sampling, null);
});

test("feed: an event does not change the state it came upon", () => {
  const before = told(fresh(), routerStatus({ requests: 1 }), 1);
  const copy = structuredClone(before);
  told(before, routerStatus({ requests: 2 }), 2);
  reduceFeed(before, { kind: "second", now: at(3) });
  assert.deepEqual(before, copy);
});

test("feed: what left beside the tokens -> stands by the server's evidence, with limit and fleet", () => {
  const state = told(
    fresh(),
    judged({ evidence: [evidence("g1")], carriers: [carriers("g1")] }),
    1,
  );
  const [shown] = site(state).evidence;
  const shownAs = { gateway: "g1", ...shown?.carriers };
  assert.deepEqual(shownAs, { ...carriers("g1"), limitBitsPerSecond: 100_000 });
  assert.equal(shown?.fleet?.yearsBetween, 1000);
  assert.equal(shown.fleet.beginnings, 1);
  // A recomputer that is too old to say.
  const { ladder, capacity } = toldPolicy;
  const policy = { ladder, capacity };
  const old = site(told(fresh(), judged({ evidence: [evidence("g1")], policy }), 1));
  assert.deepEqual([old.evidence[0]?.carriers, old.evidence[0]?.fleet], [null, null]);
});
