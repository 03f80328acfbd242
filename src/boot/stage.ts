/**
 * What the first stage derives for the next one, and signs. Pure; the ceremony computes the same to say which device
 * came out of it.
 *
 * Part of the first stage: imports nothing but node:crypto and its neighbour.
 */
import { createHmac } from "node:crypto";
import { diceKdf, diceMode, nextCdis, sha512, type Cdis } from "./dice.ts";

/** `<HMAC hex> <version>\n`; without it, or with another's, the manifest's age cannot be judged. */
export function bootStateText(uds: Uint8Array, version: number): string {
  const key = diceKdf(32, uds, Buffer.alloc(0), "weir boot state/1");
  return `${createHmac("sha256", key).update(`version ${version}`).digest("hex")} ${version}\n`;
}

/** The authority of an image: the two keys that must sign it. */
function authorityOf(partyA: string, partyB: string): Buffer {
  return sha512(Buffer.from("weir authority/1"), Buffer.from(partyA + partyB, "hex"));
}

/** The secrets of the gateway's stage. `payload` is the manifest's, null where only CDI_Seal matters. */
export function stageCdis(
  uds: Buffer,
  fuses: { readonly device: string; readonly partyA: string; readonly partyB: string },
  payload: Buffer | null,
): Cdis {
  return nextCdis(
    { attest: uds, seal: uds },
    {
      code: sha512(payload ?? Buffer.alloc(0)),
      config: sha512(Buffer.from(`weir device ${fuses.device}`)),
      authority: authorityOf(fuses.partyA, fuses.partyB),
      mode: diceMode.normal,
      hidden: Buffer.alloc(64),
    },
  );
}

/** The root key of a gateway: what ring, state and signing keys derive from. Survives authorised updates only. */
export function rootKeyOf(cdis: Cdis): Buffer {
  return diceKdf(32, cdis.seal, Buffer.alloc(0), "weir root key/1");
}

/** Message of the identity certificate: device, measurement (SHA-256 of the manifest's payload) and the stage's key. */
export function certificateMessage(device: string, measurement: string, subject: string): Buffer {
  return Buffer.from(`weir boot certificate/1\n${device}\n${measurement}\n${subject}\n`);
}
