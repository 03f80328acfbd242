/** A log file of bounded size: full files are moved to `.1`, `.2`, and so on; the oldest goes. */
import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

export interface RotatingLog {
  write(line: string): void;
  close(): void;
}

/**
 * Opens `path` for appending. When a line would take it beyond `maxBytes` it is rotated first;
 * `keep` old files stay.
 */
export function rotatingLog(path: string, maxBytes = 8_388_608, keep = 3): RotatingLog {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let file = openSync(path, "a", 0o600);
  let size = fstatSync(file).size;
  const rotate = (): void => {
    closeSync(file);
    for (let i = keep - 1; i >= 1; i--) rename(`${path}.${i}`, `${path}.${i + 1}`);
    rename(path, `${path}.1`);
    file = openSync(path, "a", 0o600);
    size = 0;
  };
  return {
    write(line) {
      const bytes = Buffer.from(`${line}\n`);
      if (size > 0 && size + bytes.length > maxBytes) rotate();
      writeSync(file, bytes);
      size += bytes.length;
    },
    close() {
      closeSync(file);
    },
  };
}

function rename(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
