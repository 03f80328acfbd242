/** Where the agent puts the weights that it is given. adapter/disk-weights implements it. */

export interface WeightsFile {
  /** Appends. Calls must not overlap. Throws UnavailableError `weights.write` (no space). */
  write(bytes: Uint8Array): Promise<void>;
  /** No more bytes come; returns the path for the engine. */
  finish(): Promise<string>;
  /** Closes and deletes. Idempotent. */
  discard(): Promise<void>;
}

export interface WeightsStore {
  create(): Promise<WeightsFile>;
}
