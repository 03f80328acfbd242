/** For tests only: a disk whose n-th write or sync fails, once or from then on. */
import { UnavailableError } from "../../base/assert.ts";
import type { Disk, DiskFile } from "./file.ts";

export interface Fault {
  readonly operation: "write" | "datasync";
  /** Counts from 1 the operations of that kind since `arm`. */
  readonly nth: number;
  readonly forever: boolean;
  readonly code: "ENOSPC" | "EIO";
  /** For writes: how many bytes reach the disk before it fails. */
  readonly partial?: number;
}

/** Wraps `inner`; faultless until `arm` is called. */
export class FaultyDisk implements Disk {
  readonly #inner: Disk;
  #fault: Fault | null = null;
  #count = 0;

  constructor(inner: Disk) {
    this.#inner = inner;
  }

  arm(fault: Fault | null): void {
    this.#fault = fault;
    this.#count = 0;
  }

  #due(operation: Fault["operation"]): Fault | null {
    const fault = this.#fault;
    if (fault?.operation !== operation) return null;
    this.#count++;
    return this.#count === fault.nth || (fault.forever && this.#count > fault.nth) ? fault : null;
  }

  async open(path: string): Promise<DiskFile> {
    const file = await this.#inner.open(path);
    const fail = (fault: Fault): never => {
      throw new UnavailableError(`disk.${fault.operation}`, `${fault.code} (injected)`, "unknown");
    };
    return {
      read: (into, position) => file.read(into, position),
      write: async (parts, position) => {
        const fault = this.#due("write");
        if (fault === null) {
          await file.write(parts, position);
          return;
        }
        const bytes = Buffer.concat(parts).subarray(0, fault.partial ?? 0);
        if (bytes.length > 0) await file.write([bytes], position);
        fail(fault);
      },
      datasync: async () => {
        const fault = this.#due("datasync");
        if (fault === null) await file.datasync();
        else fail(fault);
      },
      truncate: (bytes) => file.truncate(bytes),
      size: () => file.size(),
      close: () => file.close(),
    };
  }

  exists(path: string): Promise<boolean> {
    return this.#inner.exists(path);
  }

  read(path: string): Promise<Buffer> {
    return this.#inner.read(path);
  }

  rename(from: string, to: string): Promise<void> {
    return this.#inner.rename(from, to);
  }

  syncDirectory(path: string): Promise<void> {
    return this.#inner.syncDirectory(path);
  }

  makeDirectory(path: string): Promise<void> {
    return this.#inner.makeDirectory(path);
  }
}
