/**
 * How token ids become text and a finish reason, spec/pair.md "Output rules". Server and recomputer
 * use this one rule, so text and finish follow from the ids and can be checked.
 *
 * The state after each id depends on the ids alone. Frames may therefore carry several ids and the
 * text that they released, and also a pair that was cut off has exactly one right text.
 */
import { assert } from "../base/assert.ts";
import type { FinishReason, SamplingParams } from "./pair.ts";

/** Incremental detokeniser of one output: bytes of ids, cut at whole UTF-8 characters. */
export interface Speller {
  /** Adds one id; returns the text that became complete ("" inside a character). */
  push(id: number): string;
  /** What an unfinished character at the end turns into (U+FFFD, or ""). */
  end(): string;
}

/** Cuts text before the first stop string; holds back what may still become one. */
class StopCutter {
  readonly #stops: readonly string[];
  #held = "";
  stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Adds text; returns what can no longer be part of a stop string. */
  push(text: string): string {
    // What was let go holds no beginning of a stop string, so one can only start in the held part.
    const window = this.#held + text;
    let cut = -1;
    for (const stop of this.#stops) {
      const at = window.indexOf(stop);
      if (at >= 0 && (cut < 0 || at < cut)) cut = at;
    }
    if (cut >= 0) {
      this.stopped = true;
      this.#held = "";
      return window.slice(0, cut);
    }
    const keep = this.#beginning(window);
    this.#held = window.slice(window.length - keep);
    return window.slice(0, window.length - keep);
  }

  /** No stop string came: lets the held text go. */
  flush(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #beginning(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, text.length); n > longest; n--) {
        if (text.endsWith(stop.slice(0, n))) {
          longest = n;
          break;
        }
      }
    }
    return longest;
  }
}

export interface OutputParams extends Pick<SamplingParams, "maxTokens" | "stops"> {
  /** Tokens of the prompt and of the model's context: an output ends where the context is full. */
  readonly promptTokens: number;
  readonly contextTokens: number;
}

/** Ids that may be drawn before the output ends with `length`; may be 0 or less: no room. */
export function outputRoom(params: Omit<OutputParams, "stops">): number {
  return Math.min(params.maxTokens, params.contextTokens - params.promptTokens);
}

export interface OutputStep {
  /** Text that this id released. */
  readonly text: string;
  /** Set on the last id. */
  readonly finish: "stop" | "length" | null;
}

/** Follows one output id by id. After a step with a finish, no further id may be pushed. */
export class OutputText {
  readonly #speller: Speller;
  readonly #isEnd: (id: number) => boolean;
  readonly #cutter: StopCutter;
  readonly #room: number;
  #count = 0;
  #finished = false;

  constructor(speller: Speller, isEnd: (id: number) => boolean, params: OutputParams) {
    this.#speller = speller;
    this.#isEnd = isEnd;
    this.#cutter = new StopCutter(params.stops);
    this.#room = outputRoom(params);
  }

  push(id: number): OutputStep {
    assert(!this.#finished, "no id follows the end of an output");
    this.#count++;
    const ends = this.#isEnd(id);
    let text = ends ? "" : this.#cutter.push(this.#speller.push(id));
    if (this.#cutter.stopped) return this.#finish(text, "stop");
    const full = this.#count >= this.#room;
    if (!ends && !full) return { text, finish: null };
    // An unfinished character becomes U+FFFD, which a stop string may hold.
    text += this.#cutter.push(this.#speller.end());
    if (this.#cutter.stopped) return this.#finish(text, "stop");
    return this.#finish(text + this.#cutter.flush(), ends ? "stop" : "length");
  }

  #finish(text: string, finish: "stop" | "length"): OutputStep {
    this.#finished = true;
    return { text, finish };
  }
}

export interface ExpectedOutput {
  readonly text: string;
  /** `cut-off` when the ids end before the output does. */
  readonly finish: FinishReason;
  /** How many of the ids belong to the output: fewer than given means ids follow its end. */
  readonly idsUsed: number;
}

export interface OutputQuestion extends OutputParams {
  readonly ids: ArrayLike<number>;
  /** A fresh speller of the model's vocabulary. */
  readonly speller: Speller;
  readonly isEnd: (id: number) => boolean;
}

/** The text and finish reason that these ids give. Pure; the speller is used up. */
export function expectedOutput(question: OutputQuestion): ExpectedOutput {
  const { ids, speller, isEnd } = question;
  const output = new OutputText(speller, isEnd, question);
  const texts: string[] = [];
  for (let i = 0; i < ids.length; i++) {
    const step = output.push(ids[i] ?? 0);
    texts.push(step.text);
    if (step.finish !== null) {
      return { text: texts.join(""), finish: step.finish, idsUsed: i + 1 };
    }
  }
  return { text: texts.join(""), finish: "cut-off", idsUsed: ids.length };
}
