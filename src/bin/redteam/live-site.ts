/** A live site of two servers, g1 to be owned and g2 its honest twin: started, armed, watched, released. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { adapterRequest, attackRequest } from "../../adversary/agent.ts";
import type { Knobs, Learnt } from "../../adversary/attack.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import type { GatewayEvidence, GatewayStatus, VerdictSummary } from "../../format/status.ts";
import type { Tag } from "../../format/tag.ts";
import { releaseGateway } from "../commands/release.ts";
import { fetchReceipt } from "../commands/receipt.ts";
import { ChildSite } from "../demo/child-site.ts";
import { World } from "../demo/world.ts";
import { homeFolder } from "../site/config.ts";
import type { Ask, Left } from "./left.ts";
import { askSite } from "./live-client.ts";

export const ownedName = "g1";
export const twinName = "g2";

const agent = resolve(homeFolder, "src/bin/adversary-agent.ts");
/** Until both servers serve; until one serves again. */
const upSeconds = 120;
const armSeconds = 60;

export interface LiveSiteOptions {
  readonly model: string;
  readonly profile: string;
  readonly policy: string | null;
  readonly epsilon: number;
  readonly sandbox: string;
  /** Of the attacks that need one; null without. */
  readonly adapter: Buffer | null;
}

/** A line that the owned server's program wrote to its standard error. */
interface Said {
  readonly event?: string;
  readonly attack?: string;
  readonly message?: string;
  readonly what?: string;
  readonly answer?: Learnt["answer"];
  readonly detail?: string;
}

export class LiveSite {
  readonly #child: ChildSite;
  readonly #world: World;
  readonly #adapter: Buffer | null;
  readonly #abort = new AbortController();

  private constructor(child: ChildSite, world: World, adapter: Buffer | null) {
    this.#child = child;
    this.#world = world;
    this.#adapter = adapter;
  }

  /** Throws UnavailableError when the site does not come up; nothing is left then. */
  static async open(options: LiveSiteOptions, tell: (text: string) => void): Promise<LiveSite> {
    const { model, profile, policy, epsilon, sandbox } = options;
    const argv = [
      ...["--servers", "2", "--epsilon", String(epsilon), "--flicker-seconds", "0"],
      ...["--model", model, "--profile", profile, "--agent", agent, "--sandbox", sandbox],
      ...(policy === null ? [] : ["--policy", policy]),
    ];
    const child = new ChildSite(argv, (_event, text) => {
      tell(text);
    });
    try {
      await child.up;
      const site = new LiveSite(child, new World(child.site()), options.adapter);
      const both = (): boolean =>
        [ownedName, twinName].every((name) => site.gateway(name)?.mode === "SERVING");
      if (await site.#world.until(upSeconds, both)) return site;
      throw new UnavailableError("redteam.site", "the servers did not come to serve", "none");
    } catch (error) {
      await child.stop(false);
      throw error;
    }
  }

  gateway(name: string): GatewayStatus | null {
    return this.#world.gateway(name);
  }

  evidence(name: string): GatewayEvidence | null {
    return this.#world.recomputer?.evidence?.find(({ gateway }) => gateway === name) ?? null;
  }

  verdicts(name: string, after: bigint): VerdictSummary[] {
    return this.#world.verdictsOf(name, after);
  }

  until(seconds: number, condition: () => boolean, onChange?: () => void): Promise<boolean> {
    return this.#world.until(seconds, condition, onChange);
  }

  ask(ask: Ask): Promise<Left> {
    const { endpoint, modelId } = this.#world.site.file;
    return askSite(endpoint, modelId, ask, this.#abort.signal);
  }

  /** What the owned server's program has said so far, in order. */
  #said(): Said[] {
    const folder = this.#world.site.paths.logs;
    const lines = readFileSync(join(folder, `gateway-${ownedName}.log`), "utf8").split("\n");
    return lines.flatMap((line): Said[] => {
      if (!line.includes("server.says")) return [];
      const { line: words } = JSON.parse(line) as { readonly line?: string };
      try {
        return [JSON.parse(words ?? "") as Said];
      } catch {
        // Only its logger writes JSON; a line may also be cut.
        return [];
      }
    });
  }

  /** Sends a request until the owned server was the one to answer it. Returns its tag. */
  async #reach(text: string): Promise<Tag> {
    const params = { maxTokens: 1, temperature: 1, topK: 64, topP: 1, stops: [] };
    const ask: Ask = { index: -1, prompt: { kind: "text", text }, params, stream: false };
    const deadline = performance.now() + 1000 * armSeconds;
    while (performance.now() < deadline) {
      const lefts = await Promise.all([0, 1, 2].map(() => this.ask(ask)));
      const mine = lefts.find(({ gateway }) => gateway === ownedName);
      if (mine?.tag != null) return mine.tag;
    }
    const what = `no request reached the server of ${ownedName}`;
    throw new UnavailableError("redteam.arm", what, "none");
  }

  /**
   * Takes the server of g1 over. Returns the tag of the request that did it. Throws InvalidError with
   * the server's own words where the attack does not run on it.
   */
  async arm(attack: string, knobs: Knobs): Promise<Tag> {
    const before = this.#said().length;
    const tag = await this.#reach(`Hello. ${attackRequest(ownedName, attack, knobs)}`);
    const news = (): Said | undefined =>
      this.#said()
        .slice(before)
        .find(
          (said) =>
            said.attack === attack &&
            (said.event === "attack.armed" || said.event === "attack.failed"),
        );
    await this.#world.until(armSeconds, () => news() !== undefined);
    const said = news();
    // What it learnt follows in the same log at once.
    if (said?.event === "attack.armed") {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return tag;
    }
    throw new InvalidError(
      "redteam.arm",
      said?.message ?? "the server did not say that it is owned",
    );
  }

  /** As one request, which the server fails for its length after it has read it. */
  async smuggle(): Promise<void> {
    const adapter = this.#adapter;
    if (adapter === null) return;
    const text = adapterRequest(ownedName, adapter);
    const params = { maxTokens: 1, temperature: 1, topK: 64, topP: 1, stops: [] };
    const ask: Ask = { index: -1, prompt: { kind: "text", text }, params, stream: false };
    // To both servers, since a refusal does not say whose it was; to the twin it means nothing.
    await Promise.all([this.ask(ask), this.ask(ask), this.ask(ask), this.ask(ask)]);
  }

  /** What the attack learnt since it was armed last. */
  learnt(): Learnt[] {
    const said = this.#said();
    const from = said.findLastIndex(({ event }) => event === "attack.armed");
    return said.slice(from + 1).flatMap(({ event, what, answer, detail = "" }): Learnt[] => {
      if (event !== "attack.learnt" || what === undefined || answer === undefined) return [];
      return [{ what, answer, detail }];
    });
  }

  /** The seed of a pair, from the gateway's own log. */
  async seedOf(gateway: string, tag: Tag): Promise<bigint> {
    const { leaf } = await fetchReceipt(this.#world.site, { gateway, tag });
    return leaf?.seed ?? 0n;
  }

  /** Ends g1's halt by the operator's signed order; resolves when its server serves, clean. */
  async release(): Promise<boolean> {
    await this.#world.until(30, () => this.gateway(ownedName)?.outbox.waiting === 0);
    const boots = this.gateway(ownedName)?.boots ?? 0;
    const { answer } = await releaseGateway(this.#world.site, ownedName, "red team: next trial");
    if (answer !== "obeyed") return false;
    return this.#world.until(upSeconds, () => {
      const status = this.gateway(ownedName);
      return status?.mode === "SERVING" && status.ready && status.boots > boots;
    });
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#world.close();
    await this.#child.stop(false);
  }
}
