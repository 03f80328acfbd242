import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../tests/fake-recomputer.ts";
import { Share } from "./share.ts";

test("share: replays side by side -> their shares sum up to the time in which any ran", async () => {
  const clock = new FakeClock();
  const share = new Share(clock);
  const lasting = (ms: number): Promise<{ readonly ms: number }> =>
    share.of(new Promise<void>((resolve) => clock.after(ms, resolve)));
  const alone = lasting(100);
  await clock.advance(1000);
  assert.equal((await alone).ms, 100);
  const [long, short] = [lasting(300), lasting(100)];
  await clock.advance(1000);
  assert.deepEqual([(await long).ms, (await short).ms], [250, 50]);
  const failing = share.of(Promise.reject(new Error("down")));
  await assert.rejects(failing, /down/);
  const after = lasting(40);
  await clock.advance(100);
  assert.equal((await after).ms, 40);
});
