import assert from "node:assert/strict";
import { test } from "node:test";
import { bootOff, nextBoot, type BootEffect, type BootEvent, type BootState } from "./boot.ts";
import { defaultTamperLimits, tamperIn } from "./tamper.ts";

/** The world around the reducer: what is in the silicon and on the disk. */
interface World {
  readonly boot: BootState;
  /** The secret still comes back. */
  readonly secret: boolean;
  readonly marked: boolean;
  /** The next stage runs. */
  readonly serving: boolean;
  /** Tampering happened while there was power. */
  readonly tampered: boolean;
  /** Effects not yet done: a loss of power forgets them. */
  readonly pending: readonly BootEffect[];
}

const start: World = {
  ...{ boot: bootOff, secret: true, marked: false, serving: false, tampered: false },
  pending: [],
};

function feed(world: World, event: BootEvent): World {
  const { state, effects } = nextBoot(world.boot, event);
  return { ...world, boot: state, pending: [...world.pending, ...effects] };
}

/** What each effect may come to; every one of them is tried. */
function outcomes(world: World): World[] {
  const [effect, ...pending] = world.pending;
  if (effect === undefined) return [];
  const rest = { ...world, pending };
  const why = "x";
  switch (effect) {
    case "measure":
      return [true, false].map((ok) => feed(rest, { kind: "measured", ok, why }));
    case "unlock":
      return (
        world.secret ? (["ok", "refused", "away"] as const) : (["gone", "away"] as const)
      ).map((result) => feed(rest, { kind: "unlocked", result, why }));
    case "start":
      return [{ ...rest, serving: true }];
    case "cut-power":
      return [{ ...rest, serving: false }];
    case "mark":
      return [{ ...rest, marked: true }];
    case "destroy":
      return [
        feed({ ...rest, secret: false }, { kind: "destroyed", ok: true }),
        feed({ ...rest, secret: false }, { kind: "destroyed", ok: false }),
        feed(rest, { kind: "destroyed", ok: false }),
      ];
    case "end":
      return [{ ...rest, serving: false }];
  }
}

function happenings(world: World, thief: boolean): World[] {
  const next = outcomes(world);
  const lost = { ...world, serving: false, pending: [] };
  next.push(feed(lost, { kind: "power-off" }));
  if (world.boot.phase === "OFF")
    next.push(feed(world, { kind: "power-on", marked: world.marked }));
  else next.push({ ...feed(world, { kind: "tamper", why: "lid" }), tampered: true });
  if (thief && world.boot.phase === "OFF") next.push({ ...world, marked: false });
  // Old messages come again.
  next.push(feed(world, { kind: "measured", ok: true, why: "" }));
  return next;
}

/** Every world that can be reached. */
function explore(thief: boolean): World[] {
  const seen = new Map<string, World>();
  const queue = [start];
  for (let world = queue.pop(); world !== undefined; world = queue.pop()) {
    const key = JSON.stringify(world);
    if (seen.has(key) || world.pending.length > 6) continue;
    seen.set(key, world);
    queue.push(...happenings(world, thief));
  }
  return [...seen.values()];
}

/** Out of these worlds, honest power cycles alone: does any of them serve? */
function everServes(world: World): boolean {
  const seen = new Set<string>();
  const queue = [feed({ ...world, serving: false, pending: [] }, { kind: "power-off" })];
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    const key = JSON.stringify(at);
    if (seen.has(key) || at.pending.length > 6) continue;
    seen.add(key);
    if (at.serving) return true;
    queue.push(...outcomes(at));
    if (at.boot.phase === "OFF") queue.push(feed(at, { kind: "power-on", marked: at.marked }));
    else queue.push(feed({ ...at, pending: [] }, { kind: "power-off" }));
  }
  return false;
}

test("boot: over all runs, no service without measuring and unlocking, none once bricked", () => {
  const worlds = explore(true);
  assert.ok(worlds.length > 40, `${worlds.length} worlds`);
  for (const world of worlds) {
    const { phase } = world.boot;
    if (world.serving) assert.ok(["RUNNING", "BRICKING"].includes(phase), phase);
    if (phase === "BRICKED") assert.equal(everServes(world), world.secret, "a brick is for good");
  }
});

test("boot: over all runs, BRICKED is said only of a secret that is gone", () => {
  for (const world of explore(true)) {
    if (world.boot.phase === "BRICKED") assert.equal(world.secret, false);
  }
});

test("boot: tampering was seen and its mark is on disk -> never service again, through any loss of power", () => {
  for (const world of explore(false)) {
    if (world.tampered && world.marked) assert.equal(everServes(world), false);
  }
});

test("boot: HONEST NEGATIVE power lost between tampering and mark, or the mark removed -> it may serve again", () => {
  // What silicon answers with physics, software cannot: the window is stated, not hidden (docs/TRUST.md).
  const lost = explore(true).filter(({ tampered, secret }) => tampered && secret);
  assert.ok(lost.some((world) => everServes(world)));
});

test("boot: tampering in each phase with power -> power is cut first, then mark, then destroy", () => {
  for (const phase of ["MEASURING", "UNLOCKING", "RUNNING", "REFUSED"] as const) {
    const { state, effects } = nextBoot({ phase, why: "" }, { kind: "tamper", why: "lid" });
    assert.deepEqual(state, { phase: "BRICKING", why: "lid" });
    assert.deepEqual(effects, ["cut-power", "mark", "destroy"]);
  }
});

test("boot: destroying fails -> it is tried again, and nothing starts meanwhile", () => {
  const bricking: BootState = { phase: "BRICKING", why: "mesh" };
  assert.deepEqual(nextBoot(bricking, { kind: "destroyed", ok: false }), {
    state: bricking,
    effects: ["destroy"],
  });
  assert.deepEqual(nextBoot(bricking, { kind: "unlocked", result: "ok", why: "" }).effects, []);
});

test("tamper: readings in and out of their limits", () => {
  const says = (kind: Parameters<typeof tamperIn>[0]["kind"], value: number): string | null =>
    tamperIn({ kind, value }, defaultTamperLimits);
  for (const [kind, good, bad] of [
    ["lid", 0, 1],
    ["mesh", 0, 1],
    ["temperature", 25, -40],
    ["temperature", 70, 70.1],
    ["voltage", 12, 3.3],
    ["voltage", 12.6, 14],
    ["heartbeat", 100, 5001],
  ] as const) {
    assert.equal(says(kind, good), null, kind);
    assert.notEqual(says(kind, bad), null, kind);
    assert.notEqual(says(kind, NaN), null, kind);
  }
});
