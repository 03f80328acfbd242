/** Keys of logs and witnesses as options give them, refused where they could not be told apart. */
import { InvalidError } from "../base/assert.ts";
import { noteKeyType, parseVkey, type NoteKey } from "../format/note.ts";
import type { Options } from "./options.ts";

/** `NAME=VKEY` options by name. Throws InvalidError `options.value`, which names the option and the key. */
export function vkeysOf(
  options: Options,
  key: string,
  type: "note" | "cosignature",
): Map<string, NoteKey> {
  const keys = new Map<string, NoteKey>();
  const seen = new Set<string>();
  for (const [name, text] of options.pairs(key)) {
    const fail = (why: string): never => {
      throw new InvalidError("options.value", `--${key}: the key of "${name}": ${why}`);
    };
    let parsed: NoteKey;
    try {
      parsed = parseVkey(text);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      return fail(error.message);
    }
    if (parsed.type !== noteKeyType[type])
      fail(`a verifier key of type ${noteKeyType[type]} is wanted`);
    // One key under two names would let one party be both.
    if (seen.has(parsed.publicKey) || seen.has(parsed.name)) fail("another name has the same key");
    seen.add(parsed.publicKey).add(parsed.name);
    keys.set(name, parsed);
  }
  return keys;
}

/** Name of the key of a party's witness. `publicKey`: 64 hex digits. */
export function witnessKeyName(party: string, publicKey: string): string {
  return `weir.local/witness/${party}/${publicKey.slice(0, 12)}`;
}
