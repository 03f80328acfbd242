import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidError } from "../base/assert.ts";
import { defaultPolicy, parsePolicy, policyText } from "../format/policy.ts";
import { alphaOf, expectedFalseSteps, fleetBudget, serversOf, type Fleet } from "./fleet.ts";

const fleet: Fleet = { servers: 250_000, alpha: 0.01, years: 10, pairsPerYear: 30_000 };
const near = (value: number, expected: number): void =>
  assert.ok(Math.abs(value - expected) <= 1e-9 * Math.abs(expected), `${value} is not ${expected}`);

test("fleet: 250,000 servers at one percent per decade -> ln(2k/alpha), a false alarm in a thousand years", () => {
  const budget = fleetBudget(fleet);
  near(budget.logE, Math.log(5e7));
  near(budget.logE, 17.72753356339242);
  assert.equal(budget.logChange, budget.logE);
  near(budget.perServer, 4e-8);
  near(budget.falseAlarmsPerYear, 0.001);
  near(budget.yearsBetween, 1000);
  near(budget.pairsBetween, 250_000 * 30_000 * 1000);
});

test("fleet: the union over processes, servers and beginnings -> spends alpha, exactly", () => {
  for (const beginnings of [1, 12]) {
    const { logE, logChange } = fleetBudget({ ...fleet, beginnings });
    const spent = fleet.servers * beginnings * (Math.exp(-logE) + Math.exp(-logChange));
    near(spent, fleet.alpha);
  }
});

test("fleet: inverses -> give back what went in", () => {
  const { logE } = fleetBudget({ ...fleet, beginnings: 3 });
  near(alphaOf(logE, fleet.servers, 3), fleet.alpha);
  assert.ok(Math.abs(serversOf(logE, fleet.alpha, 3) - fleet.servers) <= 1);
  assert.equal(alphaOf(1, 1000), 1);
  assert.equal(serversOf(0.1, 0.01), 0);
});

test("fleet: lower steps -> expected servers that a step hits falsely", () => {
  near(expectedFalseSteps(Math.log(5e7), 250_000), 0.01);
  near(expectedFalseSteps(5, 1000), 2000 * Math.exp(-5));
  assert.equal(expectedFalseSteps(0.1, 1000), 1000);
});

const wrong: [string, () => unknown][] = [
  ["servers", () => fleetBudget({ ...fleet, servers: 0 })],
  ["servers", () => fleetBudget({ ...fleet, servers: 1.5 })],
  ["alpha", () => fleetBudget({ ...fleet, alpha: 0 })],
  ["alpha", () => fleetBudget({ ...fleet, alpha: 1.1 })],
  ["years", () => fleetBudget({ ...fleet, years: -1 })],
  ["pairsPerYear", () => fleetBudget({ ...fleet, pairsPerYear: NaN })],
  ["beginnings", () => fleetBudget({ ...fleet, beginnings: 0 })],
  ["logE", () => alphaOf(-1, 10)],
  ["servers", () => expectedFalseSteps(5, Infinity)],
  ["alpha", () => serversOf(5, 2)],
];

for (const [field, call] of wrong) {
  test(`fleet: a bad ${field} in ${String(call).slice(6)} -> InvalidError fleet.${field}`, () => {
    assert.throws(
      call,
      (error: unknown) =>
        error instanceof InvalidError &&
        error.code === `fleet.${field}` &&
        error.message.includes(field),
    );
  });
}

test("fleet: a policy that names beginnings -> its threshold pays for them, its promise stays", () => {
  const { fleet: once } = defaultPolicy;
  const text = policyText({ ...defaultPolicy, fleet: { ...once, beginnings: 12 } });
  const often = fleetBudget(parsePolicy(Buffer.from(text)).fleet);
  assert.ok(Math.abs(often.logE - fleetBudget(once).logE - Math.log(12)) < 1e-12);
  assert.equal(often.yearsBetween, 1000);
});
