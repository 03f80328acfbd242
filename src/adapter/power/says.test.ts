import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import type { Clock } from "../../base/clock.ts";
import type { LogFields } from "../../base/report.ts";
import { LineCutter, logSays, saysLimits } from "./says.ts";

test("says: any bytes in any pieces -> bounded lines of printable ASCII, whatever the pieces", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 5 }), (pieces) => {
      const lines: string[] = [];
      const cutter = new LineCutter();
      for (const piece of pieces) cutter.push(Buffer.from(piece), (line) => lines.push(line));
      cutter.flush((line) => lines.push(line));
      for (const line of lines) assert.match(line, /^[\x20-\x7e]{1,1027}$/);
      const whole: string[] = [];
      const other = new LineCutter();
      other.push(Buffer.concat(pieces), (line) => whole.push(line));
      other.flush((line) => whole.push(line));
      assert.deepEqual(lines, whole);
    }),
  );
});

test("says: a line that is too long -> cut, and the next one is whole", () => {
  const lines: string[] = [];
  const cutter = new LineCutter();
  cutter.push(Buffer.from(`${"x".repeat(5000)}\nnext\n`), (line) => lines.push(line));
  assert.deepEqual(lines, [`${"x".repeat(saysLimits.lineBytes)}...`, "next"]);
});

test("says: a flood -> a fixed number of lines per window, and the rest counted", async () => {
  const logged: [string, LogFields | undefined][] = [];
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after: () => ({ cancel: () => undefined }),
    every: () => ({ cancel: () => undefined }),
  };
  const stream = new PassThrough();
  logSays([stream], { log: (_level, event, fields) => logged.push([event, fields]) }, clock);
  stream.end("\u001b[31mred\n".repeat(1000));
  await once(stream, "close");
  assert.equal(logged.filter(([event]) => event === "server.says").length, saysLimits.lines);
  assert.deepEqual(logged[0], ["server.says", { line: "?[31mred" }]);
  assert.deepEqual(logged.at(-1), ["server.says-too-much", { linesDropped: 950 }]);
});

test("says: a stream that was handed over paused -> its lines are logged all the same", async () => {
  const stream = new PassThrough();
  stream.pause();
  const logged = new Promise<unknown>((resolve) => {
    const clock: Clock = {
      wallMs: () => 0,
      monotonicMs: () => 0,
      after: () => ({ cancel: () => undefined }),
      every: () => ({ cancel: () => undefined }),
    };
    logSays([stream], { log: (_level, _event, fields) => resolve(fields) }, clock);
  });
  stream.end("hello\n");
  assert.deepEqual(await logged, { line: "hello" });
});
