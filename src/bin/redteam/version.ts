/** The version that reports name. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { homeFolder } from "../site/config.ts";

export function weirVersion(): string {
  const text = readFileSync(join(homeFolder, "package.json"), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}
