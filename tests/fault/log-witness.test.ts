/**
 * Attacks on the log, each detected, and by whom. Where a test can, it also takes the countermeasure away and sees the
 * attack succeed.
 */
import assert from "node:assert/strict";
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { FaultyDisk } from "../../src/adapter/disk/faulty-disk.ts";
import { systemDisk } from "../../src/adapter/disk/file.ts";
import { openLeafLog } from "../../src/adapter/disk/leaf-log.ts";
import { openMirror } from "../../src/adapter/disk/mirror.ts";
import { systemClock } from "../../src/adapter/clock.ts";
import { UnavailableError } from "../../src/base/assert.ts";
import { consistencyPath, emptyRoot, leafHash, merkleRoot } from "../../src/base/merkle.ts";
import { signCheckpoint } from "../../src/format/checkpoint.ts";
import { cosign } from "../../src/format/cosignature.ts";
import { frameType } from "../../src/format/link.ts";
import { encodeNote, parseNote, parseSignatures, type NoteKey } from "../../src/format/note.ts";
import { encodeBundle } from "../../src/format/tlog-tile.ts";
import { openCosigned } from "../../src/format/tlog-proof.ts";
import { encodeAddCheckpoint } from "../../src/log/add-checkpoint.ts";
import type { BundleSource } from "../../src/log/mirror.port.ts";
import type { WitnessAnswer } from "../../src/log/publisher.ts";
import {
  entry,
  logKeyPrivate,
  logVkey,
  openGateway,
  openLogHouse,
  openPublisher,
  openWitness,
  removeFolder,
  rootKey,
  temporaryFolder,
  witnessKey,
  witnessPrivate,
  type GatewayHalf,
  type LogHouse,
  type WitnessHalf,
} from "../log-house.ts";
import { until } from "../path/house.ts";
import { wirePair } from "../support.ts";

function folder(t: TestContext): string {
  const dir = temporaryFolder();
  t.after(() => removeFolder(dir));
  return dir;
}

const entries = (from: number, to: number): Buffer[] =>
  Array.from({ length: to - from }, (_, i) => entry(from + i));

/** A site whose log of `size` entries both witnesses have cosigned. */
async function cosignedSite(dir: string, size: number): Promise<LogHouse> {
  const house = await openLogHouse(dir);
  await house.gateway.grow(entries(0, size));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === size);
  return house;
}

/** A checkpoint that a thief of the log key signs. */
function forge(log: NoteKey, list: readonly Buffer[]): Buffer {
  const root = merkleRoot(list.map((one) => leafHash(one)));
  return signCheckpoint(logKeyPrivate, { origin: log.name, size: list.length, root });
}

/** Entry bundles of any list. */
function bundlesFrom(list: () => readonly Buffer[]): BundleSource {
  return {
    bundle: (index, width) => {
      const part = list().slice(index * 256, index * 256 + width);
      if (part.length < width) return Promise.reject(new UnavailableError("test", "404", "none"));
      return Promise.resolve(encodeBundle(part));
    },
  };
}

function proofOf(list: readonly Buffer[], from: number): Buffer[] {
  if (from === 0 || from === list.length) return [];
  const hashes = list.map((one) => leafHash(one));
  return consistencyPath(from, list.length, (start, end) => merkleRoot(hashes.slice(start, end)));
}

/** Asks a witness to cosign a thief's tree, with the best proof there is. */
function offer(
  witness: WitnessHalf,
  log: NoteKey,
  list: readonly Buffer[],
  old: number,
): Promise<WitnessAnswer> {
  const request = { old, proof: proofOf(list, old), note: forge(log, list) };
  return witness.post("/add-checkpoint", encodeAddCheckpoint(request));
}

/** The gateway's honest entries, but another one at `at`. */
function forked(size: number, at: number): Buffer[] {
  return entries(0, size).map((one, i) => (i === at ? entry(1000 + i) : one));
}

test("log: an entry changed on the gateway's disk -> found by the gateway at its start", async (t) => {
  const dir = folder(t);
  await (await cosignedSite(dir, 20)).close();
  const path = join(dir, "log/leaves.log");
  const bytes = readFileSync(path);
  bytes[128 * 3 + 60] = (bytes[128 * 3 + 60] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  await assert.rejects(openGateway(dir), { code: "log.altered" });
});

test("log: the gateway's log cut short -> found by the gateway at its start", async (t) => {
  const dir = folder(t);
  await (await cosignedSite(dir, 20)).close();
  truncateSync(join(dir, "log/leaves.log"), 128 * 19);
  await assert.rejects(openGateway(dir), { code: "log.truncated" });
});

test("log: an older log put back under the gateway -> found by the gateway, from the checkpoint it signed", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  for (const name of ["leaves.log", "leaves.head"]) {
    cpSync(join(dir, "log", name), join(dir, `old-${name}`));
  }
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  for (const name of ["leaves.log", "leaves.head"]) {
    cpSync(join(dir, `old-${name}`), join(dir, "log", name));
  }
  await assert.rejects(openGateway(dir), { code: "log.rolled-back" });
  // Without the signed checkpoint on disk the log alone looks sound: it opens.
  const log = await openLeafLog({ dir: join(dir, "log"), key: rootKey });
  assert.equal(log.size, 20n);
  await log.close();
});

test("log: the gateway's whole folder put back -> found by the gateway, from what the publisher brings it", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  cpSync(join(dir, "log"), join(dir, "old"), { recursive: true });
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  rmSync(join(dir, "log"), { recursive: true });
  cpSync(join(dir, "old"), join(dir, "log"), { recursive: true });
  const again = await openLogHouse(dir);
  const { checkpoints, alarms } = again.gateway;
  await until("the alarm", () => alarms.list().some(({ kind }) => kind === "log.rolled-back"));
  assert.equal(checkpoints.open, false);
  assert.match(checkpoints.status().broken, /over 30 entries exists, and the log has fewer/);
  // It signs nothing any more, whatever is appended.
  await again.gateway.grow([entry(2000)]);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(checkpoints.status().signed, 20);
  await again.close();
});

test("log: gateway and publisher put back together -> refused by both witnesses, and the backlog stops the gateway", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  for (const name of ["log", "publisher"])
    cpSync(join(dir, name), join(dir, `old-${name}`), { recursive: true });
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  for (const name of ["log", "publisher"]) {
    rmSync(join(dir, name), { recursive: true });
    cpSync(join(dir, `old-${name}`), join(dir, name), { recursive: true });
  }
  const again = await openLogHouse(dir, { backlogMax: 5 });
  // It goes on as another log: past the 30 entries, with others in their places.
  await again.gateway.grow(Array.from({ length: 15 }, (_, i) => entry(3000 + i)));
  await until("it stopped", () => !again.gateway.checkpoints.open);
  assert.ok(again.gateway.alarms.list().some(({ kind }) => kind === "log.backlog"));
  assert.ok(again.gateway.checkpoints.status().cosigned <= 20);
  for (const { service } of Object.values(again.witnesses)) {
    assert.equal(service.status().logs[0]?.size, 30);
  }
  const refusals = (): string => JSON.stringify(again.publisher.publisher.status());
  await until("both witnesses refused", () => (refusals().match(/422/g) ?? []).length === 2);
  await again.close();
});

test("log: gateway, publisher and both witnesses put back together -> nothing here shows it", async (t) => {
  // The limit of the countermeasures above: whoever can put back the disks of both parties has rewritten the past.
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  const names = ["log", "publisher", "witness-a", "witness-b"];
  for (const name of names) cpSync(join(dir, name), join(dir, `old-${name}`), { recursive: true });
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  for (const name of names) {
    rmSync(join(dir, name), { recursive: true });
    cpSync(join(dir, `old-${name}`), join(dir, name), { recursive: true });
  }
  const again = await openLogHouse(dir);
  await again.gateway.grow([entry(4000)]);
  await until("another tree is cosigned", () => again.gateway.checkpoints.full?.size === 21);
  await again.close();
});

test("log: a thief of the log key signs a second tree of one size -> refused by each witness, kept as evidence", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  const log = logVkey(house.gateway.checkpoints);
  for (const witness of Object.values(house.witnesses)) {
    const { status } = await offer(witness, log, forked(20, 3), 20);
    assert.equal(status, 422);
    assert.equal(witness.service.status().logs[0]?.suspicions.length, 1);
    // Nor with any larger tree that does not begin with the one it has.
    assert.equal((await offer(witness, log, forked(25, 3), 20)).status, 422);
    assert.equal((await offer(witness, log, forked(25, 3), 0)).status, 409);
  }
  await house.close();
});

test("log: different trees shown to A and B -> no tree has both cosignatures; the gateway finds the foreign one", async (t) => {
  const dir = folder(t);
  const gateway = await openGateway(dir);
  await gateway.grow(entries(0, 20));
  await until("signed", () => gateway.checkpoints.status().signed === 20);
  const log = logVkey(gateway.checkpoints);
  const trees = { a: entries(0, 20), b: forked(20, 3) };
  const witnesses = {
    a: await openWitness({ dir, party: "a", log, source: bundlesFrom(() => trees.a) }),
    b: await openWitness({ dir, party: "b", log, source: bundlesFrom(() => trees.b) }),
  };
  const policy = { log, witnesses: [witnessKey("a"), witnessKey("b")] };
  const notes: Buffer[] = [];
  for (const party of ["a", "b"] as const) {
    const { status, body } = await offer(witnesses[party], log, trees[party], 0);
    assert.equal(status, 200, "each party alone has seen nothing wrong");
    const note = parseNote(forge(log, trees[party]));
    const signatures = [...note.signatures, ...parseSignatures(body.toString())];
    notes.push(encodeNote({ text: note.text, signatures }));
  }
  // By every reader: one witness did not sign.
  for (const note of notes)
    assert.throws(() => openCosigned(note, policy), { code: "checkpoint.cosigned" });
  // A reader who asks for one party's witness alone believes the forked tree.
  openCosigned(notes[1] ?? Buffer.alloc(0), { log, witnesses: [witnessKey("b")] });
  // By B, when it is shown A's tree; by the gateway, when B's cosignature comes back.
  assert.equal((await offer(witnesses.b, log, trees.a, 20)).status, 422);
  const { left, right } = wirePair(
    { role: "gateway", name: "g1" },
    { role: "publisher", name: "p" },
  );
  gateway.checkpoints.attach(right, () => undefined);
  left.send(frameType.logCosigned, 0n, notes[1] ?? Buffer.alloc(0));
  await until("the gateway stops", () => !gateway.checkpoints.open);
  assert.match(gateway.checkpoints.status().broken, /with another root/);
  await gateway.close();
  for (const witness of Object.values(witnesses)) await witness.close();
});

test("log: a publisher that serves a changed, or no, entry -> the witness does not cosign", async (t) => {
  const dir = folder(t);
  const gateway = await openGateway(dir);
  const log = logVkey(gateway.checkpoints);
  let served: readonly Buffer[] = forked(20, 3);
  const witness = await openWitness({ dir, party: "a", log, source: bundlesFrom(() => served) });
  const signed = entries(0, 20);
  assert.equal((await offer(witness, log, signed, 0)).status, 422);
  served = signed.slice(0, 19);
  assert.equal((await offer(witness, log, signed, 0)).status, 503);
  assert.equal(witness.service.status().logs[0]?.size, 0);
  served = signed;
  assert.equal((await offer(witness, log, signed, 0)).status, 200);
  await witness.close();
  await gateway.close();
});

test("log: an entry that its party never agreed to -> 422 by that party's witness, the other one cosigns", async (t) => {
  const dir = folder(t);
  const gateway = await openGateway(dir);
  const log = logVkey(gateway.checkpoints);
  const source = bundlesFrom(() => entries(0, 20));
  const checkEntry = (_: string, one: Buffer): string | null =>
    one.equals(entry(7)) ? "not ours" : null;
  const a = await openWitness({ dir, party: "a", log, source, checkEntry });
  const b = await openWitness({ dir, party: "b", log, source });
  const { status, body } = await offer(a, log, entries(0, 20), 0);
  assert.deepEqual([status, body.toString()], [422, "not ours\n"]);
  assert.equal((await offer(b, log, entries(0, 20), 0)).status, 200);
  await a.close();
  await b.close();
  await gateway.close();
});

test("log: a witness whose disk was put back -> cosigns a fork, and the other party's witness does not", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  const log = logVkey(house.gateway.checkpoints);
  cpSync(join(dir, "witness-a"), join(dir, "old"), { recursive: true });
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  rmSync(join(dir, "witness-a"), { recursive: true });
  cpSync(join(dir, "old"), join(dir, "witness-a"), { recursive: true });
  const fork = forked(35, 25);
  const source = bundlesFrom(() => fork);
  const a = await openWitness({ dir, party: "a", log, source });
  const b = await openWitness({ dir, party: "b", log, source });
  // The attack succeeds against A alone: this is what B is for.
  assert.equal((await offer(a, log, fork, 20)).status, 200);
  assert.equal((await offer(b, log, fork, 30)).status, 422);
  await a.close();
  await b.close();
});

test("log: a witness whose disk was put back, without any attack -> catches up from where it is", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 20);
  cpSync(join(dir, "witness-a"), join(dir, "old"), { recursive: true });
  await house.gateway.grow(entries(20, 30));
  await until("cosigned", () => house.gateway.checkpoints.full?.size === 30);
  await house.close();
  rmSync(join(dir, "witness-a"), { recursive: true });
  cpSync(join(dir, "old"), join(dir, "witness-a"), { recursive: true });
  const again = await openLogHouse(dir);
  await again.gateway.grow([entry(30)]);
  await until("cosigned by both", () => again.gateway.checkpoints.full?.size === 31);
  await again.close();
});

/** The gateway with a publisher that posts to made-up witnesses. */
async function withWitnesses(
  dir: string,
  post: (party: "a" | "b", text: string) => WitnessAnswer,
): Promise<{ gateway: GatewayHalf; close: () => Promise<void> }> {
  const gateway = await openGateway(dir, { backlogMax: 5 });
  const answer = (party: "a" | "b") => (_: string, body: Buffer) => {
    const note = parseNote(body.subarray(body.indexOf("\n\n") + 2));
    return Promise.resolve(post(party, note.text));
  };
  const posts = { a: answer("a"), b: answer("b") };
  const publisher = await openPublisher(dir, logVkey(gateway.checkpoints), posts);
  publisher.connect(gateway);
  const close = async (): Promise<void> => {
    await publisher.close();
    await gateway.close();
  };
  return { gateway, close };
}

function cosignature(party: "a" | "b", text: string, timeS: number): WitnessAnswer {
  const signature = cosign(witnessKey(party).name, witnessPrivate(party), text, timeS);
  const lines = encodeNote({ text: "\n", signatures: [signature] }).subarray(2);
  return { status: 200, body: lines };
}

test("log: a witness with a false clock -> its cosignatures do not count, and the gateway says so", async (t) => {
  const nowS = Math.floor(systemClock.wallMs() / 1000);
  for (const offS of [-3600, 3600]) {
    const { gateway, close } = await withWitnesses(folder(t), (party, text) =>
      cosignature(party, text, party === "a" ? nowS + offS : nowS),
    );
    await gateway.grow(entries(0, 10));
    await until("the alarm", () =>
      gateway.alarms.list().some(({ kind }) => kind === "witness.clock-a"),
    );
    await until("it stopped", () => !gateway.checkpoints.open);
    assert.equal(gateway.checkpoints.status().cosigned, 0);
    await close();
  }
  // The same witness with the right time: all is well.
  const { gateway, close } = await withWitnesses(folder(t), (party, text) =>
    cosignature(party, text, nowS),
  );
  await gateway.grow(entries(0, 10));
  await until("cosigned", () => gateway.checkpoints.full?.size === 10);
  await close();
});

test("log: a witness that answers with noise, or with the other's cosignature -> never counted", async (t) => {
  const nowS = Math.floor(systemClock.wallMs() / 1000);
  const answers: ((text: string) => WitnessAnswer)[] = [
    () => ({ status: 200, body: Buffer.from("noise\n") }),
    () => ({ status: 200, body: Buffer.alloc(0) }),
    (text) => cosignature("b", text, nowS),
    (text) => cosignature("a", `x${text}`, nowS),
  ];
  for (const answer of answers) {
    const { gateway, close } = await withWitnesses(folder(t), (party, text) =>
      party === "a" ? answer(text) : cosignature("b", text, nowS),
    );
    await gateway.grow(entries(0, 10));
    await until("it stopped", () => !gateway.checkpoints.open);
    await until("b has cosigned", () => gateway.checkpoints.status().parties[1]?.size === 10);
    assert.equal(gateway.checkpoints.status().parties[0]?.size, 0);
    assert.equal(gateway.checkpoints.full, null);
    await close();
  }
});

test("log: one party's witness is away -> the gateway stops at its bound and goes on when it is back", async (t) => {
  let away = true;
  const nowS = (): number => Math.floor(systemClock.wallMs() / 1000);
  const { gateway, close } = await withWitnesses(folder(t), (party, text) =>
    away && party === "b"
      ? { status: 503, body: Buffer.from("away\n") }
      : cosignature(party, text, nowS()),
  );
  await gateway.grow(entries(0, 5));
  await until("signed", () => gateway.checkpoints.status().signed === 5);
  assert.ok(gateway.checkpoints.open, "within the bound");
  await gateway.grow([entry(5)]);
  await until("it stopped", () => !gateway.checkpoints.open);
  const blamed = (): string =>
    gateway.alarms.list().find(({ kind }) => kind === "log.backlog")?.text ?? "";
  await until("only b is to blame", () => blamed().includes("witness of party b:"));
  away = false;
  await until(
    "service again",
    () => gateway.checkpoints.open && gateway.checkpoints.full?.size === 6,
  );
  await close();
});

test("log: a witness's files torn, cut, swapped or lost -> refused at its start, never guessed", async (t) => {
  const dir = folder(t);
  const house = await cosignedSite(dir, 300);
  const log = logVkey(house.gateway.checkpoints);
  await house.close();
  const open = async (): Promise<number> => {
    const mirror = await openMirror({ dir: join(dir, "witness-a"), log, witness: witnessKey("a") });
    await mirror.close();
    return mirror.size;
  };
  const paths = {
    note: join(dir, "witness-a/checkpoint"),
    list: join(dir, "witness-a/entries.log"),
  };
  const [note, list] = [readFileSync(paths.note), readFileSync(paths.list)];
  for (let length = 0; length < note.length; length += 7) {
    writeFileSync(paths.note, note.subarray(0, length));
    await assert.rejects(open(), { code: "mirror.checkpoint" }, `checkpoint of ${length} bytes`);
  }
  writeFileSync(paths.note, readFileSync(join(dir, "witness-b/checkpoint")));
  await assert.rejects(open(), { code: "mirror.checkpoint" }, "the other witness's");
  rmSync(paths.note);
  await assert.rejects(open(), { code: "mirror.checkpoint" }, "lost");
  writeFileSync(paths.note, note);
  writeFileSync(paths.list, list.subarray(0, list.length - 1));
  await assert.rejects(open(), { code: "mirror.truncated" });
  const changed = Buffer.from(list);
  changed[5000] = (changed[5000] ?? 0) ^ 1;
  writeFileSync(paths.list, changed);
  await assert.rejects(open(), { code: "mirror.altered" });
  // What a crash leaves: entries behind those that were cosigned. They are dropped.
  writeFileSync(paths.list, Buffer.concat([list, Buffer.alloc(1000, 9)]));
  assert.equal(await open(), 300);
  assert.equal(readFileSync(paths.list).length, list.length);
});

test("log: each write or sync of a witness's commit fails -> no cosignature of that tree is on disk half, and it opens", async (t) => {
  for (const operation of ["write", "datasync"] as const) {
    for (const nth of [1, 2]) {
      const dir = folder(t);
      const disk = new FaultyDisk(systemDisk);
      const gateway = await openGateway(dir);
      const log = logVkey(gateway.checkpoints);
      await gateway.close();
      const options = { dir: join(dir, "m"), log, witness: witnessKey("a"), disk };
      const mirror = await openMirror(options);
      const list = entries(0, 300);
      const text = parseNote(forge(log, list));
      const own = cosign(witnessKey("a").name, witnessPrivate("a"), text.text, 5);
      const note = encodeNote({ text: text.text, signatures: [...text.signatures, own] });
      disk.arm({ operation, nth, forever: true, code: "EIO", partial: 100 });
      const work = async (): Promise<void> => {
        await mirror.stage(Buffer.concat(list));
        await mirror.commit(note);
      };
      await assert.rejects(work(), UnavailableError, `${operation} ${nth}`);
      disk.arm(null);
      await mirror.close();
      const again = await openMirror(options);
      assert.deepEqual([again.size, again.root], [0, emptyRoot], `${operation} ${nth}`);
      await again.close();
    }
  }
});

test("log: a lying publisher asks the gateway for more than it has, or sends frames of others -> answered short, or cut", async (t) => {
  const dir = folder(t);
  const gateway = await openGateway(dir);
  await gateway.grow(entries(0, 3));
  const { left, right } = wirePair(
    { role: "gateway", name: "g1" },
    { role: "publisher", name: "p" },
  );
  gateway.checkpoints.attach(right, () => undefined);
  const lengths: number[] = [];
  left.onFrame((frame) => lengths.push(frame.payload.length));
  const ask = Buffer.alloc(12);
  ask.writeUInt32BE(100, 8);
  left.send(frameType.logAsk, 0n, ask);
  ask.writeBigUInt64BE(2n ** 63n);
  left.send(frameType.logAsk, 0n, ask);
  await until("both are answered", () => lengths.length === 2);
  assert.deepEqual(lengths.sort(), [8 + 3 * 128, 8].sort());
  left.send(frameType.logCosigned, 0n, Buffer.from("noise"));
  await until("the link is cut", () => left.closed);
  await gateway.close();
});
