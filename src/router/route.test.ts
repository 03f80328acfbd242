import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { pick, WaitQueue, type Candidate, type Waiting } from "./route.ts";

const any = (): boolean => true;

test("route: several gateways -> the least loaded that accepts and serves the model", () => {
  const candidates: Candidate[] = [
    { modelId: "a", accepting: false, load: 0, quarantined: false },
    { modelId: "b", accepting: true, load: 0, quarantined: false },
    { modelId: "a", accepting: true, load: 0.5, quarantined: false },
    { modelId: "a", accepting: true, load: 0.25, quarantined: false },
    { modelId: null, accepting: true, load: 0, quarantined: false },
  ];
  assert.equal(pick(candidates, "a", 0, any), candidates[3]);
  assert.equal(
    pick(candidates, "a", 0, (c) => c !== candidates[3]),
    candidates[2],
  );
  assert.equal(pick(candidates, "c", 0, any), null);
  assert.equal(pick([], "a", 0, any), null);
});

test("route: a gateway in quarantine -> asked only where there is no other", () => {
  const held = { modelId: "a", accepting: true, load: 0, quarantined: true };
  const busy = { modelId: "a", accepting: true, load: 0.9, quarantined: false };
  assert.equal(pick([held, busy], "a", 0, any), busy);
  assert.equal(pick([busy, held], "a", 1, any), busy);
  assert.equal(pick([held, { ...busy, accepting: false }], "a", 0, any), held);
});

test("route: equal loads -> each gateway in turn", () => {
  const candidates: Candidate[] = [0, 1, 2].map(() => ({
    modelId: "a",
    accepting: true,
    load: 0,
    quarantined: false,
  }));
  const picked = [0, 1, 2, 3].map((turn) => candidates.indexOf(pick(candidates, "a", turn, any)!));
  assert.deepEqual(picked, [0, 1, 2, 0]);
});

test("route: any gateways -> nothing allowed has a lower load than the one picked", () => {
  const candidate = fc.record({
    modelId: fc.constantFrom("a", "b", null),
    accepting: fc.boolean(),
    load: fc.nat(5),
    quarantined: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(candidate), fc.nat(100), (candidates, start) => {
      const fit = candidates.filter((c) => c.modelId === "a" && c.accepting);
      const best = pick(candidates, "a", start, any);
      if (best === null) assert.equal(fit.length, 0);
      else {
        const rivals = fit.filter((c) => c.quarantined === best.quarantined);
        assert.ok(fit.includes(best) && rivals.every((c) => c.load >= best.load));
        assert.ok(!best.quarantined || fit.every((c) => c.quarantined));
      }
    }),
  );
});

function waiting(modelId: string, deadlineMs: number): Waiting {
  return { modelId, deadlineMs };
}

test("queue: room comes -> oldest first, those that cannot use it stay", () => {
  const queue = new WaitQueue();
  const [first, second, third, other] = [
    waiting("a", 1),
    waiting("a", 2),
    waiting("a", 3),
    waiting("b", 1),
  ];
  for (const request of [first, second, third, other, first]) queue.add(request);
  assert.equal(queue.size, 4);
  const seen: Waiting[] = [];
  queue.offer("a", (request) => {
    seen.push(request);
    if (request === first) return "later";
    return request === second ? "placed" : "full";
  });
  assert.deepEqual(seen, [first, second, third]);
  assert.equal(queue.size, 3);
});

test("queue: deadlines pass -> exactly the late ones come out, once", () => {
  const queue = new WaitQueue();
  const requests = [waiting("a", 5), waiting("b", 1), waiting("a", 2)];
  for (const request of requests) queue.add(request);
  assert.deepEqual(new Set(queue.expire(2)), new Set([requests[1], requests[2]]));
  assert.deepEqual(queue.expire(2), []);
  queue.remove(requests[0]!);
  queue.remove(requests[0]!);
  assert.equal(queue.size, 0);
});
