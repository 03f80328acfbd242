/** Where a gateway keeps the newest checkpoint that it signed, and the newest that all parties cosigned. */
export interface CheckpointFiles {
  /** As found at start; null: never written. */
  readonly signed: Buffer | null;
  readonly cosigned: Buffer | null;
  /** Durable when it resolves. Throws UnavailableError. */
  keepSigned(note: Buffer): Promise<void>;
  keepCosigned(note: Buffer): Promise<void>;
}
