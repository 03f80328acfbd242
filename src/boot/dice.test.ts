import assert from "node:assert/strict";
import { test } from "node:test";
import { diceId, diceKey, diceMode, nextCdis, publicBytes, type DiceInputs } from "./dice.ts";

const zero = Buffer.alloc(32);
const nothing = Buffer.alloc(64);
const inputs: DiceInputs = {
  ...{ code: nothing, config: nothing, authority: nothing, hidden: nothing },
  mode: diceMode.notConfigured,
};
const from = { attest: zero, seal: zero };

test("dice: known answers of google/open-dice (known_test_values.h, zero input, Ed25519)", () => {
  const { attest, seal } = nextCdis(from, inputs);
  const hex = (bytes: Buffer): string => bytes.toString("hex");
  assert.equal(hex(attest), "fbfc679771342eeacb908659ce49d6b63b4535da2c51433d7f04efa6319e0c19");
  assert.equal(hex(seal), "8ff8b22571325e7defefbfea8df1c9f34bf4d9ee03b75b788219c6b1ef49bdc5");
  const subject = publicBytes(diceKey(attest));
  assert.equal(hex(subject), "0d14e5de292eb1c8b31beae43ab55d8e9dc014b73eaa83b925a0788cc62e5c8d");
  assert.equal(hex(diceId(subject)), "67c22a8859062b986818e8e72b0bcd9f59349c89");
  assert.equal(hex(diceId(publicBytes(diceKey(zero)))), "7a06eee41b789f4863d86b8778b1a201a6fedd56");
});

test("dice: other code or configuration -> another CDI_Attest and the same CDI_Seal", () => {
  const before = nextCdis(from, inputs);
  for (const field of ["code", "config"] as const) {
    const after = nextCdis(from, { ...inputs, [field]: Buffer.alloc(64, 1) });
    assert.notDeepEqual(after.attest, before.attest);
    assert.deepEqual(after.seal, before.seal);
  }
});

test("dice: other authority, mode or hidden input -> both are others", () => {
  const before = nextCdis(from, inputs);
  const changes: Partial<DiceInputs>[] = [
    { authority: Buffer.alloc(64, 1) },
    { hidden: Buffer.alloc(64, 1) },
    { mode: diceMode.debug },
  ];
  for (const change of changes) {
    const after = nextCdis(from, { ...inputs, ...change });
    assert.notDeepEqual(after.attest, before.attest);
    assert.notDeepEqual(after.seal, before.seal);
  }
});
