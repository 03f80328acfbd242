import assert from "node:assert/strict";
import { test } from "node:test";
import { shareLower } from "../../src/verification/confidence.ts";
import { seededUniform } from "../../src/verification/seeded.ts";
import { crossings } from "./level.ts";
import { honest, nullMean, violating, type Server } from "./streams.ts";

const runs = 60;
const pairs = 200;

/** Runs in which either account reached ln(2/0.1) within 200 pairs. */
function accused(server: Server): number {
  let count = 0;
  for (let run = 0; run < runs; run++) {
    const [start = NaN, change = NaN] = crossings(server, 1000 + run, pairs);
    if (Math.min(start, change) <= pairs) count++;
  }
  return count;
}

for (const server of honest) {
  test(`false alarms, simulated: ${server.name} -> accused no more often than one in ten`, () => {
    const count = accused(server);
    assert.ok(shareLower(count, runs, 0.999) < 0.1, `${count} of ${runs}`);
  });
}

test("false alarms, simulated: means far above the null -> accused, so the simulation can see it", () => {
  const server = violating.find(({ name }) => name.startsWith("reply ends"));
  assert.ok(server !== undefined);
  assert.ok(accused(server) > runs / 2);
});

test("false alarms, simulated: streams that hold -> have the mean that they claim", () => {
  for (const server of honest) {
    const next = server.open(seededUniform(4));
    let [paid, sum] = [0, 0];
    for (let i = 0; i < 20_000; i++) {
      const { evidence } = next();
      const [first] = evidence;
      assert.ok(first !== undefined);
      const found = first.evidence;
      sum += found.kind === "bounded" ? found.value : Math.exp(found.logs[0] ?? NaN);
      paid += found.kind === "bounded" ? (server.nullMean ?? nullMean) : 1;
    }
    assert.ok(sum < 1.25 * paid, `${server.name}: ${sum / paid} of the null mean`);
  }
});
