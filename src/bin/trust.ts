/** What gateway, router and recomputer alike are told of the trust root and the whitelist. */
import { readFileSync } from "node:fs";
import { InvalidError } from "../base/assert.ts";
import { sha256 } from "../base/hash.ts";
import { remember, type TrustSeen } from "../format/trust-memory.ts";
import { openRootChain, type RootChain } from "../format/trust-root.ts";
import { openWhitelist, type Whitelist } from "../format/whitelist.ts";
import type { Options, OptionSpecs } from "./options.ts";

export const trustSpecs = {
  whitelist: { kind: "text", help: "whitelist file, signed by both parties", required: true },
  trustRoot: { kind: "text", help: "file of the trust root, all its versions", required: true },
  rootAnchor: {
    kind: "text",
    help: "SHA-256 of the root's first version, 64 hex digits",
    required: true,
  },
} as const satisfies OptionSpecs;

/** Also for roles that act when a whitelist runs out. */
export const expirySpecs = {
  expiryWarningDays: {
    kind: "number",
    help: "warn so long before whitelist or root expire",
    default: 14,
  },
} as const satisfies OptionSpecs;

export interface Trust {
  readonly chain: RootChain;
  readonly whitelist: Whitelist;
}

function named<T>(path: string, what: string, open: (bytes: Buffer) => T): T {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InvalidError("trust.file", `cannot read the ${what} ${path}: ${why}`);
  }
  try {
    return open(bytes);
  } catch (error) {
    if (!(error instanceof InvalidError)) throw error;
    throw new InvalidError(error.code, `${what} ${path}: ${error.message}`);
  }
}

/** Reads and verifies a root file; `anchor` null only to look. Errors name the file. */
export function readRootChain(path: string, anchor: string | null): RootChain {
  return named(path, "trust root", (bytes) => openRootChain(bytes, anchor));
}

/** Reads and verifies a whitelist file under a root. Errors name the file. */
export function readWhitelist(path: string, chain: RootChain): Whitelist {
  return named(path, "whitelist", (bytes) => openWhitelist(bytes, chain.current));
}

/** Where a role remembers the newest root and whitelist; durable when `write` has ended. */
export interface TrustMemory {
  read(): TrustSeen | null;
  write(seen: TrustSeen): void | Promise<void>;
}

/**
 * Holds what a role is about to rely on against what it has seen, and makes the newest durable first. Without
 * trust (a role wired by hand) there is nothing to hold. Throws InvalidError `trust.*` for anything older or other; then nothing is written.
 */
export async function rememberTrust(memory: TrustMemory, trust: Trust | undefined): Promise<void> {
  if (trust === undefined) return;
  const seen = memory.read();
  const now = remember(seen, trust.chain, trust.whitelist);
  if (now !== seen) await memory.write(now);
}

/** Both, from a role's options, and the SHA-256 of the whitelist's file. Throws InvalidError that names the file. */
export function trustFrom(options: Options): Trust & { readonly whitelistFile: Buffer } {
  const chain = readRootChain(options.text("trustRoot"), options.text("rootAnchor"));
  const path = options.text("whitelist");
  return named(path, "whitelist", (bytes) => {
    const whitelist = openWhitelist(bytes, chain.current);
    return { chain, whitelist, whitelistFile: sha256(bytes) };
  });
}
