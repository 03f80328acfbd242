/**
 * The UID in a TPM 2.0: 32 bytes sealed to PolicySigned(A) and then PolicySigned(B), both over the TPM's own nonce, and
 * to PolicyNV(counter == N). Tampering increments the counter. TPM counters never go back, also not by undefining and
 * defining them again: they start above the highest that ever was. So the secret is gone for good.
 *
 * Not a brick, and shown by the tests beside: PCRs (reset at power-off), an ordinary NV index (written back), and any
 * TPM in software whose state folder is put back: then only a witness who remembers the counter's value notices.
 */
import type { KeyObject } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { equalBytes, Reader, Writer } from "../../base/bytes.ts";
import { sha256 } from "../../base/hash.ts";
import type { RandomSource } from "../../base/random.ts";
import { randomBytes } from "../../base/random.ts";
import type { ApproveBoot, Uid } from "../../gateway/uid.port.ts";
import {
  afterNvEqual,
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
import { readSized, responseCode, sized } from "./wire.ts";

type Party = "a" | "b";
const parties: readonly Party[] = ["a", "b"];

export interface TpmUidOptions {
  readonly device: string;
  readonly open: () => Promise<TpmStream>;
  /** Index of the counter, 0x01000000 to 0x01ffffff. */
  readonly nvIndex: number;
  /** Boot keys of the parties: ECDSA on P-256, public. */
  readonly keys: Readonly<Record<Party, KeyObject>>;
}

const magic = Buffer.from("WT01", "latin1");

interface Blob {
  readonly nvIndex: number;
  readonly counter: Buffer;
  readonly storage: { readonly x: Buffer; readonly y: Buffer };
  readonly private: Buffer;
  readonly public: Buffer;
}

function bricked(why: string): InvalidError {
  return new InvalidError("uid.bricked", `the TPM does not give the secret any more: ${why}`);
}

/** Parses a sealed blob. Throws InvalidError `blob.*`. */
export function parseBlob(bytes: Uint8Array): Blob {
  const reader = new Reader(bytes, "blob");
  if (!equalBytes(reader.raw(4), magic))
    throw new InvalidError("blob.magic", "this is no sealed blob");
  const blob = {
    nvIndex: reader.u32(),
    counter: Buffer.from(reader.raw(8)),
    storage: { x: Buffer.from(reader.raw(32)), y: Buffer.from(reader.raw(32)) },
    private: readSized(reader),
    public: readSized(reader),
  };
  reader.end();
  return blob;
}

/** What a party's signature names besides the TPM's nonce. */
function referenceOf(device: string, party: Party): Buffer {
  return sha256(Buffer.from(`weir boot approval/1 ${device} ${party}`));
}

/** The policy that the secret is sealed to. */
export function unlockPolicy(
  { device, keys, nvIndex }: Omit<TpmUidOptions, "open">,
  counter: Uint8Array,
): Buffer {
  let policy = emptyPolicy;
  for (const party of parties) {
    const name = nameOf(signerPublic(pointOf(keys[party])));
    policy = afterSigned(policy, name, referenceOf(device, party));
  }
  return afterNvEqual(policy, nameOf(nvPublic(nvIndex, "counter", true)), counter);
}

async function withTpm<T>(
  open: () => Promise<TpmStream>,
  action: (tpm: Tpm) => Promise<T>,
): Promise<T> {
  const tpm = new Tpm(await open());
  try {
    await tpm.startup();
    return await action(tpm);
  } finally {
    await tpm.close();
  }
}

/** Makes the counter where it is not, and moves it on: an earlier device under this index ends. Its value, 8 bytes. */
async function freshCounter(tpm: Tpm, nvIndex: number): Promise<Buffer> {
  try {
    await tpm.nvDefine(nvPublic(nvIndex, "counter", false));
  } catch (error) {
    if (!(error instanceof TpmError) || error.plain !== responseCode.nvDefined) throw error;
  }
  await tpm.nvIncrement(nvIndex);
  if (!(await tpm.nvName(nvIndex)).equals(nameOf(nvPublic(nvIndex, "counter", true)))) {
    throw new InvalidError("uid.nv", `NV index 0x${nvIndex.toString(16)} holds something else`);
  }
  return tpm.nvRead(nvIndex);
}

/**
 * Makes a fresh secret in the TPM, at the ceremony, and returns the sealed blob; the secret leaves this function only
 * inside it. The way into the TPM is not encrypted: the ceremony's room is trusted for that. Throws UnavailableError,
 * InvalidError `uid.*`, TpmError.
 */
export function sealUid(options: TpmUidOptions, random: RandomSource): Promise<Buffer> {
  return withTpm(options.open, async (tpm) => {
    const counter = await freshCounter(tpm, options.nvIndex);
    const primary = await tpm.createPrimary(storagePublic());
    try {
      // Two generators: neither the TPM's maker nor the operating system alone knows the secret.
      const secret = await tpm.getRandom(32);
      randomBytes(random, 32).forEach((byte, i) => (secret[i] = (secret[i] ?? 0) ^ byte));
      const template = sealedPublic(unlockPolicy(options, counter));
      const sealed = await tpm.create(primary.handle, template, secret);
      secret.fill(0);
      const writer = new Writer().raw(magic).u32(options.nvIndex).raw(counter);
      writer.raw(primary.point.x).raw(primary.point.y);
      return Buffer.from(writer.raw(sized(sealed.private)).raw(sized(sealed.public)).bytes());
    } finally {
      await tpm.flush(primary.handle);
    }
  });
}

/** Which of our errors a refusal of the TPM is. */
function explain(error: unknown): unknown {
  if (!(error instanceof TpmError)) return error;
  const { policy, policyFail, integrity, signature, handle } = responseCode;
  if (error.plain === policy || error.plain === policyFail) {
    return bricked("its counter has moved on, or its policy is not met");
  }
  if (error.plain === integrity) return bricked("the sealed blob is another TPM's, or was changed");
  if (error.plain === handle) return bricked("its counter is gone");
  if (error.plain === signature) {
    return new InvalidError(
      "uid.refused",
      "a party's approval of this boot is not signed by its key",
    );
  }
  return new UnavailableError("uid.tpm", error.message, "unknown");
}

async function unlockWith(
  tpm: Tpm,
  options: TpmUidOptions,
  blob: Blob,
  approve: ApproveBoot,
): Promise<{ secret: Buffer; counter: bigint }> {
  const { device, keys, nvIndex } = options;
  const flush: number[] = [];
  const opened = (handle: number): number => {
    flush.unshift(handle);
    return handle;
  };
  try {
    const primary = await tpm.createPrimary(storagePublic());
    opened(primary.handle);
    if (!primary.point.x.equals(blob.storage.x) || !primary.point.y.equals(blob.storage.y)) {
      throw bricked("its storage key is another: this TPM was cleared, or is not the one");
    }
    const session = await tpm.startPolicy(primary);
    opened(session.handle);
    for (const party of parties) {
      const reference = referenceOf(device, party);
      const message = Buffer.concat([session.nonceTpm, Buffer.alloc(4), reference]);
      const signature = await approve({ device, party, message });
      const signer = opened(await tpm.loadExternal(signerPublic(pointOf(keys[party]))));
      await tpm.policySigned(signer, session, reference, signature);
      await tpm.flush(signer);
      flush.shift();
    }
    await tpm.policyNvEqual(session, nvIndex, blob.counter);
    const object = opened(await tpm.load(primary.handle, blob));
    const secret = await tpm.unseal(object, nameOf(blob.public), session);
    // A policy session is gone after its use.
    flush.splice(flush.indexOf(session.handle), 1);
    return { secret, counter: blob.counter.readBigUInt64BE() };
  } finally {
    // What is left over would fill the few slots of a TPM without a resource manager.
    for (const handle of flush) await tpm.flush(handle).catch(() => undefined);
  }
}

function readBlob(path: string, nvIndex: number): Blob {
  if (!existsSync(path)) throw bricked("its sealed blob is gone");
  try {
    const blob = parseBlob(readFileSync(path));
    if (blob.nvIndex === nvIndex) return blob;
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
  }
  throw bricked("its sealed blob was changed");
}

/** Increments the counter and sees that it has moved. A counter that is gone has moved: it can only come back higher. */
async function moveOn(tpm: Tpm, nvIndex: number): Promise<void> {
  try {
    const before = await tpm.nvRead(nvIndex);
    await tpm.nvIncrement(nvIndex);
    if ((await tpm.nvRead(nvIndex)).readBigUInt64BE() > before.readBigUInt64BE()) return;
  } catch (error) {
    if (error instanceof TpmError && error.plain === responseCode.handle) return;
    if (!(error instanceof TpmError)) throw error;
    throw new UnavailableError("uid.brick", error.message, "unknown");
  }
  throw new UnavailableError("uid.brick", "the TPM's counter does not move", "unknown");
}

/** The UID port over a TPM. `blob` is the file of the sealed blob; `simulated`: words for a TPM that is none, or "". */
export function tpmUid(
  options: TpmUidOptions & {
    readonly blob: string;
    readonly approve: ApproveBoot;
    readonly simulated: string;
  },
): Uid {
  return {
    kind: "tpm",
    simulated: options.simulated,
    async unlock() {
      const blob = readBlob(options.blob, options.nvIndex);
      try {
        return await withTpm(options.open, (tpm) =>
          unlockWith(tpm, options, blob, options.approve),
        );
      } catch (error) {
        throw explain(error);
      }
    },
    async brick() {
      await withTpm(options.open, (tpm) => moveOn(tpm, options.nvIndex));
    },
  };
}
