/** The UID of a simulated PUF: cells in a file, helper data in another (base/puf/). */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { InvalidError } from "../../base/assert.ts";
import type { RandomSource } from "../../base/random.ts";
import { enrol, reconstruct } from "../../base/puf/extractor.ts";
import { defaultPuf } from "../../base/puf/parameters.ts";
import type { Uid } from "../../gateway/uid.port.ts";
import { openCells } from "./cells.ts";

export interface PufFiles {
  /** The device's name: bound into helper data and secret. */
  readonly device: string;
  readonly cells: string;
  readonly helper: string;
  readonly random: RandomSource;
}

const simulated =
  "device identity: a simulated PUF, its cells grown from a file; the algebra is real, the physics is not";

/** Two power-ups in a row that fail by noise alone: (3.1e-10)^2 at 15 % of errors. One more try costs nothing. */
const attempts = 2;

/** Makes helper data for the device's cells, whatever was there. Returns them; they are public. */
export function enrolPuf({ device, cells, random }: Omit<PufFiles, "helper">): Buffer {
  return enrol(openCells(cells, random).read, defaultPuf, device, random);
}

/** The UID port over the two files. */
export function pufUid({ device, cells, helper, random }: PufFiles): Uid {
  const unlockOnce = (): Buffer => {
    if (!existsSync(helper)) throw new InvalidError("uid.bricked", "the helper data are gone");
    return reconstruct(openCells(cells, random).read, defaultPuf, device, readFileSync(helper));
  };
  return {
    kind: "puf",
    simulated,
    // Async, so that what it throws is a rejection.
    // eslint-disable-next-line @typescript-eslint/require-await
    async unlock() {
      for (let attempt = 1; ; attempt++) {
        try {
          return { secret: unlockOnce(), counter: null };
        } catch (error) {
          if (attempt >= attempts || !(error instanceof InvalidError)) throw error;
        }
      }
    },
    // eslint-disable-next-line @typescript-eslint/require-await
    async brick() {
      openCells(cells, random).tamper();
      rmSync(helper, { force: true });
    },
  };
}
