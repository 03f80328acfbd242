/** The joint draw (spec/draw.md) as options say: at a gateway, at a party's witness, at the recomputer. */
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { openSecretFile } from "../adapter/disk/secret-file.ts";
import { systemRandom } from "../adapter/random.ts";
import { InvalidError } from "../base/assert.ts";
import { enrolledKey } from "../base/enrol.ts";
import { deriveKey, secretKey } from "../base/hash.ts";
import type { Logger } from "../base/report.ts";
import { privateKeyFromSeed, publicKeyHex } from "../base/sign.ts";
import { drawParties, type DrawParty } from "../format/draw.ts";
import type { JointDrawOptions } from "../gateway/draw-run.ts";
import { DrawShares } from "../log/share.ts";
import type { WitnessRoute, WitnessView } from "../log/witness-routes.ts";
import {
  defaultOmissionRules,
  type OmissionRules,
  type WatchedDraw,
} from "../recomputer/omitted.ts";
import { vkeysOf } from "./log-keys.ts";
import type { Options, OptionSpecs } from "./options.ts";

const noSalt = new Uint8Array(0);

/** The Ed25519 key by which a party's witness signs its part of the draw: of its seed, 32 bytes, and for nothing else. */
export function drawKeyOf(witnessSeed: Uint8Array): KeyObject {
  return privateKeyFromSeed(deriveKey(secretKey(witnessSeed), noSalt, "weir draw key/1").export());
}

const roundSpecs: OptionSpecs = {
  roundSeconds: { kind: "number", help: "a new round of the draw after this time", default: 600 },
  roundPairs: {
    kind: "number",
    help: "a new round of the draw after so many log entries",
    default: 100_000,
  },
};

export const gatewayDrawSpecs: OptionSpecs = {
  drawKey: {
    kind: "list",
    help: "PARTY=HEX, public draw keys of parties a and b; none: the gateway draws alone",
  },
  ...roundSpecs,
};

export const witnessDrawSpecs: OptionSpecs = {
  drawKey: { kind: "list", help: "PARTY=HEX, the other party's public draw key; none: no draw" },
};

export const recomputerDrawSpecs: OptionSpecs = {
  log: { kind: "list", help: "NAME=VKEY, the log of a gateway whose coins are to be recomputed" },
  witness: {
    kind: "list",
    help: "PARTY=VKEY, key of a witness; all must have cosigned such a log",
  },
  epsilonMin: { kind: "number", help: "smallest epsilon of a round", default: 0 },
  omittedSeconds: {
    kind: "number",
    help: "a kept pair was never sent when its gateway had nothing to send for so long",
    default: 30,
  },
  ...roundSpecs,
};

/** The draw keys by party. Throws InvalidError `options.value`. */
function drawKeys(options: Options): Map<DrawParty, KeyObject> {
  const keys = new Map<DrawParty, KeyObject>();
  for (const [name, hex] of options.pairs("drawKey")) {
    const party = drawParties.find((one) => one === name);
    if (party === undefined)
      throw new InvalidError("options.value", "--draw-key: a party is a or b");
    const key = enrolledKey(hex);
    const twice = [...keys.values()].some((other) => publicKeyHex(other) === publicKeyHex(key));
    if (twice)
      throw new InvalidError("options.value", "--draw-key: both parties have the same key");
    keys.set(party, key);
  }
  return keys;
}

function roundsOf(options: Options): { readonly roundMs: number; readonly roundLeaves: number } {
  return {
    roundMs: 1000 * options.number("roundSeconds", 1, 1e7),
    roundLeaves: options.number("roundPairs", 10, 1e9),
  };
}

/** What a gateway needs to draw with the parties; undefined where none are named. Throws InvalidError, UnavailableError. */
export async function jointDrawOf(
  options: Options,
  dataDir: string,
  rootKey: KeyObject,
): Promise<JointDrawOptions | undefined> {
  const keys = drawKeys(options);
  const [a, b] = [keys.get("a"), keys.get("b")];
  if (keys.size === 0) return undefined;
  if (a === undefined || b === undefined) {
    throw new InvalidError("options.missing", "--draw-key is needed for both parties, a and b");
  }
  const rounds = roundsOf(options);
  const key = deriveKey(rootKey, noSalt, "weir draw file/1");
  return {
    file: await openSecretFile({ path: join(dataDir, "draw"), key, random: systemRandom }),
    keys: { a, b },
    // Six rounds' time: as long as the parties' side may be away before nothing is admitted any more.
    limits: { ...rounds, lateMs: 6 * rounds.roundMs, lateLeaves: 6 * rounds.roundLeaves },
  };
}

/** A witness's shares; null where the other party is not named. Throws InvalidError, UnavailableError. */
export async function drawSharesOf(
  options: Options,
  seed: Uint8Array,
  logger: Logger,
): Promise<DrawShares | null> {
  const party = drawParties.find((one) => one === options.text("party"));
  const keys = drawKeys(options);
  if (keys.size === 0) return null;
  const otherKey = keys.get(party === "a" ? "b" : "a");
  if (party === undefined || otherKey === undefined) {
    throw new InvalidError(
      "options.value",
      "--draw-key names the other one of the parties a and b",
    );
  }
  const path = join(options.text("data"), "draw-shares");
  const key = deriveKey(secretKey(seed), noSalt, "weir draw shares/1");
  const file = await openSecretFile({ path, key, random: systemRandom });
  return DrawShares.open({
    party,
    key: drawKeyOf(seed),
    otherKey,
    file,
    random: systemRandom,
    logger,
  });
}

/** The routes of the draw beside add-checkpoint. */
export function drawRoutes(shares: DrawShares | null, view: WitnessView): WitnessRoute[] {
  if (shares === null) return [];
  return [
    { path: "/draw/open", bodyMax: 4096, handle: (body) => shares.onOpen(view, body) },
    { path: "/draw/secret", bodyMax: 4096, handle: (body) => shares.onSecret(view, body) },
  ];
}

export interface WatchedDraws {
  readonly gateways: ReadonlyMap<string, WatchedDraw>;
  readonly rules: OmissionRules;
}

/** The gateways whose coins a recomputer recomputes; undefined where no log is named. Throws InvalidError. */
export function watchedDrawsOf(options: Options): WatchedDraws | undefined {
  const logs = vkeysOf(options, "log", "note");
  if (logs.size === 0) return undefined;
  const witnesses = [...vkeysOf(options, "witness", "cosignature").values()];
  const { roundMs, roundLeaves } = roundsOf(options);
  return {
    gateways: new Map([...logs].map(([name, log]) => [name, { log, witnesses }])),
    rules: {
      ...defaultOmissionRules,
      epsilonMin: options.number("epsilonMin", 0, 1),
      graceMs: 1000 * options.number("omittedSeconds", 1, 86_400),
      // Beyond what a gateway whose parties are away allows itself.
      lateEntries: 8 * roundLeaves,
      lateMs: 12 * roundMs,
      silentMs: 12 * roundMs,
    },
  };
}
