/**
 * Watches the tamper inputs of a running gateway and does what gateway/boot.ts says: cuts power, marks, destroys the
 * secret, ends the process. The first stage has measured and unlocked before this runs.
 */
import { existsSync, readFileSync } from "node:fs";
import { UnavailableError, InvalidError } from "../../base/assert.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/report.ts";
import {
  bootOff,
  nextBoot,
  type BootEffect,
  type BootEvent,
  type BootState,
} from "../../gateway/boot.ts";
import { defaultTamperLimits, tamperIn } from "../../gateway/tamper.ts";
import type { TamperInputs } from "../../gateway/tamper.port.ts";
import type { Uid } from "../../gateway/uid.port.ts";
import { writeAtomic } from "../site/files.ts";

export interface GuardOptions {
  readonly uid: Uid;
  readonly inputs: TamperInputs;
  /** The file of the mark: why, and since when. */
  readonly marker: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Cuts the server's power now; resolves when it is off. May take long, and is not waited for. */
  readonly cutPower: (why: string) => void;
  /** All is destroyed: the process is to end, at once. */
  readonly end: (why: string) => void;
}

const retryMs = 250;

export class Guard {
  readonly #o: GuardOptions;
  #state: BootState = bootOff;

  constructor(options: GuardOptions) {
    this.#o = options;
    // The first stage has done these two steps, or this process would not be.
    for (const event of [
      { kind: "power-on", marked: false },
      { kind: "measured", ok: true, why: "" },
      { kind: "unlocked", result: "ok", why: "" },
    ] satisfies BootEvent[]) {
      this.#state = nextBoot(this.#state, event).state;
    }
  }

  get state(): BootState {
    return this.#state;
  }

  /** Begins to look; what stands now counts at once. */
  watch(): void {
    this.#o.inputs.watch((reading) => {
      const why = tamperIn(reading, defaultTamperLimits);
      if (why !== null) this.#apply({ kind: "tamper", why });
    });
  }

  close(): void {
    this.#o.inputs.close();
  }

  #apply(event: BootEvent): void {
    const { state, effects } = nextBoot(this.#state, event);
    this.#state = state;
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: BootEffect): void {
    const { logger, marker, cutPower, clock, end } = this.#o;
    const { why } = this.#state;
    switch (effect) {
      case "cut-power":
        logger.log("error", "gateway.tamper", { why });
        cutPower(why);
        return;
      case "mark":
        try {
          writeMark(marker, why, clock.wallMs());
        } catch (error) {
          // Nothing depends on the mark but an interrupted destruction: go on to destroy.
          logger.log("error", "gateway.mark", { why: String(error) });
        }
        return;
      case "destroy":
        void this.#destroy();
        return;
      case "end":
        end(why);
        return;
      case "measure":
      case "unlock":
      case "start":
        // The first stage's, and done.
        return;
    }
  }

  async #destroy(): Promise<void> {
    const { uid, logger, clock } = this.#o;
    let ok = true;
    try {
      await uid.brick(this.#state.why);
    } catch (error) {
      // A plain file cannot be bricked; what is left is to end. Else it is tried until it is done.
      ok = error instanceof InvalidError;
      if (!ok && !(error instanceof UnavailableError)) throw error;
      logger.log("error", "gateway.brick", { why: error instanceof Error ? error.message : "" });
    }
    if (ok) this.#apply({ kind: "destroyed", ok });
    else clock.after(retryMs, () => this.#apply({ kind: "destroyed", ok }));
  }
}

/** Writes why and when; durable when it returns. */
function writeMark(path: string, why: string, atMs: number): void {
  if (existsSync(path)) return;
  writeAtomic(path, `${JSON.stringify({ why, at: new Date(atMs).toISOString() })}\n`, 0o600);
}

/** What the mark says, in words; "" when there is none. Any file there is a mark. */
export function readMark(path: string): string {
  if (!existsSync(path)) return "";
  const text = readFileSync(path, "utf8").slice(0, 500).trim();
  const why = /^\{"why":"([^"\\]{1,200})"/.exec(text)?.[1];
  return why ?? "an earlier tampering";
}
