/** `weir receipt`: what the site holds about one reply, with its place in the log checked here. */
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { equalBytes, fromHex } from "../../base/bytes.ts";
import { leafHash, verifyInclusion } from "../../base/merkle.ts";
import { decodeLeaf, leafBytes, type Leaf } from "../../format/leaf.ts";
import { parseCheckpoint } from "../../format/checkpoint.ts";
import { frameType } from "../../format/link.ts";
import type { Receipt, VerdictInfo } from "../../format/status.ts";
import { formatTag, parseTag, type NamedTag } from "../../format/tag.ts";
import { parseNote } from "../../format/note.ts";
import { parseTlogProof } from "../../format/tlog-proof.ts";
import { ask, roleOf } from "../site/client.ts";
import { UsageError } from "../site/arguments.ts";
import { plain, styleFor, table } from "../site/screen.ts";
import { runningSite, type Site } from "../site/site-file.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir receipt TAG [OPTIONS]

Shows what the site holds about one reply: its leaf in the gateway's log, whether it was chosen for
recomputation, and the verdict. TAG is the reply's tag (g1.0000010000000001) or its whole id
(chatcmpl-g1.0000010000000001). The leaf's place in the log is verified on this machine.

${commonHelp}`;

const states: Readonly<Record<Receipt["state"], string>> = {
  unknown: "the gateway knows no such pair",
  open: "not complete yet",
  logged: "logged; the coin has not been drawn yet",
  "not-kept": "logged; the coin did not choose it for recomputation",
  kept: "logged and chosen; waiting for its verdict",
  judged: "logged, chosen, recomputed and judged",
};

export interface CheckedReceipt {
  readonly receipt: Receipt;
  /** Null when the pair is not in the log. */
  readonly leaf: Leaf | null;
  readonly verdict: VerdictInfo | null;
}

/**
 * Checks that the leaf is this tag's and lies in the log where the receipt says. Throws
 * InvalidError `receipt.*` or `merkle.inclusion`.
 */
export function checkReceipt(receipt: Receipt, tag: NamedTag): Leaf | null {
  if (receipt.leafHex === null || receipt.leafIndex === null) return null;
  const bytes = fromHex(receipt.leafHex, leafBytes);
  const leaf = decodeLeaf(bytes);
  if (leaf.tag !== tag.tag) {
    throw new InvalidError("receipt.tag", "the gateway answered with the leaf of another pair");
  }
  const hash = leafHash(bytes);
  if (receipt.leafHash !== null && !equalBytes(hash, fromHex(receipt.leafHash, 32))) {
    throw new InvalidError("receipt.hash", "the leaf does not hash to the receipt's leaf hash");
  }
  const proof = receipt.proof.map((step) => fromHex(step, 32));
  const root = fromHex(receipt.logRoot, 32);
  verifyInclusion(hash, receipt.leafIndex, receipt.logSize, proof, root);
  return leaf;
}

async function verdictOf(site: Site, text: string): Promise<VerdictInfo | null> {
  const question = { type: frameType.verdictAsk, payload: Buffer.from(text) };
  try {
    const answer = await ask(site, roleOf(site, "recomputer"), question, frameType.verdictInfo);
    return JSON.parse(answer.toString()) as VerdictInfo;
  } catch (error) {
    if (error instanceof UnavailableError) return null;
    throw error;
  }
}

/** Asks gateway and recomputer about a tag, and checks what can be checked. */
export async function fetchReceipt(site: Site, tag: NamedTag): Promise<CheckedReceipt> {
  const text = formatTag(tag.gateway, tag.tag);
  const question = { type: frameType.receiptAsk, payload: Buffer.from(text) };
  const gateway = roleOf(site, "gateway", tag.gateway);
  const answer = await ask(site, gateway, question, frameType.receipt);
  const receipt = JSON.parse(answer.toString()) as Receipt;
  const leaf = checkReceipt(receipt, tag);
  const chosen = receipt.state === "kept" || receipt.state === "judged";
  return { receipt, leaf, verdict: chosen ? await verdictOf(site, text) : null };
}

function leafRows(leaf: Leaf): string[][] {
  return [
    ["Completed", new Date(leaf.completedMs).toISOString()],
    ["Finished by", leaf.finish],
    ["Tokens", String(leaf.tokens)],
    ["Seed", leaf.seed.toString(16).padStart(16, "0")],
    ["Model entry", leaf.entryDigest.toString("hex")],
    ["Input SHA-256", leaf.inputDigest.toString("hex")],
    ["Output SHA-256", leaf.outputDigest.toString("hex")],
  ];
}

function leafJson(leaf: Leaf): object {
  return {
    completedMs: leaf.completedMs,
    finish: leaf.finish,
    tokens: leaf.tokens,
    seed: leaf.seed.toString(16).padStart(16, "0"),
    entryDigest: leaf.entryDigest.toString("hex"),
    inputDigest: leaf.inputDigest.toString("hex"),
    outputDigest: leaf.outputDigest.toString("hex"),
  };
}

/** Who cosigned a tree with this leaf; their signatures are checked by `weir audit`, against keys of one's own. */
function witnessesText({ tlogProof }: Receipt): string {
  if (tlogProof === undefined || tlogProof === null) return "not cosigned by both parties yet";
  const note = parseNote(parseTlogProof(Buffer.from(tlogProof)).checkpoint);
  const size = parseCheckpoint(note.text).size;
  const names = note.signatures.slice(1).map(({ name }) => plain(name));
  return `tree of ${size} entries, cosigned by ${names.join(" and ")} (--json prints the proof)`;
}

function verdictRows(info: VerdictInfo | null): string[][] {
  const verdict = info?.verdict ?? null;
  if (info === null || verdict === null) return [];
  const style = styleFor(process.stdout);
  const paint = { pass: style.green, fail: style.red, unable: style.yellow }[verdict.kind];
  const { scores } = verdict;
  return [
    ["Verdict", paint(verdict.kind.toUpperCase())],
    ...info.evidence.map((line) => ["", plain(line)]),
    ...(scores === null
      ? []
      : [
          [
            "Scores",
            `${scores.tokens} tokens, ${scores.mismatches} differ from the reference's own draw, ` +
              `mean margin ${scores.meanMargin.toFixed(6)}, largest ${scores.maxMargin.toFixed(4)} nats`,
          ],
        ]),
  ];
}

function show({ receipt, leaf, verdict }: CheckedReceipt): void {
  const style = styleFor(process.stdout);
  const rows = [
    ["Tag", plain(receipt.tag)],
    ["State", states[receipt.state]],
  ];
  if (leaf !== null) {
    const place = `leaf ${receipt.leafIndex ?? "?"} of ${receipt.logSize}, ${style.green("inclusion verified here")}`;
    rows.push(["Log", place], ["Log root", receipt.logRoot], ["Witnesses", witnessesText(receipt)]);
    rows.push(...leafRows(leaf));
  }
  print(table([...rows, ...verdictRows(verdict)]));
}

/** `weir receipt`. Exit code 1 for a tag that the gateway does not know. */
export function runReceipt(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    wordsMax: 1,
    run: async (args, folder) => {
      const [text] = args.words;
      if (text === undefined) throw new UsageError("name the tag or id of a reply");
      const tag = parseTag(text);
      const checked = await fetchReceipt(runningSite(folder), tag);
      if (args.flag("json")) {
        const { receipt, leaf, verdict } = checked;
        const shown = leaf === null ? null : leafJson(leaf);
        printJson({ receipt, inclusionVerified: leaf !== null, leaf: shown, verdict });
      } else show(checked);
      return checked.receipt.state === "unknown" ? 1 : 0;
    },
  });
}
