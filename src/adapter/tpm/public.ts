/** Public areas, names and policy digests of a TPM, computed outside it (part 1, 16 and 19.7). Pure. */
import type { KeyObject } from "node:crypto";
import { InvalidError } from "../../base/assert.ts";
import { Writer } from "../../base/bytes.ts";
import { sha256 } from "../../base/hash.ts";
import { command, sized, tpm } from "./wire.ts";

/** Coordinates of a P-256 point, 32 bytes each. */
export interface Point {
  readonly x: Buffer;
  readonly y: Buffer;
}

/** Throws InvalidError `tpm.key` unless `key` is of P-256. */
export function pointOf(key: KeyObject): Point {
  const { crv, x, y } = key.export({ format: "jwk" });
  if (crv !== "P-256" || x === undefined || y === undefined) {
    throw new InvalidError("tpm.key", "a party's boot key is an ECDSA key on P-256");
  }
  return { x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") };
}

const bit = (n: number): number => 2 ** n;
const fixedTpm = bit(1);
const fixedParent = bit(4);
const sensitiveDataOrigin = bit(5);
const userWithAuth = bit(6);
const noDa = bit(10);
const restricted = bit(16);
const decrypt = bit(17);
const signing = bit(18);

const nothing = Buffer.alloc(0);

/** TPMT_PUBLIC of a party's verification key. */
export function signerPublic({ x, y }: Point): Buffer {
  const writer = new Writer()
    .u16(tpm.algEcc)
    .u16(tpm.algSha256)
    .u32(userWithAuth + signing);
  writer.raw(sized(nothing)).u16(tpm.algNull).u16(tpm.algNull).u16(tpm.curveP256).u16(tpm.algNull);
  return Buffer.from(writer.raw(sized(x)).raw(sized(y)).bytes());
}

/** TPMT_PUBLIC template of the storage key that everything is sealed under: made again at each boot. */
export function storagePublic(): Buffer {
  const attributes =
    fixedTpm + fixedParent + sensitiveDataOrigin + userWithAuth + noDa + restricted + decrypt;
  const writer = new Writer()
    .u16(tpm.algEcc)
    .u16(tpm.algSha256)
    .u32(attributes)
    .raw(sized(nothing));
  writer.u16(tpm.algAes).u16(128).u16(tpm.algCfb);
  writer.u16(tpm.algNull).u16(tpm.curveP256).u16(tpm.algNull);
  return Buffer.from(writer.raw(sized(nothing)).raw(sized(nothing)).bytes());
}

/** TPMT_PUBLIC template of a sealed secret: no password opens it, only the policy. */
export function sealedPublic(policy: Uint8Array): Buffer {
  const writer = new Writer().u16(tpm.algKeyedHash).u16(tpm.algSha256);
  writer.u32(fixedTpm + fixedParent + noDa).raw(sized(policy));
  return Buffer.from(writer.u16(tpm.algNull).raw(sized(nothing)).bytes());
}

/** The name of a public area: algorithm and digest. */
export function nameOf(publicArea: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0, tpm.algSha256]), sha256(publicArea)]);
}

const ownerWrite = bit(1);
const authWrite = bit(2);
const ownerRead = bit(17);
const authRead = bit(18);
const nvNoDa = bit(25);
const nvWritten = bit(29);
const typeCounter = 0x10;

/** TPMS_NV_PUBLIC of a counter (`kind` counter) or of an ordinary index of 8 bytes. */
export function nvPublic(index: number, kind: "counter" | "ordinary", written: boolean): Buffer {
  const type = kind === "counter" ? typeCounter : 0;
  const access = ownerWrite + authWrite + ownerRead + authRead + nvNoDa;
  const attributes = type + access + (written ? nvWritten : 0);
  const writer = new Writer().u32(index).u16(tpm.algSha256).u32(attributes).raw(sized(nothing));
  return Buffer.from(writer.u16(8).bytes());
}

/** The policy of nobody: 32 zeros, what every session starts from. */
export const emptyPolicy: Buffer = Buffer.alloc(32);

/** The policy after PolicySigned by the key of this name. */
export function afterSigned(policy: Uint8Array, name: Uint8Array, reference: Uint8Array): Buffer {
  const code = new Writer().u32(command.policySigned).bytes();
  return sha256(Buffer.concat([sha256(Buffer.concat([policy, code, name])), reference]));
}

/** The policy after PolicyNV "the 8 bytes of this index equal `operand`". */
export function afterNvEqual(policy: Uint8Array, name: Uint8Array, operand: Uint8Array): Buffer {
  const asked = sha256(new Writer().raw(operand).u16(0).u16(0).bytes());
  const code = new Writer().u32(command.policyNv).bytes();
  return sha256(Buffer.concat([policy, code, asked, name]));
}

/** The policy after PolicyPCR with these values of one PCR. */
export function afterPcr(policy: Uint8Array, pcr: number, value: Uint8Array): Buffer {
  const code = new Writer().u32(command.policyPcr).bytes();
  return sha256(Buffer.concat([policy, code, pcrSelection(pcr), sha256(value)]));
}

/** TPML_PCR_SELECTION of one PCR in the SHA-256 bank. */
export function pcrSelection(pcr: number): Buffer {
  const select = Buffer.alloc(3);
  select[pcr >> 3] = 1 << (pcr & 7);
  return Buffer.from(new Writer().u32(1).u16(tpm.algSha256).u8(3).raw(select).bytes());
}
