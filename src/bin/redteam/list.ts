/** `weir redteam --list`. */
import { attackGroups, type Attack } from "../../adversary/attack.ts";

export function listJson(attacks: readonly Attack[]): object[] {
  return attacks.map(({ id, group, title, expected, why, knobs, receive }) => {
    return { id, group, title, expected, why, knobs, decodes: receive !== undefined };
  });
}

/** A table by groups. */
export function listText(attacks: readonly Attack[]): string {
  const width = Math.max(...attacks.map(({ id }) => id.length)) + 2;
  const rows = attackGroups.flatMap((group) => {
    const mine = attacks.filter((attack) => attack.group === group);
    if (mine.length === 0) return [];
    return [
      `\n${group}`,
      ...mine.map(({ id, expected, title, knobs }) => {
        const set = Object.entries(knobs).map(([name, value]) => `${name}=${value}`);
        const knobsText = set.length === 0 ? "" : `  [${set.join(" ")}]`;
        return `  ${id.padEnd(width)}${expected.padEnd(14)}${title}${knobsText}`;
      }),
    ];
  });
  return `  ${"attack".padEnd(width)}${"expected".padEnd(14)}what it does  [knobs]\n${rows.join("\n").trimStart()}\n`;
}
