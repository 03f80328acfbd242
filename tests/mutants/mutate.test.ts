import assert from "node:assert/strict";
import { test } from "node:test";
import { mutantsOf } from "./mutate.ts";

const text = `
import { x } from "y";
interface Shape { readonly size: 3 }
export function check(a: number, b: number): boolean {
  if (a < b) throw new Error("small");
  return a + 1 === b;
}
function other(): boolean { return !check(1, 2); }
`;

test("mutants: a comparison, a throw, a number, a not -> each is changed once, and nothing else", () => {
  const found = mutantsOf(text).map(({ line, what }) => `${line} ${what}`);
  assert.deepEqual(found, [
    "5 condition is true: a < b",
    "5 condition is false: a < b",
    "5 < becomes <=: <",
    "5 < becomes >=: <",
    '5 nothing is thrown: throw new Error("small");',
    "6 === becomes !==: ===",
    "6 + becomes -: +",
    "6 number is one higher: 1",
    "8 not is dropped: !check(1, 2)",
    "8 number is one higher: 1",
    "8 number is one higher: 2",
  ]);
  for (const mutant of mutantsOf(text)) assert.notEqual(mutant.text, text);
});

test("mutants: of one function -> the others stay whole", () => {
  const lines = mutantsOf(text, ["other"]).map(({ line }) => line);
  assert.deepEqual(lines, [8, 8, 8]);
});
