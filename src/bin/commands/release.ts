/** `weir release`: the operator's signed order that ends what an order has laid on a gateway. */
import { randomBytes } from "node:crypto";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import { frameType } from "../../format/link.ts";
import { sealOrder } from "../../format/order.ts";
import { ask, askStatus, roleOf } from "../site/client.ts";
import { UsageError } from "../site/arguments.ts";
import { readSigningKey } from "../site/keys.ts";
import { plain } from "../site/screen.ts";
import { runningSite, type Site } from "../site/site-file.ts";
import { commonHelp, print, printJson, runSiteCommand } from "./common.ts";

const help = `Usage: weir release GATEWAY [OPTIONS]

Signs an order with the operator's key that ends the oldest halt of a gateway, or where it is not
halted its quarantine, or its raised epsilon. A gateway without any halt left then powers its server up from
nothing, and the evidence against it begins again. The order names that one order and cannot be used again.
Where several halts stand, each is released by itself: power stays off until none does.

  --reason TEXT   why, for the record
${commonHelp}`;

interface Standing {
  readonly digest: string;
  readonly reason: string;
  /** Halts that stand besides this one. */
  readonly others: number;
}

/** The hardest order a gateway stands under, of several halts the oldest. Throws InvalidError when there is none. */
async function haltOf(site: Site, gateway: string): Promise<Standing> {
  const status = await askStatus(site, roleOf(site, "gateway", gateway));
  if (status.role === "gateway") {
    const { halted, quarantine, sampling } = status;
    const standing = halted ?? quarantine ?? null;
    const others = (halted?.standing ?? 1) - 1;
    if (standing !== null) return { digest: standing.digest, reason: standing.reason, others };
    if (sampling !== undefined && sampling.order !== "") {
      const reason = "more of its pairs were recomputed, by order";
      return { digest: sampling.order, reason, others: 0 };
    }
  }
  const what = `gateway ${gateway} is not halted, nor held otherwise`;
  throw new InvalidError("release.not-halted", what);
}

/** Ends the oldest halt of `gateway`. Returns what it answered, and the halt that it ended. */
export async function releaseGateway(
  site: Site,
  gateway: string,
  reason: string,
): Promise<{ answer: string; halt: Standing }> {
  const halt = await haltOf(site, gateway);
  const order = sealOrder(
    {
      action: "release",
      gateway,
      halt: halt.digest,
      reason,
      issuedMs: Date.now(),
      nonce: randomBytes(16).toString("hex"),
    },
    readSigningKey(site.paths.keys, "operator"),
  );
  const question = { type: frameType.order, payload: order };
  const role = roleOf(site, "gateway", gateway);
  const answer = await ask(site, role, question, frameType.orderResult);
  return { answer: answer.toString(), halt };
}

/** `weir release`. */
export function runRelease(argv: string[]): Promise<number> {
  return runSiteCommand(argv, {
    help,
    options: { reason: { type: "string" } },
    wordsMax: 1,
    run: async (args, folder) => {
      const [gateway] = args.words;
      if (gateway === undefined) throw new UsageError("name the gateway to release");
      const site = runningSite(folder);
      const reason = args.text("reason") ?? "released by the operator";
      const { answer, halt } = await releaseGateway(site, gateway, reason);
      if (args.flag("json")) printJson({ gateway, halt, answer });
      else if (answer === "obeyed") {
        const { reason: stood, others } = halt;
        const more =
          others > 0 ? `Still halted: ${others} more stand, each to be released by itself.\n` : "";
        print(`${gateway} released. What stood: ${plain(stood)}\n${more}`);
      }
      if (answer === "obeyed") return 0;
      throw new UnavailableError(
        "release.refused",
        `${gateway} did not release: ${plain(answer)}`,
        "none",
      );
    },
  });
}
