import assert from "node:assert/strict";
import { test } from "node:test";
import { cpuBuilds } from "./cpu-builds.ts";
import { libraryDirectory } from "./library-directory.ts";
import { buildsIn, nativeApi } from "./native-library.ts";

test("cpu builds: those that this processor runs; a process holds one of them", async () => {
  const runnable = await cpuBuilds();
  const installed = buildsIn(libraryDirectory());
  assert.ok(
    installed.length > 1 && runnable.length > 0,
    `${runnable.join()} of ${installed.join()}`,
  );
  assert.ok(runnable.every((build) => installed.includes(build)));
  const [one = "", other = "none"] = runnable;
  assert.throws(() => nativeApi("none"), {
    code: "engine.cpu-build",
    message: /no CPU build none/,
  });
  const unfit = installed.find((build) => !runnable.includes(build));
  if (unfit !== undefined) {
    assert.throws(() => nativeApi(unfit), { code: "engine.cpu-build", message: /does not run/ });
  }
  const api = nativeApi(one);
  assert.equal(nativeApi(one), api);
  assert.equal(nativeApi(), api);
  assert.throws(() => nativeApi(other), { code: "engine.cpu-build", message: /another CPU build/ });
});
