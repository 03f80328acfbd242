/**
 * What a gateway shows of its boot, spec/boot.md: the first stage's identity key certifies the key of what it measured
 * and started, and that key attests to the gateway's device and log keys. Who holds the ceremony's transcript (identity)
 * and the signed boot manifest (measurement) checks the whole chain by these two signatures.
 */
import { InvalidError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import { publicKeyFromHex, verify } from "../base/sign.ts";

/** All hex. */
export interface BootChain {
  readonly device: string;
  readonly identity: string;
  readonly measurement: string;
  readonly subject: string;
  readonly certificate: string;
}

/** What boot/rom.ts signs with the identity key. */
export function bootCertificateMessage(
  gateway: string,
  { measurement, subject }: Pick<BootChain, "measurement" | "subject">,
): Buffer {
  return Buffer.from(`weir boot certificate/1\n${gateway}\n${measurement}\n${subject}\n`);
}

/** What the measured stage signs with its own key: the public keys of its gateway, hex. */
export function attestationMessage(of: {
  readonly gateway: string;
  readonly measurement: string;
  readonly device: string;
  readonly log: string;
}): Buffer {
  const { gateway, measurement, device, log } = of;
  return Buffer.from(`weir boot attestation/1\n${gateway}\n${measurement}\n${device}\n${log}\n`);
}

/**
 * Checks that the device of this ceremony (its `identity`), having measured `measurement`, vouches for these keys.
 * Throws InvalidError `boot.identity`, `boot.measurement`, `boot.certificate` or `boot.attestation`.
 */
export function checkBootChain(
  gateway: string,
  expected: { readonly identity: string; readonly measurement: string },
  shown: BootChain & { readonly log: string; readonly attestation: string },
): void {
  if (shown.identity !== expected.identity) {
    throw new InvalidError("boot.identity", `${gateway} is not the device of this ceremony`);
  }
  if (shown.measurement !== expected.measurement) {
    throw new InvalidError("boot.measurement", `${gateway} runs another boot manifest`);
  }
  const certificate = fromHex(shown.certificate, 64);
  const message = bootCertificateMessage(gateway, shown);
  if (!verify(publicKeyFromHex(shown.identity), message, certificate)) {
    throw new InvalidError("boot.certificate", `${gateway}: the first stage did not certify this`);
  }
  const attested = attestationMessage({ ...shown, gateway });
  if (!verify(publicKeyFromHex(shown.subject), attested, fromHex(shown.attestation, 64))) {
    throw new InvalidError(
      "boot.attestation",
      `${gateway}: what was measured did not attest to these keys`,
    );
  }
}
