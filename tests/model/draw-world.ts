/**
 * The joint draw, for the model checker: the shipped reducers of the gateway and of both parties. The publisher
 * between them keeps, repeats, reorders and drops every message; each of the three may die between any
 * two steps. Random bytes are counted out, so that no two secrets are alike.
 *
 * With `hostile`, the gateway and party B are one liar who signs any commitment and logs any entry, as long as
 * party A cosigns it.
 */
import { commitmentOf, type DrawCommit, type DrawParty } from "../../src/format/draw.ts";
import { encodeRoundOpen, type RoundOpen } from "../../src/format/leaf.ts";
import {
  drawStep,
  noDraw,
  resume,
  type DrawEffect,
  type DrawEvent,
  type DrawState,
  type StoredDraw,
} from "../../src/gateway/draw.ts";
import type { Mark } from "../../src/gateway/store.port.ts";
import { openShare, refusesEntry, releaseShare, type HeldShare } from "../../src/log/share.ts";
import { liesTold } from "./draw-walk.ts";
import type { Invariant, Model, Step } from "./explore.ts";

export interface DrawRules {
  readonly drawStep: typeof drawStep;
  readonly resume: typeof resume;
  readonly openShare: typeof openShare;
  readonly releaseShare: typeof releaseShare;
  readonly refusesEntry: typeof refusesEntry;
  readonly liesTold: typeof liesTold;
}

export const shippedDraw: DrawRules = {
  ...{ drawStep, resume, openShare, releaseShare, refusesEntry, liesTold },
};

type Message =
  | { readonly kind: "open"; readonly round: bigint; readonly commitment: Buffer }
  | { readonly kind: "commit"; readonly commit: DrawCommit }
  | { readonly kind: "logged"; readonly round: bigint; readonly index: number }
  | {
      readonly kind: "secret";
      readonly party: DrawParty;
      readonly round: bigint;
      readonly secret: Buffer;
    };

export interface DrawWorld {
  /** Null: the process is not running; "lost": it refused to start. */
  readonly gateway: DrawState | "lost" | null;
  readonly todo: readonly DrawEffect[];
  /** The first effect is done, and the process has not heard of it. */
  readonly done: boolean;
  readonly file: StoredDraw | null;
  readonly marks: readonly Mark[];
  readonly held: Readonly<Record<DrawParty, HeldShare | null>>;
  readonly net: readonly Message[];
  /** Secrets drawn so far, and deaths: they bound the model. */
  readonly drawn: number;
  readonly deaths: number;
}

const parties = ["a", "b"] as const;
const sealTo = Buffer.alloc(32);
const bytesOf = (n: number): Buffer => Buffer.alloc(32, n);

const keyOf = (message: Message): string =>
  JSON.stringify(message, (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );

function said(net: readonly Message[], message: Message): readonly Message[] {
  const key = keyOf(message);
  if (net.some((one) => keyOf(one) === key)) return net;
  return [...net, message].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

const running = ({ gateway }: DrawWorld): DrawState | null =>
  gateway === null || gateway === "lost" ? null : gateway;

function tellGateway(rules: DrawRules, world: DrawWorld, event: DrawEvent): DrawWorld {
  const state = running(world);
  if (state === null) return world;
  const { state: next, effects } = rules.drawStep(state, event);
  const kept = effects.filter(({ kind }) => kind !== "accuse");
  return { ...world, gateway: next, todo: [...world.todo, ...kept] };
}

function roundOpen({ coming }: DrawState): RoundOpen | null {
  if (coming?.a.commitment == null || coming.b.commitment === null) return null;
  const own = commitmentOf("g", coming.round, coming.secret);
  const [a, b] = [coming.a.commitment, coming.b.commitment];
  return { round: coming.round, atMs: 1, gateway: own, a, b, threshold: 1n };
}

function append(marks: readonly Mark[], entry: Mark["entry"]): readonly Mark[] {
  return [...marks, { index: BigInt(marks.length), entry }];
}

/** The world part of an effect: what is then durable, or on its way. */
function carriedOut(world: DrawWorld, state: DrawState, effect: DrawEffect): DrawWorld {
  const { last, current, coming } = state;
  switch (effect.kind) {
    case "store":
      return { ...world, file: { last, current, coming } };
    case "log-open": {
      const open = roundOpen(state);
      if (open === null) return world;
      return { ...world, marks: append(world.marks, { kind: "round-open", ...open }) };
    }
    case "log-reveal":
      if (current === null) return world;
      return {
        ...world,
        marks: append(world.marks, {
          ...{ kind: "round-reveal", round: current.round, atMs: 1 },
          ...current.secrets,
        }),
      };
    case "ask":
      if (coming === null) return world;
      return {
        ...world,
        net: said(world.net, {
          ...{ kind: "open", round: coming.round },
          commitment: commitmentOf("g", coming.round, coming.secret),
        }),
      };
    case "show":
      if (coming?.logged == null) return world;
      return {
        ...world,
        net: said(world.net, {
          ...{ kind: "logged", round: coming.round, index: Number(coming.logged.index) },
        }),
      };
    case "accuse":
      return world;
  }
}

function heardOf(state: DrawState, effect: DrawEffect, marks: readonly Mark[]): DrawEvent | null {
  switch (effect.kind) {
    case "store":
      return { kind: "stored" };
    case "log-open": {
      const at = marks.findLast(
        ({ entry }) => entry.kind === "round-open" && entry.round === state.coming?.round,
      );
      if (at === undefined) return null;
      return { kind: "logged", logged: { index: at.index, atMs: 1, threshold: 1n } };
    }
    case "log-reveal":
      return { kind: "revealed" };
    case "ask":
    case "show":
    case "accuse":
      return null;
  }
}

function* effectSteps(rules: DrawRules, world: DrawWorld): Iterable<Step<DrawWorld>> {
  const state = running(world);
  const [effect, ...todo] = world.todo;
  if (state === null || effect === undefined) return;
  const quick = effect.kind === "ask" || effect.kind === "show";
  if (!world.done) {
    const next = carriedOut(world, state, effect);
    yield {
      label: `gateway: ${effect.kind}`,
      next: quick ? { ...next, todo } : { ...next, done: true },
    };
    return;
  }
  const event = heardOf(state, effect, world.marks);
  const heard = { ...world, todo, done: false };
  yield {
    label: `gateway: hears that ${effect.kind} is done`,
    next: event === null ? heard : tellGateway(rules, heard, event),
  };
}

function* gatewaySteps(
  rules: DrawRules,
  world: DrawWorld,
  { rounds, deaths }: Bounds,
): Iterable<Step<DrawWorld>> {
  if (world.gateway === "lost") return;
  if (world.gateway === null) {
    yield { label: "gateway: starts", next: started(rules, world) };
    return;
  }
  if (world.deaths < deaths) {
    const dead = { gateway: null, todo: [], done: false, deaths: world.deaths + 1 };
    yield { label: "gateway: dies", next: { ...world, ...dead } };
  }
  yield* effectSteps(rules, world);
  const { step, last } = world.gateway;
  if (step === "idle" && last < BigInt(rounds) && world.todo.length === 0) {
    const secret = bytesOf(128 + world.drawn);
    const event = { kind: "begin", secret, sealKey: sealTo } as const;
    const next = tellGateway(rules, { ...world, drawn: world.drawn + 1 }, event);
    yield { label: `gateway: begins round ${last + 1n}`, next };
  }
  if (world.todo.length > 0) return;
  yield { label: "gateway: says again", next: tellGateway(rules, world, { kind: "tick" }) };
  for (const message of world.net) {
    if (message.kind === "commit") {
      const { party, round, answers, commitment } = message.commit;
      const event = {
        kind: "commit",
        party,
        round,
        answers,
        commitment,
        commit: commitment,
      } as const;
      const next = tellGateway(rules, world, event);
      yield { label: `gateway: gets the commitment of ${party} for ${round}`, next };
    } else if (message.kind === "secret") {
      const next = tellGateway(rules, world, message);
      yield { label: `gateway: gets the secret of ${message.party} of ${message.round}`, next };
    }
  }
}

function started(rules: DrawRules, world: DrawWorld): DrawWorld {
  try {
    const { state, effects } = rules.resume(world.file, world.marks);
    return { ...world, gateway: state, todo: effects };
  } catch {
    return { ...world, gateway: "lost" };
  }
}

/** A party gets an OPEN: held durably, then answered, or dead in between. */
function* asked(
  rules: DrawRules,
  world: DrawWorld,
  party: DrawParty,
  open: Extract<Message, { kind: "open" }>,
): Iterable<Step<DrawWorld>> {
  const before = world.held[party];
  const fresh = bytesOf(world.drawn + (party === "a" ? 32 : 64));
  const { round, commitment } = open;
  const message = { gateway: "g1", epoch: 1, round, commitment, sealTo };
  const answer = rules.openShare(before, lastOpened(world), message, fresh);
  if (answer.kind === "refused") return;
  const { share } = answer;
  const drawn = share === before ? world.drawn : world.drawn + 1;
  const held = { ...world, drawn, held: { ...world.held, [party]: share } };
  const own = commitmentOf(party, share.round, share.secret);
  const commit = { gateway: "g1", round, party, answers: share.answers, commitment: own };
  const net = said(world.net, { kind: "commit", commit });
  yield { label: `${party}: holds a secret for ${round}, and says so`, next: { ...held, net } };
  if (share !== before)
    yield { label: `${party}: holds a secret for ${round}, and dies`, next: held };
}

/** A party is asked for its secret: any place of its mirror, any commits that were signed. */
function* released(
  rules: DrawRules,
  world: DrawWorld,
  party: DrawParty,
  round: bigint,
  index: number,
): Iterable<Step<DrawWorld>> {
  const mark = world.marks[index];
  const entry = mark?.entry.kind === "round-open" ? encodeRoundOpen(mark.entry) : null;
  const signed = (of: DrawParty): DrawCommit[] =>
    world.net.flatMap((one) =>
      one.kind === "commit" && one.commit.party === of && one.commit.round === round
        ? [one.commit]
        : [],
    );
  for (const a of signed("a")) {
    for (const b of signed("b")) {
      const held = world.held[party];
      const answer = rules.releaseShare(party, held, "g1", round, entry, { a, b });
      if (answer.kind === "refused") continue;
      const { secret } = answer.share;
      const net = said(world.net, { kind: "secret", party, round, secret });
      const next = { ...world, held: { ...world.held, [party]: answer.share }, net };
      yield { label: `${party}: gives its secret of ${round} for entry ${index}`, next };
    }
  }
}

function* partySteps(
  rules: DrawRules,
  world: DrawWorld,
  honest: readonly DrawParty[],
): Iterable<Step<DrawWorld>> {
  for (const party of honest) {
    for (const message of world.net) {
      if (message.kind === "open") yield* asked(rules, world, party, message);
      if (message.kind === "logged") {
        yield* released(rules, world, party, message.round, message.index);
      }
    }
  }
}

/** The round that was opened last; 0 for none. */
function lastOpened({ marks }: DrawWorld): bigint {
  const rounds = marks.flatMap(({ entry }) => (entry.kind === "round-open" ? [entry.round] : []));
  return rounds.at(-1) ?? 0n;
}

/** What a liar with the keys of the gateway and of party B may commit to, by round. */
const liesOf: ReadonlyMap<bigint, readonly Buffer[]> = new Map([
  [1n, [1, 2].map(bytesOf)],
  [2n, [bytesOf(3)]],
]);

/** In any round, at any time: its commitments as gateway and as B, and any entry made of them that A cosigns. */
function* liarSteps(rules: DrawRules, world: DrawWorld, most: number): Iterable<Step<DrawWorld>> {
  for (const [round, lies] of liesOf) {
    for (const commitment of lies) {
      yield {
        label: `liar: opens round ${round} with ${commitment[0] ?? 0}`,
        next: { ...world, net: said(world.net, { kind: "open", round, commitment }) },
      };
      for (const answers of lies) {
        const commit = { gateway: "g1", round, party: "b", answers, commitment } as const;
        yield {
          label: `liar: signs ${commitment[0] ?? 0} as b, to ${answers[0] ?? 0}`,
          next: { ...world, net: said(world.net, { kind: "commit", commit }) },
        };
      }
    }
    if (world.marks.length < most) yield* liarEntries(rules, world, round, lies);
  }
}

function* liarEntries(
  rules: DrawRules,
  world: DrawWorld,
  round: bigint,
  lies: readonly Buffer[],
): Iterable<Step<DrawWorld>> {
  const ofA = world.net.flatMap((one) =>
    one.kind === "commit" && one.commit.party === "a" && one.commit.round === round
      ? [one.commit.commitment]
      : [],
  );
  for (const gateway of lies) {
    for (const b of lies) {
      for (const a of [...ofA, ...lies.slice(0, 1)]) {
        const entry = { round, atMs: 1, gateway, a, b, threshold: 1n };
        // What party A does not cosign never counts.
        const bytes = encodeRoundOpen(entry);
        if (rules.refusesEntry("a", world.held.a, lastOpened(world), bytes) !== null) continue;
        const index = world.marks.length;
        const marks = append(world.marks, { kind: "round-open", ...entry });
        const net = said(world.net, { kind: "logged", round, index });
        yield {
          label: `liar: logs round ${round} with ${gateway[0] ?? 0}, ${b[0] ?? 0} at ${index}`,
          next: { ...world, marks, net },
        };
      }
    }
  }
}

interface Bounds {
  readonly rounds: number;
  readonly deaths: number;
}

const opensOf = (world: DrawWorld, round: bigint): RoundOpen[] =>
  world.marks.flatMap(({ entry }) =>
    entry.kind === "round-open" && entry.round === round ? [entry] : [],
  );

type Given = Extract<Message, { kind: "secret" }>;
const given = ({ net }: DrawWorld): Given[] => net.filter((one) => one.kind === "secret");

const always: readonly Invariant<DrawWorld>[] = [
  {
    name: "a secret is given only when its commitment, and both others, stand in the log",
    holds: (world) =>
      given(world).every(({ party, round, secret }) =>
        opensOf(world, round).some((open) =>
          open[party].equals(commitmentOf(party, round, secret)),
        ),
      ),
  },
  {
    name: "a party commits once in a round",
    holds: ({ net }) => {
      const commits = net.flatMap((one) =>
        one.kind === "commit" && one.commit.party === "a" ? [one.commit] : [],
      );
      return commits.every((one) =>
        commits.every((two) => one.round !== two.round || one.commitment.equals(two.commitment)),
      );
    },
  },
];

const ofHostile = (rules: DrawRules): readonly Invariant<DrawWorld>[] => [
  {
    // Of two entries, a liar could choose after it has heard A's secret.
    name: "in a log that an honest party cosigns, each round is opened once, and they rise by one",
    holds: ({ marks }) =>
      marks.every(({ entry }, i) => entry.kind !== "round-open" || entry.round === BigInt(i) + 1n),
  },
  {
    // The second line: also if A's own check failed, nobody may overlook it.
    name: "a round that was opened twice is told by whoever walks the log",
    holds: (world) =>
      [1n, 2n].every((round) => opensOf(world, round).length <= 1) ||
      rules.liesTold(world.marks) > 0,
  },
];

const ofHonest: readonly Invariant<DrawWorld>[] = [
  {
    name: "a round is opened once",
    holds: (world) => [1n, 2n].every((round) => opensOf(world, round).length <= 1),
  },
  {
    name: "after crashes alone, a gateway always finds its place again",
    holds: ({ gateway }) => gateway !== "lost",
  },
  {
    name: "the gateway shows one commitment for a round",
    holds: ({ net }) => {
      const opens = net.filter((one) => one.kind === "open");
      return opens.every((one) =>
        opens.every((two) => one.round !== two.round || one.commitment.equals(two.commitment)),
      );
    },
  },
  {
    name: "the coins in force are those of the round's entry",
    holds: (world) => {
      const current = running(world)?.current ?? null;
      if (current === null) return true;
      const { round, secrets } = current;
      const [open] = opensOf(world, round);
      return (
        open !== undefined &&
        open.gateway.equals(commitmentOf("g", round, secrets.gateway)) &&
        open.a.equals(commitmentOf("a", round, secrets.a)) &&
        open.b.equals(commitmentOf("b", round, secrets.b))
      );
    },
  },
  {
    name: "a round is revealed only when the secrets of the next one are all durable",
    holds: ({ marks, file }) =>
      marks.every(({ entry }) => {
        if (entry.kind !== "round-reveal") return true;
        const next = entry.round + 1n;
        const { coming, current } = file ?? noDraw;
        if (current !== null && current.round >= next) return true;
        return coming?.round === next && coming.a.secret !== null && coming.b.secret !== null;
      }),
  },
];

export interface DrawModelOptions extends Partial<Bounds> {
  /** Entries that a liar logs at most. */
  readonly entries?: number;
  readonly rules?: DrawRules;
  readonly hostile?: boolean;
}

export function drawModel({
  rules = shippedDraw,
  hostile = false,
  rounds = 2,
  deaths = 2,
  entries = 3,
}: DrawModelOptions = {}): Model<DrawWorld> {
  const start: DrawWorld = {
    ...{ gateway: null, todo: [], done: false, file: null, marks: [], net: [] },
    ...{ held: { a: null, b: null }, drawn: 0, deaths: 0 },
  };
  return {
    initial: [start],
    *steps(world) {
      if (hostile) yield* liarSteps(rules, world, entries);
      else yield* gatewaySteps(rules, world, { rounds, deaths });
      yield* partySteps(rules, world, hostile ? ["a"] : parties);
    },
    invariants: hostile ? [...always, ...ofHostile(rules)] : [...always, ...ofHonest],
    maxStates: 300_000,
  };
}
