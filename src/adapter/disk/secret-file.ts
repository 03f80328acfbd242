/**
 * A small file of secrets, replaced as a whole: what it held before, or what it holds now, never a mixture.
 *
 *   "WSF" 1 | 12 nonce | AES-256-GCM of the content, the four first bytes as associated data | 16 tag
 *
 * Trust: the key is the process's own and not in this file. A thief of the disk learns the length; he can put back an
 * older file, which its reader must notice by what else it knows (gateway/draw.ts: the log; log/share.ts: rounds).
 */
import type { KeyObject } from "node:crypto";
import { dirname } from "node:path";
import { InvalidError } from "../../base/assert.ts";
import { gcmNonceBytes, gcmOpen, gcmSeal, gcmTagBytes } from "../../base/gcm.ts";
import { randomBytes, type RandomSource } from "../../base/random.ts";
import { replaceFile, systemDisk, type Disk } from "./file.ts";

const magic = Buffer.from("WSF\x01", "latin1");

export interface SecretFileOptions {
  readonly path: string;
  readonly key: KeyObject;
  readonly random: RandomSource;
  readonly disk?: Disk;
}

export interface SecretFile {
  /** The content; null when it was never written. Throws InvalidError `secret-file.damaged`. */
  read(): Promise<Buffer | null>;
  /** Durable when it resolves. Throws UnavailableError `disk.*`; what the file holds is then unknown. */
  write(content: Uint8Array): Promise<void>;
}

/** Opens a secret file, and makes its directory. */
export async function openSecretFile(options: SecretFileOptions): Promise<SecretFile> {
  const { path, key, random, disk = systemDisk } = options;
  await disk.makeDirectory(dirname(path));
  return {
    async read() {
      if (!(await disk.exists(path))) return null;
      return unseal(await disk.read(path), key, path);
    },
    async write(content) {
      const nonce = randomBytes(random, gcmNonceBytes);
      await replaceFile(disk, path, [
        magic,
        nonce,
        gcmSeal("aes-256-gcm", key, nonce, magic, content),
      ]);
    },
  };
}

function unseal(bytes: Buffer, key: KeyObject, path: string): Buffer {
  const start = magic.length + gcmNonceBytes;
  const damaged = (): InvalidError =>
    new InvalidError(
      "secret-file.damaged",
      `${path} is damaged, or of another key; it is never reset`,
    );
  if (bytes.length < start + gcmTagBytes || !bytes.subarray(0, 4).equals(magic)) throw damaged();
  try {
    const nonce = bytes.subarray(magic.length, start);
    return gcmOpen("aes-256-gcm", key, nonce, magic, bytes.subarray(start));
  } catch (error) {
    if (error instanceof InvalidError) throw damaged();
    throw error;
  }
}
