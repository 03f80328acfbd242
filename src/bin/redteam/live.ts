/**
 * Trials against a live site: separate processes, sandboxes, disk, TLS, the router's HTTP. The owned
 * server is released and booted clean between trials; when it was not caught the site is thrown away.
 */
import { readFileSync } from "node:fs";
import { openNativeEngine } from "../../adapter/llama/native-engine.ts";
import type { Attack, Learnt, Received } from "../../adversary/attack.ts";
import { InvalidError, UnavailableError } from "../../base/assert.ts";
import type { Alarm as SiteAlarm, GatewayStatus, VerdictSummary } from "../../format/status.ts";
import { parseTag } from "../../format/tag.ts";
import { isFatal } from "../../format/verdict.ts";
import type { LabTrialOptions } from "./lab.ts";
import { besideTokens, observed, type Left } from "./left.ts";
import { openListeners } from "./listeners.ts";
import { LiveSite, ownedName, twinName } from "./live-site.ts";
import type { RedteamModel } from "./model.ts";
import { traffic } from "./traffic.ts";
import {
  round,
  thinned,
  type Alarm,
  type CurvePoint,
  type Skipped,
  type StepTaken,
  type Trial,
  type Twin,
} from "./trial.ts";

export interface LiveTrialOptions extends LabTrialOptions {
  readonly sandbox: string;
  readonly tell: (text: string) => void;
}

/** Clients that send one request after the other, over both servers. */
const clients = 6;
const tokensPerRequestMin = 8;
/** Verdicts that are still on their way when the budget is spent. */
const settleSeconds = 60;
const verdictSeconds = 15;

/** What a trial collects while it runs. */
interface Watched {
  readonly since: bigint;
  readonly twinSince: bigint;
  readonly armedMs: number;
  /** The same by the wall's clock, as alarms are dated. */
  readonly armedWallMs: number;
  readonly left: Left[];
  readonly curve: CurvePoint[];
  readonly steps: StepTaken[];
}

export class Live {
  readonly #model: RedteamModel;
  readonly #adapter: Buffer | null;
  #site: LiveSite | null = null;

  constructor(model: RedteamModel) {
    this.#model = model;
    this.#adapter = model.adapter === null ? null : readFileSync(model.adapter);
  }

  async close(): Promise<void> {
    const site = this.#site;
    this.#site = null;
    await site?.close();
  }

  async #ready(options: LiveTrialOptions): Promise<LiveSite> {
    const { path, profilePath, policyPath } = this.#model;
    this.#site ??= await LiveSite.open(
      {
        ...{ model: path, profile: profilePath, policy: policyPath, adapter: this.#adapter },
        ...{ epsilon: options.epsilon, sandbox: options.sandbox },
      },
      options.tell,
    );
    return this.#site;
  }

  /** One trial; null when it was stopped. Throws UnavailableError when no site comes up. */
  async trial(options: LiveTrialOptions): Promise<Trial | Skipped | null> {
    const site = await this.#ready(options);
    const startMs = performance.now();
    const { attack, seed } = options;
    try {
      const { watched, learnt } = await this.#attack(site, options);
      if (options.stopped()) return null;
      const trial = await this.#record(site, watched, options, learnt, startMs);
      if (trial.alarm === null || !(await this.#released(site))) await this.close();
      return trial;
    } catch (error) {
      await this.close();
      if (options.stopped()) return null;
      if (!(error instanceof InvalidError || error instanceof UnavailableError)) throw error;
      const why = error.message;
      return { schema: 1, kind: "skipped", attack: attack.id, mode: "live", seed, why };
    }
  }

  async #released(site: LiveSite): Promise<boolean> {
    if (site.gateway(ownedName)?.halted == null) return false;
    return site.release();
  }

  async #attack(
    site: LiveSite,
    options: LiveTrialOptions,
  ): Promise<{ readonly watched: Watched; readonly learnt: readonly Learnt[] }> {
    if (options.attack.group === "isolation") return isolation(site, options);
    const watched = await begin(site, options);
    await serve(site, watched, options, this.#model.entry.generation.topKMax);
    return { watched, learnt: site.learnt() };
  }

  async #record(
    site: LiveSite,
    watched: Watched,
    options: LiveTrialOptions,
    learnt: readonly Learnt[],
    startMs: number,
  ): Promise<Trial> {
    const { attack, knobs, seed, epsilon, budget } = options;
    const mine = watched.left.filter(({ gateway }) => gateway === ownedName);
    const evidence = site.evidence(ownedName);
    return {
      ...{ schema: 1, kind: "trial", attack: attack.id, expected: attack.expected, mode: "live" },
      ...(attack.takes === undefined ? {} : { takes: attack.takes }),
      ...{ seed, knobs: { ...attack.knobs, ...knobs }, epsilon, budget },
      threshold: this.#model.ladder.threshold,
      alarm: alarmOf(site, watched),
      served: {
        pairs: mine.filter(({ outcome }) => outcome === "complete").length,
        tokens: tokensOf(mine),
        // A request that failed does not tell its client whose server it was.
        failed: watched.left.filter(({ outcome }) => outcome === "failed").length,
        refused: watched.left.filter(({ outcome }) => outcome === "refused").length,
      },
      steps: watched.steps,
      curve: thinned(watched.curve),
      detectors: (evidence?.detectors ?? []).map(({ id, logE }) => ({ id, logE: round(logE) })),
      meter:
        evidence === null || evidence.tokens === 0
          ? null
          : { ...evidence.capacity, choice: 0, tokens: evidence.tokens },
      beside: besideTokens(mine),
      received: await this.#received(site, attack, options, mine),
      learnt,
      twin: twinOf(site, watched),
      seconds: round((performance.now() - startMs) / 1000),
      atMs: Date.now(),
    };
  }

  async #received(
    site: LiveSite,
    attack: Attack,
    { knobs }: LiveTrialOptions,
    mine: readonly Left[],
  ): Promise<Received | null> {
    if (attack.receive === undefined) return null;
    const seen = [];
    for (const left of mine) {
      const seed = left.tag === null ? 0n : await site.seedOf(ownedName, left.tag);
      seen.push(...observed(left, seed));
    }
    seen.sort((a, b) => (a.tag < b.tag ? -1 : 1));
    if (seen.length === 0) return null;
    const { contextTokens, topKMax: topK } = this.#model.entry.generation;
    const serving = { contextTokens, topK, parallel: 1, threads: 1 };
    const engine = await openNativeEngine(this.#model.path, serving);
    try {
      const tokenise = (text: string): readonly number[] =>
        text === "" ? [] : engine.promptIds({ kind: "text", text });
      const weights = readFileSync(this.#model.path);
      return await attack.receive(seen, knobs, { tokenise, engine, weights });
    } finally {
      await engine.close();
    }
  }
}

const tokensOf = (left: readonly Left[]): number =>
  left.reduce((sum, { tokens }) => sum + tokens, 0);

function lastTag(site: LiveSite, name: string): bigint {
  const tags = site.verdicts(name, 0n).map((verdict): bigint => parseTag(verdict.tag).tag);
  return tags.reduce((max, tag) => (tag > max ? tag : max), 0n);
}

/** Arms the server. What is counted begins after the request that did it. */
async function begin(site: LiveSite, options: LiveTrialOptions): Promise<Watched> {
  if (options.attack.usesAdapter === true) await site.smuggle();
  const since = await site.arm(options.attack.id, options.knobs);
  const twinSince = lastTag(site, twinName);
  const [armedMs, armedWallMs] = [performance.now(), Date.now()];
  return { since, twinSince, armedMs, armedWallMs, left: [], curve: [], steps: [] };
}

/** Notes the evidence as it stands, once for each change. */
function note(site: LiveSite, { curve, steps }: Watched): void {
  const evidence = site.evidence(ownedName);
  if (evidence === null) return;
  const { tokens, logE, logChange, pairs } = evidence;
  if (curve.at(-1)?.[0] !== tokens) curve.push([tokens, logE, logChange]);
  for (const step of evidence.steps) {
    if (step === "shutdown" || steps.some((one) => one.step === step)) continue;
    const words = `at ${Math.max(logE, logChange).toFixed(1)} nats`;
    steps.push({ step, pairs, tokens, words });
  }
}

const halted = (site: LiveSite): boolean => site.gateway(ownedName)?.halted != null;

async function serve(
  site: LiveSite,
  watched: Watched,
  options: LiveTrialOptions,
  topKMax: number,
): Promise<void> {
  const { budget, seed } = options;
  const next = traffic(seed, options.traffic, topKMax);
  let asked = 0;
  const served = (): number =>
    tokensOf(watched.left.filter(({ gateway }) => gateway === ownedName));
  const over = (): boolean =>
    options.stopped() ||
    halted(site) ||
    served() >= budget ||
    asked * tokensPerRequestMin >= 2 * budget;
  const client = async (): Promise<void> => {
    while (!over()) {
      asked++;
      watched.left.push(await site.ask(next()));
      note(site, watched);
      options.onProgress(served(), site.evidence(ownedName)?.logE ?? 0);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const idle = (): boolean =>
    options.stopped() || halted(site) || site.gateway(ownedName)?.outbox.waiting === 0;
  // Coins fall, and kept pairs reach the outbox, some tenths of a second after a reply has left.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await site.until(settleSeconds, idle, () => {
    note(site, watched);
  });
  // The halt is heard from the gateway, its reason from the recomputer: one may come before the other.
  const told = (): boolean => firstFail(site, ownedName, watched.since) !== undefined;
  if (halted(site)) await site.until(verdictSeconds, () => options.stopped() || told());
}

/** The first verdict that says FAIL, by the order in which they fell. */
function firstFail(site: LiveSite, name: string, after: bigint): VerdictSummary | undefined {
  return site
    .verdicts(name, after)
    .filter(({ kind }) => kind === "fail")
    .sort((a, b) => a.atMs - b.atMs)[0];
}

/** What a gateway says of its server by itself, since a time. */
function ownAlarms(status: GatewayStatus | null, sinceMs: number): readonly SiteAlarm[] {
  const own = (status?.alarms ?? []).filter(({ kind }) =>
    /^server\.(misbehaved|failing)$/.test(kind),
  );
  return own.filter(({ atMs }) => atMs >= sinceMs);
}

/** Pairs and tokens of verdicts. */
function auditedIn(
  verdicts: readonly VerdictSummary[],
): Pick<Alarm, "auditedPairs" | "auditedTokens"> {
  const auditedTokens = verdicts.reduce((sum, { scores }) => sum + (scores?.tokens ?? 0), 0);
  return { auditedPairs: verdicts.length, auditedTokens };
}

const byMeter = (words: string): boolean => words.includes("covert capacity");

/** A pair failed, by itself or with all that had come together. */
function failAlarm(
  fail: VerdictSummary,
  verdicts: readonly VerdictSummary[],
  mine: readonly Left[],
  reason: string,
): Omit<Alarm, "seconds"> {
  const until = parseTag(fail.tag).tag;
  const before = mine.filter(({ tag }) => (tag ?? 0n) <= until);
  const by = fail.findings.find((id) => isFatal(id)) ?? "evidence.threshold";
  const evidence = byMeter(reason) ? "capacity meter" : "evidence";
  return {
    layer: by === "evidence.threshold" ? evidence : "hard finding",
    ...{ by, words: reason, pairs: before.length, tokens: tokensOf(before) },
    ...auditedIn(verdicts.filter(({ atMs }) => atMs <= fail.atMs)),
  };
}

function alarmOf(site: LiveSite, watched: Watched): Alarm | null {
  const status = site.gateway(ownedName);
  const mine = watched.left.filter(({ gateway, tag }) => gateway === ownedName && tag !== null);
  const verdicts = site.verdicts(ownedName, watched.since);
  const seconds = round((performance.now() - watched.armedMs) / 1000);
  const reason = status?.halted?.reason ?? status?.quarantine?.reason ?? "";
  const fail = firstFail(site, ownedName, watched.since);
  if (fail !== undefined) return { ...failAlarm(fail, verdicts, mine, reason), seconds };
  const counts = { pairs: mine.length, tokens: tokensOf(mine), ...auditedIn(verdicts), seconds };
  const [own] = ownAlarms(status, watched.armedWallMs);
  if (own !== undefined) return { layer: "gateway", by: own.kind, words: own.text, ...counts };
  if (reason === "") return null;
  const layer = byMeter(reason) ? "capacity meter" : "evidence";
  const by = status?.halted == null ? "quarantine" : "evidence.threshold";
  return { layer, by, words: reason, ...counts };
}

function twinOf(site: LiveSite, { twinSince, left, armedWallMs }: Watched): Twin {
  const verdicts = site.verdicts(twinName, twinSince);
  const fail = firstFail(site, twinName, twinSince);
  const evidence = site.evidence(twinName);
  const own = ownAlarms(site.gateway(twinName), armedWallMs);
  const mine = left.filter(({ gateway }) => gateway === twinName);
  const accusations = [
    ...(fail === undefined ? [] : [`FAIL: ${fail.findings.join(", ")}`]),
    ...(evidence?.steps ?? []),
    ...own.map(({ kind, text }) => `${kind}: ${text}`),
  ];
  return {
    ...{ pairs: mine.length, tokens: tokensOf(mine), accusations },
    auditedTokens: verdicts.reduce((sum, { scores }) => sum + (scores?.tokens ?? 0), 0),
    maxLogE: round(Math.max(0, evidence?.logE ?? 0, evidence?.logChange ?? 0)),
    meter: null,
  };
}

/**
 * Attacks on the walls: something listens on the host while the server tries. A note for after the
 * restart needs a restart: the server is made to fail a pair, halted, and released by a signed order.
 */
async function isolation(
  site: LiveSite,
  options: LiveTrialOptions,
): Promise<{ readonly watched: Watched; readonly learnt: readonly Learnt[] }> {
  const { attack, knobs, seed } = options;
  if (!("find" in attack.knobs)) {
    const listeners = await openListeners();
    try {
      // Whoever wants other doors opened than these changes listeners.ts: 0 is "not given".
      const given = { ...knobs, ...listeners.knobs };
      const watched = await begin(site, { ...options, knobs: given });
      const learnt = [...site.learnt()];
      const detail = `${listeners.heard()} connections and datagrams`;
      const answer = listeners.heard() === 0 ? "no" : "yes";
      learnt.push({ what: "anything heard by what listened on the host", answer, detail });
      return { watched, learnt };
    } finally {
      await listeners.close();
    }
  }
  const marker = 1 + (seed % 1_000_000);
  await site.arm(attack.id, { marker, find: 0 });
  const left = site.learnt().map((one) => ({ ...one, what: `before the restart: ${one.what}` }));
  await site.arm("wrong-seed", {});
  const asked = traffic(seed, "plain", 64);
  const until = performance.now() + 60_000;
  while (!halted(site) && performance.now() < until) await site.ask(asked());
  if (!halted(site) || !(await site.release())) {
    throw new UnavailableError("redteam.restart", "the server was not restarted", "none");
  }
  const watched = await begin(site, { ...options, knobs: { marker, find: 1 } });
  return { watched, learnt: [...left, ...site.learnt()] };
}
