/**
 * The few file operations that the store needs, behind an interface so that tests can make each of
 * them fail. Every failure is an UnavailableError that names file and errno.
 */
import { constants } from "node:fs";
import { access, mkdir, open, readFile, rename, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { UnavailableError } from "../../base/assert.ts";

export interface DiskFile {
  /** Fills `into` from `position`; resolves to the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes all parts, in order, from `position`. Nothing is durable before `datasync`. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** fdatasync(2): what was written is durable when it resolves. */
  datasync(): Promise<void>;
  truncate(bytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /** Opens for reading and writing; makes an empty file (mode 0600) where there is none. */
  open(path: string): Promise<DiskFile>;
  /** Whether there is such a file. Rejects when that cannot be told. */
  exists(path: string): Promise<boolean>;
  read(path: string): Promise<Buffer>;
  rename(from: string, to: string): Promise<void>;
  /** Makes renames and new files in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
}

/** Runs one operation; turns whatever the system says into UnavailableError `disk.<operation>`. */
async function attempt<T>(operation: string, path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const why = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new UnavailableError(
      `disk.${operation}`,
      `cannot ${operation} ${basename(path)}: ${why}`,
      operation === "read" || operation === "open" ? "none" : "unknown",
    );
  }
}

class SystemFile implements DiskFile {
  readonly #handle: FileHandle;
  readonly #path: string;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return attempt("read", this.#path, async () => {
      let done = 0;
      while (done < into.length) {
        const { bytesRead } = await this.#handle.read(
          into,
          done,
          into.length - done,
          position + done,
        );
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done;
    });
  }

  write(parts: readonly Uint8Array[], position: number): Promise<void> {
    return attempt("write", this.#path, async () => {
      const { bytesWritten } = await this.#handle.writev(parts, position);
      const total = parts.reduce((sum, part) => sum + part.length, 0);
      if (bytesWritten === total) return;
      // A short write (a full disk, a signal): the rest goes in further calls, or fails loudly.
      const rest = Buffer.concat(parts).subarray(bytesWritten);
      for (let done = 0; done < rest.length;) {
        const at = position + bytesWritten + done;
        done += (await this.#handle.write(rest, done, rest.length - done, at)).bytesWritten;
      }
    });
  }

  datasync(): Promise<void> {
    return attempt("sync", this.#path, () => this.#handle.datasync());
  }

  truncate(bytes: number): Promise<void> {
    return attempt("truncate", this.#path, () => this.#handle.truncate(bytes));
  }

  size(): Promise<number> {
    return attempt("read", this.#path, async () => (await this.#handle.stat()).size);
  }

  close(): Promise<void> {
    return attempt("close", this.#path, () => this.#handle.close());
  }
}

export const systemDisk: Disk = {
  open(path) {
    return attempt("open", path, async () => {
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      return new SystemFile(handle, path);
    });
  },
  exists(path) {
    return attempt("open", path, async () => {
      try {
        await access(path);
        return true;
      } catch (error) {
        // Only this means that it is not there: what cannot be told must not be made anew over what is.
        if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
        throw error;
      }
    });
  },
  read(path) {
    return attempt("read", path, () => readFile(path));
  },
  rename(from, to) {
    return attempt("rename", to, () => rename(from, to));
  },
  syncDirectory(path) {
    return attempt("sync", path, async () => {
      const handle = await open(path, constants.O_RDONLY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    });
  },
  async makeDirectory(path) {
    await attempt("make", path, () => mkdir(path, { recursive: true, mode: 0o700 }));
  },
};

/**
 * Puts a file with this content at `path`, durably and all at once: a reader after a crash sees the
 * old content or the new. Throws UnavailableError `disk.*`.
 */
export async function replaceFile(
  disk: Disk,
  path: string,
  parts: readonly Uint8Array[],
): Promise<void> {
  const fresh = `${path}.new`;
  const file = await disk.open(fresh);
  try {
    await file.truncate(0);
    await file.write(parts, 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await disk.rename(fresh, path);
  await disk.syncDirectory(dirname(path));
}
