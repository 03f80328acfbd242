import assert from "node:assert/strict";
import { sign } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { sha256 } from "../../base/hash.ts";
import type { ApproveBoot, Uid } from "../../gateway/uid.port.ts";
import { systemRandom } from "../random.ts";
import { bootKey, noSwtpm, signBoot, approver, softTpm, type SoftTpm } from "./fixture.ts";
import {
  afterNvEqual,
  afterPcr,
  afterSigned,
  emptyPolicy,
  nameOf,
  nvPublic,
  pointOf,
  sealedPublic,
  signerPublic,
  storagePublic,
} from "./public.ts";
import type { TpmStream } from "./stream.ts";
import { Tpm, TpmError } from "./tpm.ts";
import { parseBlob, sealUid, tpmUid, unlockPolicy } from "./uid.ts";

const nvIndex = 0x01500010;
const keys = { a: bootKey(), b: bootKey() };
const publicKeys = { a: keys.a.publicKey, b: keys.b.publicKey };
const options = { skip: noSwtpm };

interface Device {
  readonly tpm: SoftTpm;
  readonly blob: string;
  readonly uid: (approve?: ApproveBoot, open?: () => Promise<TpmStream>) => Uid;
}

async function device(t: TestContext): Promise<Device> {
  const tpm = await softTpm(t);
  const blob = join(tpm.dir, "blob");
  const base = { device: "g1", nvIndex, keys: publicKeys, open: tpm.open };
  writeFileSync(blob, await sealUid(base, systemRandom));
  return {
    ...{ tpm, blob },
    uid: (approve = approver(keys), open = tpm.open) =>
      tpmUid({ ...base, open, blob, approve, simulated: "swtpm" }),
  };
}

async function using<T>(soft: SoftTpm, action: (tpm: Tpm) => Promise<T>): Promise<T> {
  const tpm = new Tpm(await soft.open());
  try {
    await tpm.startup();
    return await action(tpm);
  } finally {
    await tpm.close();
  }
}

const bricked = { code: "uid.bricked" };
const refused = { code: "uid.refused" };

test(
  "tpm uid: both approve -> the same secret at each boot; it never crosses the bus in the clear",
  options,
  async (t) => {
    const { tpm, uid } = await device(t);
    const seen: Buffer[] = [];
    const tapped = async (): Promise<TpmStream> => {
      const stream = await tpm.open();
      return {
        close: () => stream.close(),
        async transmit(command) {
          const response = await stream.transmit(command);
          seen.push(Buffer.from(command), Buffer.from(response));
          return response;
        },
      };
    };
    const { secret, counter } = await uid(approver(keys), tapped).unlock();
    assert.equal(secret.length, 32);
    assert.ok(counter !== null && counter > 0n);
    assert.ok(seen.length > 20);
    assert.equal(Buffer.concat(seen).indexOf(secret), -1);
    for (let boot = 0; boot < 3; boot++) {
      await tpm.cycle();
      assert.deepEqual((await uid().unlock()).secret, secret);
    }
  },
);

test(
  "tpm uid: an interposer changes the unsealed answer -> refused, not believed",
  options,
  async (t) => {
    const { tpm, uid } = await device(t);
    const evil = async (): Promise<TpmStream> => {
      const stream = await tpm.open();
      return {
        close: () => stream.close(),
        async transmit(command) {
          const response = await stream.transmit(command);
          if (Buffer.from(command).readUInt32BE(6) === 0x15e)
            response[20] = (response[20] ?? 0) ^ 1;
          return response;
        },
      };
    };
    await assert.rejects(uid(approver(keys), evil).unlock(), { code: "tpm.session" });
  },
);

test(
  "tpm uid: A alone, B alone, A twice, B then A, an old signature -> never the secret",
  options,
  async (t) => {
    const { uid } = await device(t);
    const old = new Map<string, Buffer>();
    await uid(async (question) => {
      const signature = await approver(keys)(question);
      old.set(question.party, signature);
      return signature;
    }).unlock();
    const nobody = bootKey();
    const wrong: Record<string, ApproveBoot> = {
      "A alone": approver({ a: keys.a, b: nobody }),
      "B alone": approver({ a: nobody, b: keys.b }),
      "A twice": approver({ a: keys.a, b: keys.a }),
      "B then A": approver({ a: keys.b, b: keys.a }),
      "signatures of the last boot": ({ party }) =>
        Promise.resolve(old.get(party) ?? Buffer.alloc(64)),
      "signatures of nothing": () => Promise.resolve(Buffer.alloc(64, 1)),
    };
    for (const [name, approve] of Object.entries(wrong)) {
      await assert.rejects(uid(approve).unlock(), refused, name);
    }
    await uid().unlock();
  },
);

test(
  "tpm uid: the policy's order is the policy: B's signature first, A's second -> unseal refuses",
  options,
  async (t) => {
    const { tpm, blob } = await device(t);
    const sealed = parseBlob(readFileSync(blob));
    for (const order of [["b", "a"], ["a"], ["a", "a"], ["b"]] as const) {
      await using(tpm, async (chip) => {
        const primary = await chip.createPrimary(storagePublic());
        const session = await chip.startPolicy(primary);
        for (const party of order) {
          const reference = sha256(Buffer.from(`weir boot approval/1 g1 ${party}`));
          const message = Buffer.concat([session.nonceTpm, Buffer.alloc(4), reference]);
          const signer = await chip.loadExternal(signerPublic(pointOf(publicKeys[party])));
          await chip.policySigned(signer, session, reference, signBoot(keys[party], message));
          await chip.flush(signer);
        }
        await chip.policyNvEqual(session, nvIndex, sealed.counter);
        const object = await chip.load(primary.handle, sealed);
        const isPolicy = (error: unknown): boolean =>
          error instanceof TpmError && error.plain === 0x09d;
        await assert.rejects(
          chip.unseal(object, nameOf(sealed.public), session),
          isPolicy,
          order.join(),
        );
        for (const handle of [object, session.handle, primary.handle]) await chip.flush(handle);
      });
    }
  },
);

test("tpm uid: bricked -> never again, also after power cycles", options, async (t) => {
  const { tpm, uid } = await device(t);
  await uid().unlock();
  await uid().brick("lid");
  await assert.rejects(uid().unlock(), bricked);
  await tpm.cycle();
  await assert.rejects(uid().unlock(), bricked);
  await uid().brick("lid, again");
});

test(
  "tpm uid: counter undefined and defined again -> it starts above all it ever was; still bricked",
  options,
  async (t) => {
    const { tpm, uid } = await device(t);
    const { counter } = await uid().unlock();
    await uid().brick("mesh");
    await using(tpm, (chip) => chip.nvUndefine(nvIndex));
    await assert.rejects(uid().unlock(), bricked);
    await uid().brick("no counter to increment: gone already");
    const now = await using(tpm, async (chip) => {
      await chip.nvDefine(nvPublic(nvIndex, "counter", false));
      await chip.nvIncrement(nvIndex);
      return (await chip.nvRead(nvIndex)).readBigUInt64BE();
    });
    assert.ok(counter !== null && now > counter);
    await assert.rejects(uid().unlock(), bricked);
  },
);

test("tpm uid: the TPM cleared, or another TPM -> bricked", options, async (t) => {
  const { tpm, uid } = await device(t);
  const other = await device(t);
  await assert.rejects(uid(approver(keys), other.tpm.open).unlock(), bricked);
  await using(tpm, (chip) => chip.clear());
  await assert.rejects(uid().unlock(), bricked);
});

test(
  "tpm uid: sealed blob cut, corrupted, another device's, lost -> bricked",
  options,
  async (t) => {
    const { uid, blob } = await device(t);
    const good = readFileSync(blob);
    for (let at = 0; at < good.length; at += 23) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      writeFileSync(blob, bad);
      await assert.rejects(uid().unlock(), bricked, `byte ${at}`);
    }
    writeFileSync(blob, good.subarray(0, good.length - 7));
    await assert.rejects(uid().unlock(), bricked);
    rmSync(blob);
    await assert.rejects(uid().unlock(), bricked);
    writeFileSync(blob, good);
    await uid().unlock();
  },
);

test(
  "tpm: HONEST NEGATIVE an old copy of swtpm's state folder undoes a brick; only who remembers the counter sees it",
  options,
  async (t) => {
    const { tpm, uid } = await device(t);
    const before = await uid().unlock();
    tpm.keepState();
    await uid().brick("lid");
    const after = await using(tpm, (chip) => chip.nvRead(nvIndex));
    await tpm.off();
    tpm.restoreState();
    await tpm.on();
    const again = await uid().unlock();
    assert.deepEqual(again.secret, before.secret);
    // What a witness remembers of the tamper event is above what the boot entry now says.
    assert.ok(again.counter !== null && after.readBigUInt64BE() > again.counter);
  },
);

test(
  "tpm: why PCRs alone do not brick: after a power cycle the secret is back",
  options,
  async (t) => {
    const soft = await softTpm(t);
    const secret = Buffer.alloc(32, 7);
    const sealed = await using(soft, async (chip) => {
      const policy = afterPcr(emptyPolicy, 12, await chip.pcrRead(12));
      const primary = await chip.createPrimary(storagePublic());
      const made = await chip.create(primary.handle, sealedPublic(policy), secret);
      await chip.flush(primary.handle);
      return made;
    });
    const unseal = (): Promise<Buffer> =>
      using(soft, async (chip) => {
        const primary = await chip.createPrimary(storagePublic());
        const session = await chip.startPolicy(primary);
        await chip.policyPcr(session, 12);
        const object = await chip.load(primary.handle, sealed);
        try {
          return await chip.unseal(object, nameOf(sealed.public), session);
        } finally {
          for (const handle of [object, primary.handle]) await chip.flush(handle);
          await chip.flush(session.handle).catch(() => undefined);
        }
      });
    assert.deepEqual(await unseal(), secret);
    await using(soft, (chip) => chip.pcrExtend(12, Buffer.alloc(32, 1)));
    await assert.rejects(unseal(), TpmError, "tampering shows, for now");
    await soft.cycle();
    assert.deepEqual(await unseal(), secret, "the attack: pull the plug");
  },
);

test("tpm: why an ordinary NV flag does not brick: its owner makes it anew", options, async (t) => {
  const soft = await softTpm(t);
  const secret = Buffer.alloc(32, 9);
  const intact = Buffer.alloc(8);
  const define = (chip: Tpm): Promise<void> => chip.nvDefine(nvPublic(nvIndex, "ordinary", false));
  const sealed = await using(soft, async (chip) => {
    await define(chip);
    await chip.nvWrite(nvIndex, intact);
    const policy = afterNvEqual(emptyPolicy, await chip.nvName(nvIndex), intact);
    const primary = await chip.createPrimary(storagePublic());
    const made = await chip.create(primary.handle, sealedPublic(policy), secret);
    await chip.flush(primary.handle);
    return made;
  });
  const unseal = (): Promise<Buffer> =>
    using(soft, async (chip) => {
      const primary = await chip.createPrimary(storagePublic());
      const session = await chip.startPolicy(primary);
      try {
        await chip.policyNvEqual(session, nvIndex, intact);
        const object = await chip.load(primary.handle, sealed);
        const out = await chip.unseal(object, nameOf(sealed.public), session);
        await chip.flush(object);
        return out;
      } finally {
        await chip.flush(primary.handle);
        await chip.flush(session.handle).catch(() => undefined);
      }
    });
  assert.deepEqual(await unseal(), secret);
  await using(soft, (chip) => chip.nvWrite(nvIndex, Buffer.alloc(8, 1)));
  await assert.rejects(unseal(), TpmError, "tampering shows, for now");
  await using(soft, async (chip) => {
    await chip.nvUndefine(nvIndex);
    await define(chip);
    await chip.nvWrite(nvIndex, intact);
  });
  assert.deepEqual(await unseal(), secret, "the attack: undefine, define, write");
});

test("tpm: names, counters, PCRs and policies are what tpm2-tools say", options, async (t) => {
  const { tpm } = await device(t);
  const counter = await using(tpm, (chip) => chip.nvRead(nvIndex));
  const index = `0x${nvIndex.toString(16)}`;
  const listing = await tpm.tool("tpm2_nvreadpublic", index);
  const name = nameOf(nvPublic(nvIndex, "counter", true));
  assert.ok(listing.includes(name.toString("hex")), listing);
  await tpm.tool("tpm2_nvread", index, "-o", "counter.bin");
  assert.deepEqual(readFileSync(join(tpm.dir, "counter.bin")), counter);
  const pcr = await tpm.tool("tpm2_pcrread", "sha256:12");
  const value = await using(tpm, (chip) => chip.pcrRead(12));
  assert.ok(pcr.toLowerCase().includes(value.toString("hex")));

  // The whole policy, step by step, by the tools; a trial session checks no signature's key but its form.
  let policy: Buffer = emptyPolicy;
  await tpm.tool("tpm2_startauthsession", "-S", "trial.ctx");
  for (const party of ["a", "b"] as const) {
    const pem = publicKeys[party].export({ format: "pem", type: "spki" });
    writeFileSync(join(tpm.dir, "key.pem"), pem);
    const named = await tpm.tool(
      "tpm2_loadexternal",
      "-C",
      "o",
      "-G",
      "ecc",
      "-u",
      "key.pem",
      "-c",
      "key.ctx",
      "-a",
      "userwithauth|sign",
      "-n",
      "key.name",
    );
    const ours = nameOf(signerPublic(pointOf(publicKeys[party])));
    assert.deepEqual(readFileSync(join(tpm.dir, "key.name")), ours, named);
    const reference = sha256(Buffer.from(`weir boot approval/1 g1 ${party}`));
    const message = Buffer.concat([Buffer.alloc(4), reference]);
    writeFileSync(join(tpm.dir, "sig"), sign("sha256", message, keys[party].privateKey));
    await tpm.tool(
      "tpm2_policysigned",
      "-S",
      "trial.ctx",
      "-g",
      "sha256",
      "-f",
      "ecdsa",
      "-s",
      "sig",
      "-c",
      "key.ctx",
      "-q",
      reference.toString("hex"),
      "-L",
      "policy.bin",
    );
    policy = afterSigned(policy, ours, reference);
    assert.deepEqual(readFileSync(join(tpm.dir, "policy.bin")), policy);
    await tpm.tool("tpm2_flushcontext", "-t");
  }
  writeFileSync(join(tpm.dir, "operand"), counter);
  const said = await tpm.tool(
    "tpm2_policynv",
    "-S",
    "trial.ctx",
    "-i",
    "operand",
    "-C",
    index,
    index,
    "eq",
    "-L",
    "policy.bin",
  );
  const final = unlockPolicy({ device: "g1", nvIndex, keys: publicKeys }, counter);
  assert.deepEqual(readFileSync(join(tpm.dir, "policy.bin")), final, said);
  assert.deepEqual(afterNvEqual(policy, name, counter), final);
});
