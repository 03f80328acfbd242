import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { attackNamed } from "../../adversary/attacks/index.ts";
import { Lab, type LabTrialOptions } from "./lab.ts";
import { readModel } from "./model.ts";
import { layerOf } from "./trial.ts";

const model = fileURLToPath(new URL("../../../models/weir-tiny.gguf", import.meta.url));

async function withLab(use: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = new Lab(await readModel({ model, profile: undefined, policy: undefined }));
  try {
    await use(lab);
  } finally {
    await lab.close();
  }
}

function optionsFor(attack: string, changes: Partial<LabTrialOptions> = {}): LabTrialOptions {
  return {
    ...{ attack: attackNamed(attack), knobs: {}, seed: 1, epsilon: 1, budget: 400 },
    ...{ traffic: "mixed", onProgress: () => undefined, stopped: () => false },
    ...changes,
  };
}

test("lab: a wrong seed -> a hard finding within a few pairs; the twin is left alone", async () => {
  await withLab(async (lab) => {
    const trial = await lab.trial(optionsFor("wrong-seed", { budget: 4000 }));
    assert.ok(trial?.kind === "trial");
    assert.equal(trial.alarm?.layer, "hard finding");
    assert.ok(trial.alarm.auditedPairs <= 4);
    assert.ok(trial.served.tokens < 4000);
    assert.deepEqual(trial.twin.accusations, []);
    assert.ok(trial.twin.auditedTokens > 0);
  });
});

test("lab: honest inference of a whitelisted model -> not caught, and its meter runs", async () => {
  await withLab(async (lab) => {
    const trial = await lab.trial(optionsFor("expert-iteration"));
    assert.ok(trial?.kind === "trial");
    assert.equal(layerOf(trial), "none");
    assert.ok(trial.served.tokens >= 400);
    assert.equal(trial.meter?.tokens, trial.served.tokens);
  });
});

test("lab: an attack that needs a sandbox, one after the other -> skipped with the reason", async () => {
  await withLab(async (lab) => {
    const skipped = await lab.trial(optionsFor("direct-channels"));
    assert.ok(skipped?.kind === "skipped");
    assert.match(skipped.why, /sandbox/);
    assert.equal(await lab.trial(optionsFor("wrong-seed", { stopped: () => true })), null);
  });
});
