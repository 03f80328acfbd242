/** The voice of the demonstration: a story for people, or one JSON object per line. */
import { styleFor, type Style } from "../site/screen.ts";

export interface Teller {
  /** A new chapter. */
  chapter(title: string): void;
  /** Something happened as it should. */
  good(text: string, facts?: object): void;
  /** An attack, or what it led to. */
  evil(text: string, facts?: object): void;
  /** Something that should have happened did not. */
  missing(text: string): void;
  /** Explains, or quotes. */
  aside(text: string): void;
  /** A line that the next one may replace: how far things are. */
  live(text: string): void;
  end(passed: boolean, seconds: number): void;
}

/** One JSON object per line. */
export function jsonTeller(write: (text: string) => void): Teller {
  const say = (event: string, text: string, facts: object = {}): void => {
    write(`${JSON.stringify({ event, text, ...facts })}\n`);
  };
  return {
    chapter: (title) => say("chapter", title),
    good: (text, facts) => say("good", text, facts),
    evil: (text, facts) => say("evil", text, facts),
    missing: (text) => say("missing", text),
    aside: (text) => say("aside", text),
    live: () => undefined,
    end: (passed, seconds) =>
      say("end", passed ? "all of it happened" : "not all happened", { passed, seconds }),
  };
}

const columns = 92;

/** Breaks text at spaces so that it fits the page; later lines are indented. */
export function wrapped(text: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > columns - indent.length) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  if (line !== "") lines.push(line);
  return lines.join(`\n${indent}`);
}

/** Sentences for a terminal. */
export function textTeller(stream: NodeJS.WriteStream, startedMs: number): Teller {
  const style: Style = styleFor(stream);
  let chapters = 0;
  let drawn = false;
  const clock = (): string => {
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  };
  const line = (text: string): void => {
    if (drawn) stream.write("\r\u001b[K");
    drawn = false;
    stream.write(`${text}\n`);
  };
  const item = (mark: string, text: string): void =>
    line(`     ${mark} ${wrapped(text, "       ")}`);
  return {
    chapter(title) {
      chapters++;
      line(`\n  ${style.cyan(String(chapters))}  ${style.bold(title)}  ${style.dim(clock())}`);
    },
    good: (text) => item(style.green("✔"), text),
    evil: (text) => item(style.red("✖"), text),
    missing: (text) => item(style.alarm(" MISSING "), text),
    aside: (text) => line(`       ${style.dim(wrapped(text, "       "))}`),
    live(text) {
      if (!stream.isTTY) return;
      stream.write(`\r\u001b[K       ${style.dim(text.slice(0, columns - 8))}`);
      drawn = true;
    },
    end(passed) {
      const text = passed
        ? style.green("All of it happened.")
        : style.red("Not all of it happened.");
      line(`\n  ${style.bold(text)}  ${style.dim(clock())}\n`);
    },
  };
}
