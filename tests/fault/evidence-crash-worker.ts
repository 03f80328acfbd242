/** Judges pairs of a slightly careless server into the database named first, and says each verdict. */
import { openRecomputerDb } from "../../src/adapter/sqlite/verdicts.ts";
import { frameType } from "../../src/format/link.ts";
import { defaultPolicy } from "../../src/format/policy.ts";
import { encodeEpoch } from "../../src/format/proof-request.ts";
import { makeTag } from "../../src/format/tag.ts";
import { Recomputer } from "../../src/recomputer/serve.ts";
import {
  bettingProfile,
  entry,
  epochKey,
  FakeClock,
  FakeEngine,
  FakeWire,
  ladderOf,
  proofRequest,
  quiet,
  settled,
} from "../fake-recomputer.ts";

const [file = "", count = "0"] = process.argv.slice(2);
const db = openRecomputerDb(file);
const nothing = (): undefined => undefined;
const recomputer = new Recomputer({
  ...{ name: "r1", clock: new FakeClock(), log: quiet, store: db.verdicts, entries: [entry] },
  ...{ profiles: [bettingProfile], openEngine: () => Promise.resolve(new FakeEngine()) },
  ...{ ladder: ladderOf(defaultPolicy), alarms: { raise: nothing, clear: nothing } },
  shutdown: {
    ...{ failed: nothing, climb: nothing, connected: nothing, disconnected: nothing },
    ...{ answered: nothing, released: () => ({ kind: "known" }), noteRelease: nothing },
  },
  ...{ shownAlarms: () => [], simulated: [] },
});
const wire = new FakeWire("g1");
recomputer.serveGateway(wire);
wire.receive(frameType.epoch, 0n, encodeEpoch({ gateway: "g1", epoch: 1, epochKey }));
for (let i = 1; i <= Number(count); i++) {
  const tag = makeTag(1, i);
  const careless = { noise: 0.02, params: { maxTokens: 20, topP: 1 } };
  wire.receive(frameType.proofRequest, tag, proofRequest(tag, careless));
  await settled();
  process.stdout.write(`${i}\n`);
}
await recomputer.stop();
db.close();
