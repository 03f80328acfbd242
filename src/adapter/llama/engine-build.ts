/**
 * The digest of the engine that a whitelist entry names: of every file in the folder from which
 * llama.cpp's libraries are loaded, whichever of its CPU builds a processor then takes.
 *
 * Trust: it says what lies on the disk of the machine that asks. The recomputer asks of its own; a server's
 * host asks of the server's, which stops mistakes and no liar: a server is believed in nothing.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { Writer } from "../../base/bytes.ts";
import { sha256 } from "../../base/hash.ts";
import { libraryDirectory } from "./library-directory.ts";

async function fileDigest(path: string): Promise<Buffer> {
  const hash = createHash("sha256");
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20 })) {
    hash.update(part as Buffer);
  }
  return hash.digest();
}

/**
 * SHA-256 over "weir/engine-build/1", a u32 count, and for each file of the folder in rising order of its
 * name's UTF-16 code units: the name (u32 length, UTF-8), u64 size, SHA-256 of its content. Throws InvalidError
 * `engine.build` for a folder that holds anything but files, UnavailableError `engine.no-binary`.
 */
export async function engineBuild(directory: string = libraryDirectory()): Promise<Buffer> {
  const names = (await readdir(directory)).sort();
  const out = new Writer().text("weir/engine-build/1").u32(names.length);
  for (const name of names) {
    const path = join(directory, name);
    const { size } = await stat(path).then((found) => {
      if (found.isFile()) return found;
      throw new InvalidError("engine.build", `${path} is not a file`);
    });
    out
      .text(name)
      .u64(BigInt(size))
      .raw(await fileDigest(path));
  }
  return sha256(out.bytes());
}

/** Throws UnavailableError `engine.build` when the engine installed here is not the whitelisted one. */
export async function checkEngineBuild(wanted: Buffer): Promise<void> {
  const found = await engineBuild();
  if (found.equals(wanted)) return;
  throw new UnavailableError(
    "engine.build",
    `the llama.cpp installed here is build ${found.toString("hex")}, and the whitelist names ${wanted.toString("hex")}`,
    "none",
  );
}
