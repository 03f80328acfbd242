import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

type Colours = ReadonlyMap<string, string>;

const css = readFileSync(`${import.meta.dirname}/web/style.css`, "utf8");

function colours(block: string): Map<string, string> {
  const found = block.matchAll(/--([a-z0-9-]+): (#[0-9a-f]{6});/g);
  return new Map([...found].map((match) => [match[1] ?? "", match[2] ?? ""]));
}

/** Relative luminance, WCAG 2.2. */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => {
    const channel = Number.parseInt(hex.slice(i, i + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const roots = [...css.matchAll(/:root \{[^}]*\}/g)].map(([block]) => colours(block));
const light: Colours = roots[0] ?? new Map<string, string>();
const dark: Colours = new Map([...light, ...(roots[1] ?? [])]);

/** Text colours and the surfaces they stand on: AA asks for 4.5. */
const texts: readonly (readonly [string, string])[] = [
  ...["page", "panel", "sunk"].flatMap((on) => [["ink", on] as const, ["muted", on] as const]),
  ...["good", "busy", "warn", "bad", "off"].flatMap((tone) => [
    [tone, `${tone}-soft`] as const,
    [tone, "panel"] as const,
    ["ink", `${tone}-soft`] as const,
  ]),
  ["bad", "page"],
  ["accent", "page"],
  ["muted", "bad-soft"],
  ["panel", "bad"],
];

for (const [theme, palette] of Object.entries({ light, dark })) {
  test(`style: ${theme} theme -> every text has at least AA contrast`, () => {
    for (const [text, surface] of texts) {
      const [a, b] = [palette.get(text), palette.get(surface)];
      assert.ok(a !== undefined && b !== undefined, `${text} and ${surface} are defined`);
      const ratio = contrast(a, b);
      assert.ok(ratio >= 4.5, `${text} on ${surface}: ${ratio.toFixed(2)}`);
    }
  });

  test(`style: ${theme} theme -> every series stands out from the panel`, () => {
    for (let i = 1; i <= 8; i++) {
      const ratio = contrast(palette.get(`series-${i}`) ?? "", palette.get("panel") ?? "");
      assert.ok(ratio >= 3, `series-${i}: ${ratio.toFixed(2)}`);
    }
  });
}

test("style: the two themes differ", () => {
  assert.notDeepEqual(light, dark);
});
