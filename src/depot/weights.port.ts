/** Where a depot's weights lie, as a port; adapter/weights-file.ts reads them from files. */

export interface WeightsFile {
  readonly modelId: string;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** Root of the RFC 6962 tree over the chunks. */
  readonly root: Buffer;
  /**
   * Chunk `index` and its audit path, bottom first. The data lies at the start of `into` (as long as the
   * longest chunk), or in memory that never changes. Throws UnavailableError when unreadable.
   */
  chunk(
    index: number,
    into: Buffer,
  ): Promise<{ readonly data: Buffer; readonly proof: readonly Buffer[] }>;
  close(): Promise<void>;
}
