/** Party key files (spec/evidence.md): the public halves of what a trial site keeps in one folder for each party. */
import { fromHex } from "../../base/bytes.ts";
import { publicKeyHex } from "../../base/sign.ts";
import { partyKeysFirstLine } from "../../format/evidence.ts";
import { formatVkey, noteKey, noteKeyType } from "../../format/note.ts";
import { openRootChain } from "../../format/trust-root.ts";
import { drawKeyOf } from "../draw.ts";
import { witnessKeyName } from "../log-keys.ts";
import { readIfThere } from "../site/files.ts";
import { readSigningKey, seedFile } from "../site/keys.ts";
import type { DataPaths } from "../site/paths.ts";

/**
 * The key file of a party of this site. Root keys are those of the trust root's first version; the rest comes from the
 * seeds in `keys/`. Throws InvalidError when a key is missing.
 */
export function partyKeysText(paths: DataPaths, party: "a" | "b"): string {
  const [first] = openRootChain(Buffer.from(readIfThere(paths.trustRoot) ?? ""), null).roots;
  const witness = `witness-${party}` as const;
  const publicKey = publicKeyHex(readSigningKey(paths.keys, witness));
  const vkey = formatVkey(
    noteKey(witnessKeyName(party, publicKey), noteKeyType.cosignature, publicKey),
  );
  const seed = fromHex((readIfThere(seedFile(paths.keys, witness)) ?? "").trim(), 32);
  const own = (name: "boot-a" | "boot-b" | "recomputer-order" | "operator"): string =>
    publicKeyHex(readSigningKey(paths.keys, name));
  const lines = [
    partyKeysFirstLine,
    `party ${party}`,
    ...(first?.[party].keys ?? []).map((key) => `root ${key}`),
    `witness ${vkey}`,
    `draw ${publicKeyHex(drawKeyOf(seed))}`,
    `boot ${own(`boot-${party}`)}`,
    `recomputer ${own("recomputer-order")}`,
    `operator ${own("operator")}`,
  ];
  return `${lines.join("\n")}\n`;
}
