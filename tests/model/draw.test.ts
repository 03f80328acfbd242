/** The joint draw: an honest gateway among crashes and lost messages, and a liar; seeded bugs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DrawOutcome } from "../../src/gateway/draw.ts";
import { roundOpened } from "../../src/log/share.ts";
import { drawModel, shippedDraw, type DrawRules, type DrawWorld } from "./draw-world.ts";
import { assertFinds, assertHolds, explore } from "./explore.ts";

const { drawStep, resume, openShare, refusesEntry } = shippedDraw;

/** A `store` that is skipped: the step after it comes at once. */
function unstored(step: DrawOutcome["state"]["step"]): DrawRules["drawStep"] {
  return (state, event) => {
    const out = drawStep(state, event);
    return out.state.step === step ? drawStep(out.state, { kind: "stored" }) : out;
  };
}

const cosigned =
  "in a log that an honest party cosigns, each round is opened once, and they rise by one";

/** A party that looks at each entry alone, and not at what the log opened before it. */
const secondOpening: Partial<DrawRules> = {
  refusesEntry: (party, held, _opened, bytes) =>
    refusesEntry(party, held, (roundOpened(bytes) ?? 1n) - 1n, bytes),
};

interface SeededBug {
  readonly rules: Partial<DrawRules>;
  readonly breaks: readonly string[];
  readonly hostile?: boolean;
}

const bugs: Readonly<Record<string, SeededBug>> = {
  "a party gives its secret for the asking": {
    breaks: ["a secret is given only when its commitment, and both others, stand in the log"],
    hostile: true,
    rules: {
      releaseShare: (_party, held) =>
        held === null
          ? { kind: "refused", why: "", suspect: false }
          : { kind: "held", share: { ...held, released: true } },
      refusesEntry: () => null,
    },
  },
  "a party takes a second opening of a round with its own commitment": {
    breaks: [cosigned],
    hostile: true,
    rules: secondOpening,
  },
  "a party takes a second opening, and who walks the log looks at each round alone": {
    breaks: ["a round that was opened twice is told by whoever walks the log"],
    hostile: true,
    rules: { ...secondOpening, liesTold: () => 0 },
  },
  "a party looks no more at rounds before the one that it holds": {
    breaks: [cosigned],
    hostile: true,
    rules: {
      refusesEntry: (party, held, opened, bytes) =>
        (roundOpened(bytes) ?? 0n) < (held?.round ?? 0n)
          ? null
          : refusesEntry(party, held, opened, bytes),
    },
  },
  "a party draws again when it is asked again": {
    breaks: ["a party commits once in a round"],
    rules: {
      openShare: (_held, _opened, open, fresh) => openShare(null, open.round - 1n, open, fresh),
    },
  },
  "a gateway shows its commitment before it is stored": {
    breaks: ["the gateway shows one commitment for a round"],
    rules: { drawStep: unstored("storing-new") },
  },
  "a gateway logs before the commitments are stored": {
    breaks: ["after crashes alone, a gateway always finds its place again"],
    rules: { drawStep: unstored("storing-commits") },
  },
  "a gateway reveals before the next secrets are stored": {
    breaks: ["a round is revealed only when the secrets of the next one are all durable"],
    rules: { drawStep: unstored("storing-secrets") },
  },
  "a gateway does not look into its log after a start": {
    breaks: ["a round is opened once"],
    rules: { resume: (file) => resume(file, []) },
  },
  "a gateway takes any secret": {
    breaks: ["the coins in force are those of the round's entry"],
    rules: {
      drawStep: (state, event) => {
        const { coming } = state;
        if (event.kind !== "secret" || coming === null || state.step !== "showing") {
          return drawStep(state, event);
        }
        const share = { ...coming[event.party], secret: Buffer.alloc(32, 7) };
        const next = { ...coming, [event.party]: share };
        if (next.a.secret === null || next.b.secret === null) {
          return { state: { ...state, coming: next }, effects: [] };
        }
        return {
          state: { ...state, coming: next, step: "storing-secrets" },
          effects: [{ kind: "store" }],
        };
      },
    },
  },
};

const agreedRounds = ({ gateway }: DrawWorld): bigint =>
  gateway === null || gateway === "lost" ? 0n : (gateway.current?.round ?? 0n);

test("model: a joint draw, crashes and any messages -> every invariant holds", (t) => {
  const { states, transitions, depth, reached } = assertHolds(drawModel({ deaths: 2 }));
  t.diagnostic(`${states} states, ${transitions} transitions, depth ${depth}`);
  assert.ok(
    reached.some((world) => agreedRounds(world) === 2n),
    "a second round is agreed",
  );
});

test("model: a joint draw with a gateway and a party that lie -> the other party's rules hold", (t) => {
  const { states, transitions, depth, reached } = assertHolds(drawModel({ hostile: true }));
  t.diagnostic(`${states} states, ${transitions} transitions, depth ${depth}`);
  const secrets = reached.filter(({ net }) => net.some(({ kind }) => kind === "secret"));
  assert.ok(secrets.length > 0, "a party that never gives its secret proves nothing");
});

test("model: a joint draw with liars, whose honest party overlooks a second opening -> who walks the log does not", (t) => {
  const rules = { ...shippedDraw, ...secondOpening };
  const model = drawModel({ hostile: true, entries: 2, rules });
  const invariants = model.invariants.filter(({ name }) => name !== cosigned);
  assert.equal(invariants.length, model.invariants.length - 1);
  const { states, reached } = assertHolds({ ...model, invariants });
  t.diagnostic(`${states} states`);
  assert.ok(reached.some(({ marks, net }) => marks.length > 1 && net.length > 0));
});

for (const [what, { rules, breaks, hostile = false }] of Object.entries(bugs)) {
  test(`model: a joint draw where ${what} -> found`, (t) => {
    for (const invariant of breaks) {
      const model = drawModel({ rules: { ...shippedDraw, ...rules }, hostile });
      const { states, violation } = assertFinds(model, invariant);
      t.diagnostic(`found at depth ${violation.labels.length} after ${states} states`);
      t.diagnostic(`${invariant}: ${violation.labels.join(" | ")}`);
    }
  });
}

test("model: every invariant of the draw -> broken by one of the bugs at least", () => {
  const broken = new Set(Object.values(bugs).flatMap(({ breaks }) => breaks));
  const models = [drawModel(), drawModel({ hostile: true })];
  const names = models.flatMap(({ invariants }) => invariants.map(({ name }) => name));
  assert.deepEqual(
    names.filter((name) => !broken.has(name)),
    [],
  );
});

test("model: a joint draw, one death more -> more states, and nothing else", () => {
  const [one, two] = [1, 2].map((deaths) => explore(drawModel({ rounds: 1, deaths })).states);
  assert.ok((one ?? 0) < (two ?? 0), "the bound on deaths is what bounds the model");
});
