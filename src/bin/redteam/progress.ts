/** One line of progress on a terminal; a line per trial elsewhere. */
import { layerOf, type Skipped, type Trial } from "./trial.ts";

export interface Progress {
  /** A trial begins: its number, of how many. */
  begin(at: number, of: number, name: string): void;
  step(tokens: number, budget: number, logE: number): void;
  note(text: string): void;
  end(line: Trial | Skipped): void;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function outcome(line: Trial | Skipped): string {
  if (line.kind === "skipped") return `not run: ${line.why}`;
  const layer = layerOf(line);
  if (line.alarm === null) {
    return layer === "none" ? `NOT CAUGHT in ${line.served.tokens} tokens` : `held by: ${layer}`;
  }
  const { by, auditedTokens, auditedPairs } = line.alarm;
  return `${layer}, ${by}: ${auditedTokens} tokens, ${auditedPairs} pairs`;
}

/** `now`: milliseconds, monotonic. */
export function progressOn(stream: NodeJS.WriteStream, now: () => number): Progress {
  const startMs = now();
  let [current, total, name, drawnMs] = [0, 1, "", 0];
  const live = (text: string): void => {
    if (!stream.isTTY) return;
    stream.write(`\r\u001b[K${text.slice(0, (stream.columns || 80) - 1)}`);
  };
  const eta = (share: number): string => {
    const done = current - 1 + share;
    if (done < 0.3) return "";
    return `, ${duration(((now() - startMs) / 1000 / done) * (total - done))} left`;
  };
  return {
    begin(at, of, text) {
      [current, total, name] = [at, of, text];
      live(`${at}/${of} ${name}${eta(0)}`);
    },
    step(tokens, budget, logE) {
      if (now() - drawnMs < 200) return;
      drawnMs = now();
      const share = Math.min(1, tokens / budget);
      live(
        `${current}/${total} ${name}: ${tokens} of ${budget} tokens, ${logE.toFixed(1)} nats${eta(share)}`,
      );
    },
    note: (text) => {
      live(`${current}/${total} ${name}: ${text}`);
    },
    end(line) {
      if (stream.isTTY) stream.write("\r\u001b[K");
      stream.write(`${current}/${total} ${name}: ${outcome(line)}${eta(1)}\n`);
    },
  };
}
