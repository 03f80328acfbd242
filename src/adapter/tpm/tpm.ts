/** The commands of a TPM 2.0 that Weir gives, as functions. One at a time; handles are the caller's to flush. */
import { randomBytes } from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { Reader, Writer } from "../../base/bytes.ts";
import { pcrSelection, type Point } from "./public.ts";
import {
  commandHmac,
  encryptResponse,
  kdfA,
  makeSalt,
  openResponse,
  type PolicySession,
} from "./session.ts";
import type { TpmStream } from "./stream.ts";
import {
  command,
  emptyPassword,
  encodeCommand,
  parseResponse,
  plainCode,
  readSized,
  responseCode,
  sized,
  tpm,
  type Authorisation,
} from "./wire.ts";

/** The TPM said no. `rc` is its whole response code, `plain` what is left without the blamed number. */
export class TpmError extends Error {
  override readonly name = "TpmError";
  readonly rc: number;
  readonly plain: number;

  constructor(what: string, rc: number) {
    super(`the TPM refused ${what}: 0x${rc.toString(16)}`);
    this.rc = rc;
    this.plain = plainCode(rc);
  }
}

export interface Primary {
  readonly handle: number;
  readonly point: Point;
}

interface Sealed {
  readonly private: Buffer;
  readonly public: Buffer;
}

const nothing = Buffer.alloc(0);
const password = [emptyPassword];

export class Tpm {
  readonly #stream: TpmStream;

  constructor(stream: TpmStream) {
    this.#stream = stream;
  }

  close(): Promise<void> {
    return this.#stream.close();
  }

  async #run(
    name: keyof typeof command,
    handles: readonly number[],
    auths: readonly Authorisation[],
    parameters: Uint8Array,
    returned = 0,
  ): Promise<ReturnType<typeof parseResponse>> {
    const bytes = encodeCommand(command[name], handles, auths, parameters);
    const response = parseResponse(await this.#stream.transmit(bytes), returned);
    if (response.code !== 0) throw new TpmError(name, response.code);
    return response;
  }

  /** TPM2_Startup(clear); where the system has done it, nothing. */
  async startup(): Promise<void> {
    try {
      await this.#run("startup", [], [], Buffer.from([0, 0]));
    } catch (error) {
      if (!(error instanceof TpmError) || error.plain !== responseCode.initialize) throw error;
    }
  }

  async getRandom(bytes: number): Promise<Buffer> {
    const { parameters } = await this.#run("getRandom", [], [], new Writer().u16(bytes).bytes());
    const random = readSized(new Reader(parameters, "tpm"));
    if (random.length === bytes) return random;
    throw new InvalidError("tpm.random", "the TPM gave fewer random bytes than asked for");
  }

  async pcrRead(pcr: number): Promise<Buffer> {
    const { parameters } = await this.#run("pcrRead", [], [], pcrSelection(pcr));
    const reader = new Reader(parameters, "tpm");
    reader.raw(4 + pcrSelection(pcr).length);
    if (reader.u32() !== 1) throw new InvalidError("tpm.pcr", "the TPM gave no PCR");
    return readSized(reader, 32);
  }

  async pcrExtend(pcr: number, digest: Uint8Array): Promise<void> {
    const parameters = new Writer().u32(1).u16(tpm.algSha256).raw(digest).bytes();
    await this.#run("pcrExtend", [pcr], password, parameters);
  }

  /** The storage key of this template: the same at each boot until the owner hierarchy is cleared. */
  async createPrimary(template: Uint8Array): Promise<Primary> {
    const sensitive = Buffer.concat([sized(nothing), sized(nothing)]);
    const parameters = new Writer().raw(sized(sensitive)).raw(sized(template)).raw(sized(nothing));
    const { handles, parameters: out } = await this.#run(
      "createPrimary",
      [tpm.owner],
      password,
      parameters.u32(0).bytes(),
      1,
    );
    const area = readSized(new Reader(out, "tpm"));
    // Past type, name algorithm, attributes, policy, and the ECC parameters of the template.
    const reader = new Reader(area, "tpm");
    reader.raw(8);
    readSized(reader);
    reader.raw(12);
    return {
      handle: handles[0] ?? 0,
      point: { x: readSized(reader, 32), y: readSized(reader, 32) },
    };
  }

  /** Seals `secret` under a parent: only who fulfils the template's policy gets it back. */
  async create(parent: number, template: Uint8Array, secret: Uint8Array): Promise<Sealed> {
    const sensitive = Buffer.concat([sized(nothing), sized(secret)]);
    const parameters = new Writer().raw(sized(sensitive)).raw(sized(template)).raw(sized(nothing));
    const { parameters: out } = await this.#run(
      "create",
      [parent],
      password,
      parameters.u32(0).bytes(),
    );
    const reader = new Reader(out, "tpm");
    return { private: readSized(reader), public: readSized(reader) };
  }

  async load(parent: number, sealed: Sealed): Promise<number> {
    const parameters = Buffer.concat([sized(sealed.private), sized(sealed.public)]);
    const { handles } = await this.#run("load", [parent], password, parameters, 1);
    return handles[0] ?? 0;
  }

  /** A public key for PolicySigned. */
  async loadExternal(publicArea: Uint8Array): Promise<number> {
    const parameters = new Writer().raw(sized(nothing)).raw(sized(publicArea)).u32(tpm.owner);
    const { handles } = await this.#run("loadExternal", [], [], parameters.bytes(), 1);
    return handles[0] ?? 0;
  }

  async flush(handle: number): Promise<void> {
    await this.#run("flushContext", [], [], new Writer().u32(handle).bytes());
  }

  /** A policy session, salted to the storage key so that its answers can be encrypted. */
  async startPolicy(primary: Primary): Promise<PolicySession> {
    const { salt, encrypted } = makeSalt(primary.point);
    const nonceCaller = randomBytes(32);
    const parameters = new Writer().raw(sized(nonceCaller)).raw(sized(encrypted)).u8(1);
    parameters.u16(tpm.algAes).u16(128).u16(tpm.algCfb).u16(tpm.algSha256);
    const { handles, parameters: out } = await this.#run(
      "startAuthSession",
      [primary.handle, tpm.none],
      [],
      parameters.bytes(),
      1,
    );
    const nonceTpm = readSized(new Reader(out, "tpm"), 32);
    return {
      handle: handles[0] ?? 0,
      key: kdfA(salt, "ATH", nonceTpm, nonceCaller, 256),
      nonceTpm,
    };
  }

  /** `signature`: r and s of 32 bytes each, over nonceTPM, a zero expiration, no cpHash, and `reference`. */
  async policySigned(
    signer: number,
    session: PolicySession,
    reference: Uint8Array,
    signature: Uint8Array,
  ): Promise<void> {
    const parameters = new Writer().raw(sized(session.nonceTpm)).raw(sized(nothing));
    parameters.raw(sized(reference)).u32(0).u16(tpm.algEcdsa).u16(tpm.algSha256);
    parameters.raw(sized(signature.subarray(0, 32))).raw(sized(signature.subarray(32)));
    await this.#run("policySigned", [signer, session.handle], [], parameters.bytes());
  }

  async policyNvEqual(session: PolicySession, index: number, operand: Uint8Array): Promise<void> {
    const parameters = new Writer().raw(sized(operand)).u16(0).u16(0).bytes();
    await this.#run("policyNv", [index, index, session.handle], password, parameters);
  }

  async policyPcr(session: PolicySession, pcr: number): Promise<void> {
    const parameters = new Writer().raw(sized(nothing)).raw(pcrSelection(pcr)).bytes();
    await this.#run("policyPcr", [session.handle], [], parameters);
  }

  async policyDigest(session: PolicySession): Promise<Buffer> {
    const { parameters } = await this.#run("policyGetDigest", [session.handle], [], nothing);
    return readSized(new Reader(parameters, "tpm"), 32);
  }

  /** The secret of a loaded object of this name; encrypted on its way here. */
  async unseal(handle: number, name: Uint8Array, session: PolicySession): Promise<Buffer> {
    const nonce = randomBytes(32);
    const asked = { code: command.unseal, names: [name], parameters: nothing };
    const hmac = commandHmac(session, asked, nonce);
    const auth = { handle: session.handle, nonce, attributes: encryptResponse, hmac };
    const { parameters, auths } = await this.#run("unseal", [handle], [auth], nothing);
    return openResponse(session, command.unseal, nonce, { parameters, auth: auths[0] });
  }

  async nvDefine(publicArea: Uint8Array): Promise<void> {
    const parameters = Buffer.concat([sized(nothing), sized(publicArea)]);
    await this.#run("nvDefineSpace", [tpm.owner], password, parameters);
  }

  async nvUndefine(index: number): Promise<void> {
    await this.#run("nvUndefineSpace", [tpm.owner, index], password, nothing);
  }

  async nvIncrement(index: number): Promise<void> {
    await this.#run("nvIncrement", [index, index], password, nothing);
  }

  async nvWrite(index: number, data: Uint8Array): Promise<void> {
    const parameters = new Writer().raw(sized(data)).u16(0).bytes();
    await this.#run("nvWrite", [index, index], password, parameters);
  }

  async nvRead(index: number): Promise<Buffer> {
    const parameters = new Writer().u16(8).u16(0).bytes();
    const { parameters: out } = await this.#run("nvRead", [index, index], password, parameters);
    return readSized(new Reader(out, "tpm"), 8);
  }

  async nvName(index: number): Promise<Buffer> {
    const { parameters } = await this.#run("nvReadPublic", [index], [], nothing);
    const reader = new Reader(parameters, "tpm");
    readSized(reader);
    return readSized(reader, 34);
  }

  /** TPM2_Clear by lockout: every object of the owner is gone. */
  async clear(): Promise<void> {
    await this.#run("clear", [tpm.lockout], password, nothing);
  }

  async shutdown(): Promise<void> {
    await this.#run("shutdown", [], [], Buffer.from([0, 0]));
  }
}
