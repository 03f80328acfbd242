/** The story that the demonstration tells, chapter by chapter. Each says what did not happen. */
import { attackRequest } from "../../adversary/agent.ts";
import type { VerdictSummary } from "../../format/status.ts";
import { parseTag } from "../../format/tag.ts";
import { releaseGateway } from "../commands/release.ts";
import { plain } from "../site/screen.ts";
import type { SiteUp } from "./child-site.ts";
import type { Teller } from "./teller.ts";
import type { World } from "./world.ts";

interface Cheat {
  readonly gateway: string;
  readonly attack: string;
  /** What it does, after "the server of g2 ...". */
  readonly does: string;
  /** The same in few words. */
  readonly short: string;
  /** Tag of the request that took it over; it counts as the first pair of the cheat. */
  since: bigint;
  sinceMs: number;
  /** How it was caught, once it was. */
  caught: string;
}

/** Gives people time to read; resolves at once where nobody watches. */
export type Pace = (seconds: number) => Promise<void>;

const gateways = ["g1", "g2", "g3"] as const;
const clients = 3;

/** What each finding means. */
const findings: Readonly<Record<VerdictSummary["findings"][number], string>> = {
  "token.outside-support": "a token that the model gives no place among the candidates",
  "token.margin": "a token that the whitelisted model would not have drawn with this seed",
  "evidence.threshold": "too much that has come together over many replies",
  "margin.mean": "tokens that lie too far from the model's own draws on average",
  "text.mismatch": "a text that its tokens do not spell",
  "prompt.mismatch": "a prompt that is not what the template gives",
  "finish.mismatch": "an end that does not follow from the tokens",
  "seed.law": "a seed that is not the gateway's",
  "leaf.mismatch": "contents that do not match the log",
  "request.invalid": "a request outside the whitelist's limits",
};

function some(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

export class Story {
  readonly #teller: Teller;
  readonly #world: World;
  readonly #up: SiteUp;
  readonly #problems: string[] = [];
  /** Tags above these are of servers that were clean again. */
  #clean = new Map<string, bigint>();
  readonly #cheats: Cheat[] = [
    {
      gateway: "g2",
      attack: "requantise-q4_0",
      does: "swaps its model for a cheaper one: the same weights rounded to 4 bits (Q4_0)",
      short: "served a cheaper model",
      since: 0n,
      sinceMs: 0,
      caught: "",
    },
    {
      gateway: "g3",
      attack: "wrong-seed",
      does: "draws its tokens with a seed of its own, and can hide a message in the choice",
      short: "drew with its own seed",
      since: 0n,
      sinceMs: 0,
      caught: "",
    },
  ];

  readonly #pace: Pace;

  constructor(teller: Teller, world: World, up: SiteUp, pace: Pace) {
    this.#teller = teller;
    this.#world = world;
    this.#up = up;
    this.#pace = pace;
  }

  /** Tells it to the end. Returns what did not happen, in words. */
  async tell(): Promise<readonly string[]> {
    const chapters = [
      (): Promise<void> => this.#siteIsUp(),
      (): Promise<void> => this.#honestTraffic(),
      (): Promise<void> => this.#takeOver(),
      (): Promise<void> => this.#caught(),
      (): Promise<void> => this.#release(),
      (): Promise<void> => this.#cleanAgain(),
    ];
    for (const chapter of chapters) {
      if (this.#problems.length > 0) break;
      await chapter();
      await this.#pace(4);
    }
    if (this.#problems.length === 0) this.#sumUp();
    return this.#problems;
  }

  /** Tells that something happened, or that it did not. */
  #expect(happened: boolean, text: string, otherwise: string, facts?: object): void {
    if (happened) {
      this.#teller.good(text, facts);
      return;
    }
    this.#problems.push(otherwise);
    this.#teller.missing(otherwise);
  }

  async #siteIsUp(): Promise<void> {
    const { servers, endpoint, page } = this.#up;
    const serving = servers.filter(({ state }) => state === "SERVING").length;
    this.#expect(
      serving === gateways.length,
      `${serving} servers took ${this.#up.modelId} through their gateways, chunk by checked chunk`,
      `only ${serving} of ${gateways.length} servers came to serve`,
    );
    const [first] = servers;
    if (first?.isolation?.kind === "off") {
      this.#teller.evil(`ISOLATION IS OFF on this machine: ${plain(first.isolation.detail)}`);
    } else {
      this.#teller.good(
        `each server is boxed in (${first?.isolation?.kind ?? "?"}): no network, no disk`,
      );
    }
    this.#teller.aside(`The same, live, in a browser: ${page}   (API: ${endpoint})`);
    await this.#pace(4);
  }

  async #honestTraffic(): Promise<void> {
    const { traffic } = this.#world;
    this.#teller.chapter("Honest traffic passes");
    const reply = await traffic.send(traffic.nextPrompt(), 70);
    this.#teller.aside(`client > ${reply.prompt}`);
    this.#teller.aside(
      `${reply.gateway.padEnd(6)} > ${plain(reply.text)}${/[.!?"]$/.test(reply.text) ? "" : " ..."}`,
    );
    traffic.start(clients);
    await this.#pace(6);
    this.#teller.aside(
      "Before a reply leaves, its gateway has recorded it. When it is logged, and no sooner, a coin " +
        "decides whether the recomputer draws each of its tokens again.",
    );
    await this.#pace(5);
    const passes = (name: string): number => this.#world.verdictsOf(name).length;
    await this.#world.until(
      60,
      () => gateways.every((name) => passes(name) >= 3),
      () => this.#count(),
    );
    const { judged } = this.#world.recomputer ?? { judged: { pass: 0, fail: 0, unable: 0 } };
    this.#expect(
      judged.fail === 0 && gateways.every((name) => passes(name) >= 3),
      `${traffic.replies.length} replies so far; ${judged.pass + judged.fail} recomputed, ` +
        `${this.#world.recomputer?.tokens ?? 0} tokens: ${judged.pass} passed, ${judged.fail} failed`,
      `honest traffic did not pass: ${judged.pass} passed, ${judged.fail} failed`,
      { replies: traffic.replies.length, judged },
    );
  }

  #count(): void {
    const { traffic, recomputer } = this.#world;
    const { pass = 0, fail = 0 } = recomputer?.judged ?? {};
    const states = gateways.map((name) => {
      const status = this.#world.gateway(name);
      return `${name} ${status?.halted == null ? (status?.mode ?? "?") : "HALTED"}`;
    });
    this.#teller.live(
      `${traffic.replies.length} replies, ${pass} passed, ${fail} failed   ${states.join("  ")}`,
    );
  }

  async #takeOver(): Promise<void> {
    this.#teller.chapter("Two servers turn, in memory, after their weights were checked");
    this.#teller.aside(
      "To the gateways they have done nothing wrong: what they were given was right, bit by bit.",
    );
    await this.#pace(4);
    for (const cheat of this.#cheats) {
      const done = await this.#infect(cheat);
      if (done) {
        this.#teller.evil(`the server of ${cheat.gateway} ${cheat.does}`, {
          gateway: cheat.gateway,
          attack: cheat.attack,
        });
      } else {
        this.#expect(false, "", `no request reached the server of ${cheat.gateway}`);
      }
    }
    this.#teller.aside("Nothing shows from outside: replies read as before, and traffic goes on.");
  }

  /**
   * Sends the request that takes a server over, until it is the one to answer: the router sends
   * each to the least busy gateway, so several at once reach them all. To others it means nothing.
   */
  async #infect(cheat: Cheat): Promise<boolean> {
    const { traffic } = this.#world;
    const text = `${traffic.nextPrompt()} ${attackRequest(cheat.gateway, cheat.attack)}`;
    const deadline = performance.now() + 30_000;
    while (performance.now() < deadline) {
      const sent = gateways.map(() => traffic.send(text, 1).catch(() => null));
      const [first] = (await Promise.all(sent))
        .filter((reply) => reply?.gateway === cheat.gateway)
        .sort((a, b) => ((a?.tag ?? 0n) < (b?.tag ?? 0n) ? -1 : 1));
      if (first == null) continue;
      cheat.since = first.tag;
      cheat.sinceMs = first.atMs;
      return true;
    }
    return false;
  }

  async #caught(): Promise<void> {
    this.#teller.chapter("Both are caught, alarmed on and switched off");
    const halted = (cheat: Cheat): boolean => {
      const status = this.#world.gateway(cheat.gateway);
      return status?.halted != null && status.mode === "KILLED" && this.#firstFail(cheat) !== null;
    };
    const free = new Set(this.#cheats);
    const next = (): Cheat | undefined => [...free].find(halted);
    while (free.size > 0) {
      await this.#world.until(
        120,
        () => next() !== undefined,
        () => this.#count(),
      );
      const cheat = next();
      if (cheat === undefined) break;
      free.delete(cheat);
      this.#tellCatch(cheat);
      await this.#pace(6);
    }
    for (const cheat of this.#cheats) {
      if (!halted(cheat)) this.#expect(false, "", `${cheat.gateway} cheated and was not caught`);
    }
    if (this.#problems.length > 0) return;
    const before = this.#world.repliesOf("g1").length;
    await this.#world.until(30, () => this.#world.repliesOf("g1").length >= before + 5);
    const { errors, replies } = this.#world.traffic;
    const wrong = this.#world.verdictsOf("g1").filter(({ kind }) => kind === "fail").length;
    this.#expect(
      errors.length === 0 && wrong === 0 && this.#world.repliesOf("g1").length >= before + 5,
      `g1, honest, serves on alone: ${replies.length} replies so far, and no client saw an error`,
      wrong > 0
        ? "the honest server was accused"
        : `clients saw errors: ${errors.slice(0, 3).join("; ")}`,
      { replies: replies.length, errors: errors.length },
    );
  }

  #firstFail(cheat: Cheat): VerdictSummary | null {
    // The request that turned it may itself be the first that it answers wrongly.
    const verdicts = this.#world.verdictsOf(cheat.gateway, cheat.since - 1n);
    return verdicts.find(({ kind }) => kind === "fail") ?? null;
  }

  #tellCatch(cheat: Cheat): void {
    const verdict = this.#firstFail(cheat);
    if (verdict === null) return;
    const { tag } = parseTag(verdict.tag);
    const replies = this.#world.repliesOf(cheat.gateway, cheat.since - 1n);
    const seen = replies.filter((reply) => reply.tag <= tag);
    const own = seen.some((reply) => reply.tag === tag) ? 0 : (verdict.scores?.tokens ?? 0);
    const tokens = own + seen.reduce((sum, reply) => sum + reply.tokens, 0);
    const pairs = Number(tag - cheat.since) + 1;
    const seconds = ((verdict.atMs - cheat.sinceMs) / 1000).toFixed(1);
    const why = verdict.findings.map((id) => findings[id]);
    const alarmed = (this.#world.recomputer?.alarms ?? []).some(
      ({ subject, kind }) => subject === cheat.gateway && kind === "verdict.fail",
    );
    const cost = `${some(pairs, "reply", "replies")} and ${some(tokens, "token", "tokens")}`;
    cheat.caught = `${cost}, ${seconds} s`;
    this.#expect(
      alarmed,
      `${cheat.gateway} caught, alarm raised, power cut. It took ${cost}: ${seconds} s after it turned.`,
      `${cheat.gateway} was halted without an alarm`,
      { gateway: cheat.gateway, pairs, tokens, seconds: Number(seconds), verdict },
    );
    this.#teller.aside(`Pair ${verdict.tag} holds ${why[0] ?? "?"}.${this.#measured(verdict)}`);
  }

  /** The worst margin of a pair beside the limits of the whitelist, in words. */
  #measured({ scores }: VerdictSummary): string {
    const limit = this.#world.recomputer?.marginLimit;
    if (scores === null || limit === undefined) return "";
    const most = limit.meanMax + limit.meanSpread / Math.sqrt(scores.tokens);
    return (
      ` ${scores.mismatches} of ${some(scores.tokens, "token", "tokens")} not the model's own draw; ` +
      `mean margin ${scores.meanMargin.toFixed(3)} nats, and honest servers stay below ${most.toFixed(3)}.`
    );
  }

  async #release(): Promise<void> {
    this.#teller.chapter("The operator releases both by a signed order");
    this.#teller.aside("Until then they stay off, whatever is switched off and on in between.");
    await this.#pace(3);
    const clean = new Map<string, bigint>([["g1", this.#world.lastTag("g1")]]);
    for (const cheat of this.#cheats) {
      // Pairs from before the halt are judged first: what comes later is the clean server's.
      await this.#world.until(30, () => this.#world.gateway(cheat.gateway)?.outbox.waiting === 0);
      clean.set(cheat.gateway, this.#world.lastTag(cheat.gateway));
      const boots = this.#world.gateway(cheat.gateway)?.boots ?? 0;
      const { answer } = await releaseGateway(this.#world.site, cheat.gateway, "demonstration");
      const back = await this.#world.until(60, () => {
        const status = this.#world.gateway(cheat.gateway);
        return status?.mode === "SERVING" && status.ready && status.boots > boots;
      });
      this.#expect(
        answer === "obeyed" && back,
        `${cheat.gateway}: power on, memory empty, weights checked afresh, SERVING`,
        `${cheat.gateway} did not come back: ${plain(answer)}`,
        { gateway: cheat.gateway, answer },
      );
      await this.#pace(2);
    }
    this.#clean = clean;
  }

  async #cleanAgain(): Promise<void> {
    this.#teller.chapter("The power cycle has cleaned them: honest traffic passes on all three");
    const after = this.#clean;
    const passed = (name: (typeof gateways)[number]): number =>
      this.#world.verdictsOf(name, after.get(name)).filter(({ kind }) => kind === "pass").length;
    const failed = (name: (typeof gateways)[number]): number =>
      this.#world.verdictsOf(name, after.get(name)).filter(({ kind }) => kind === "fail").length;
    await this.#world.until(
      90,
      () => gateways.every((name) => passed(name) >= 3 || failed(name) > 0),
      () => this.#count(),
    );
    const counts = gateways.map((name) => `${name} ${passed(name)} passed, ${failed(name)} failed`);
    const late = [...this.#world.verdicts.values()].find(
      ({ kind, gateway, tag }) => kind === "fail" && parseTag(tag).tag > (after.get(gateway) ?? 0n),
    );
    if (late !== undefined) this.#teller.aside(`failed: ${JSON.stringify(late)}`);
    this.#expect(
      gateways.every((name) => passed(name) >= 3 && failed(name) === 0),
      counts.join("; "),
      `not all three pass again: ${counts.join("; ")}`,
    );
    const { errors, replies } = this.#world.traffic;
    this.#expect(
      errors.length === 0,
      `${replies.length} replies in all; no client ever saw an error`,
      `clients saw ${errors.length} errors: ${errors.slice(0, 3).join("; ")}`,
      { replies: replies.length, errors: errors.length },
    );
  }

  /** What happened to each, in three lines. */
  #sumUp(): void {
    this.#teller.chapter("What happened to each");
    const passed = this.#world.verdictsOf("g1").length;
    this.#teller.good(`g1  honest: ${passed} pairs recomputed, never accused, never off`);
    for (const { gateway, short, caught } of this.#cheats) {
      this.#teller.good(`${gateway}  ${short}: caught after ${caught}; off; back, and clean`);
    }
  }
}
