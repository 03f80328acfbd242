/**
 * What a role remembers of roots and whitelists, so that nobody can hand it an old one again, and what
 * the expiry of one means (spec/whitelist.md). Pure: who keeps it, and how durably, is the role's affair.
 */
import { InvalidError } from "../base/assert.ts";
import { fromHex } from "../base/bytes.ts";
import { Fields, type Json } from "./json.ts";
import type { RootChain } from "./trust-root.ts";
import type { Whitelist } from "./whitelist.ts";

/** The newest root and whitelist that a role has accepted. Digests in hex. */
export interface TrustSeen {
  readonly rootVersion: number;
  readonly rootDigest: string;
  readonly whitelistVersion: number;
  readonly whitelistDigest: string;
}

/** Reads a memory that was stored as JSON. Throws InvalidError `json.shape` or `bytes.hex`. */
export function parseTrustSeen(json: Json): TrustSeen {
  const from = new Fields(json, "trust");
  const digest = (key: string): string => {
    const text = from.text(key);
    fromHex(text, 32);
    return text;
  };
  const seen = {
    rootVersion: from.integer("rootVersion", 1, Number.MAX_SAFE_INTEGER),
    rootDigest: digest("rootDigest"),
    whitelistVersion: from.integer("whitelistVersion", 1, Number.MAX_SAFE_INTEGER),
    whitelistDigest: digest("whitelistDigest"),
  };
  from.end();
  return seen;
}

function seenOf(chain: RootChain, whitelist: Whitelist): TrustSeen {
  return {
    rootVersion: chain.current.version,
    rootDigest: chain.current.digest.toString("hex"),
    whitelistVersion: whitelist.version,
    whitelistDigest: whitelist.digest.toString("hex"),
  };
}

/** Until when servers may boot under both: the first of the two ends. Milliseconds since 1970. */
export function trustEnds(chain: RootChain, whitelist: Whitelist): number {
  return Math.min(chain.current.expiresMs, whitelist.expiresMs);
}

/**
 * The memory after a verified chain and whitelist, to be made durable before either is relied on. `seen`
 * itself when nothing is new. Throws InvalidError `trust.rollback` for an older one, `trust.fork` for another
 * one of the same version.
 */
export function remember(
  seen: TrustSeen | null,
  chain: RootChain,
  whitelist: Whitelist,
): TrustSeen {
  const now = seenOf(chain, whitelist);
  if (seen === null) return now;
  const same = chain.roots.find(({ version }) => version === seen.rootVersion);
  if (same === undefined) {
    throw new InvalidError(
      "trust.rollback",
      `the root is version ${now.rootVersion}, and version ${seen.rootVersion} has been in force here`,
    );
  }
  if (same.digest.toString("hex") !== seen.rootDigest) {
    throw new InvalidError(
      "trust.fork",
      `root version ${seen.rootVersion} is not the one that has been in force here`,
    );
  }
  if (now.whitelistVersion < seen.whitelistVersion) {
    throw new InvalidError(
      "trust.rollback",
      `the whitelist is version ${now.whitelistVersion}, and version ${seen.whitelistVersion} has been in force here`,
    );
  }
  if (now.whitelistVersion > seen.whitelistVersion) return now;
  if (now.whitelistDigest !== seen.whitelistDigest) {
    throw new InvalidError(
      "trust.fork",
      `whitelist version ${seen.whitelistVersion} is not the one that has been in force here`,
    );
  }
  return seen;
}

export interface Expiry {
  /** Why no server may boot, in words; null when it may. */
  readonly over: string | null;
  /** How little time is left, in words; null when there is enough. */
  readonly soon: string | null;
}

const dayMs = 86_400_000;

/** What the time `nowMs` means for a list that ends at `expiresMs`, warned of `warnMs` before. */
export function expiryAt(expiresMs: number, nowMs: number, warnMs: number): Expiry {
  if (nowMs >= expiresMs) {
    return { over: "the whitelist or its root has expired; a newer one is needed", soon: null };
  }
  if (expiresMs - nowMs > warnMs) return { over: null, soon: null };
  const days = Math.ceil((expiresMs - nowMs) / dayMs);
  const left = days === 1 ? "less than a day" : `less than ${days} days`;
  return { over: null, soon: `the whitelist or its root expires in ${left}` };
}
