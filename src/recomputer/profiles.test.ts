import assert from "node:assert/strict";
import { test } from "node:test";
import { sealProfile } from "../format/profile.ts";
import { assumedProfile } from "../verification/calibration.ts";
import { entry } from "../../tests/fake-recomputer.ts";
import { testProfile } from "../../tests/support.ts";
import { profileOf } from "./profiles.ts";

test("profiles: the one that the entry names by digest, among others -> found", () => {
  const other = sealProfile({ ...assumedProfile, sigma: 0.5 });
  assert.equal(profileOf(entry, [other, testProfile]), testProfile.profile);
});

test("profiles: not at hand, or of other weights -> unable, in words; never a number of another", () => {
  const unable = { name: "UnavailableError", code: "recomputer.no-profile" };
  assert.throws(() => profileOf(entry, []), { ...unable, message: /not at hand/ });
  const other = sealProfile({ ...assumedProfile, sigma: 0.5 });
  assert.throws(() => profileOf(entry, [other]), { ...unable, message: /not at hand/ });
  const run = { condition: "c", pairs: 1, tokens: 1, mismatches: 0, outside: 0 };
  const measured = sealProfile({
    ...assumedProfile,
    basis: "measured",
    model: { name: "m", root: "ab".repeat(32) },
    runs: [{ ...run, meanMargin: 0, maxMargin: 0 }],
  });
  const wrong = { ...entry, profile: measured.digest };
  assert.throws(() => profileOf(wrong, [measured]), { ...unable, message: /other weights/ });
  const root = Buffer.from(measured.profile.model.root, "hex");
  const right = { ...wrong, weights: { ...entry.weights, root } };
  assert.equal(profileOf(right, [measured]), measured.profile);
});
