/** `weir score` end to end, as a process, on the small model of the repository. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openServingEngine } from "../adapter/llama/engine.ts";
import { drawToken, type DrawParams } from "../format/noise.ts";
import { openProfile } from "../format/profile.ts";
import type { Judgement } from "./score/judge.ts";
import { difrText } from "../verification/difr.ts";

const directory = mkdtempSync(join(tmpdir(), "weir-score-"));
after(() => {
  rmSync(directory, { recursive: true });
});
const model = "models/weir-tiny.gguf";
const seed = 18446744073709551557n;
const params: DrawParams = { temperature: 1, topK: 32, topP: 0.95 };

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function weir(...args: string[]): Promise<Result> {
  return new Promise((resolve) => {
    execFile(process.execPath, ["src/bin/weir.ts", "score", ...args], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

interface Scores {
  readonly law: string | null;
  readonly outputs: readonly { tokens: number; mismatches: number; evidence: object }[];
  readonly total: {
    readonly tokens: number;
    readonly empty: number;
    readonly mismatches: number;
    readonly outside: number;
    readonly maxMargin: number;
    readonly excess: number;
    readonly evidence: Record<string, number | number[]>;
    readonly logE: Record<string, number>;
  };
}

interface Judged {
  readonly edge: number;
  readonly judgement: Judgement & { readonly profile: string };
}

const scores = (result: Result): Scores => {
  assert.equal(result.code, 0, result.err);
  return JSON.parse(result.out) as Scores;
};

let prompt: number[] = [];

/** Tokens that an honest server of gumbel-philox/1 draws. */
async function honest(count: number, draw: DrawParams): Promise<number[]> {
  const engine = await openServingEngine(model, {
    ...{ contextTokens: 256, parallel: 1, topK: 48, threads: 1 },
  });
  prompt = engine.promptIds({ kind: "text", text: "Once there was a mill by the river" });
  const sequence = await engine.open();
  const ids: number[] = [];
  let next: readonly number[] = prompt;
  while (ids.length < count) {
    const id = drawToken(await sequence.next(next), draw, seed, ids.length);
    ids.push(id);
    next = [id];
  }
  sequence.dispose();
  await engine.close();
  return ids;
}

function file(name: string, config: Record<string, string | number>, outputs: number[][]): string {
  const path = join(directory, name);
  writeFileSync(path, difrText({ config, samples: [{ promptTokenIds: prompt, outputs }] }));
  return path;
}

let drawn: number[] = [];
before(async () => {
  drawn = await honest(120, params);
});

test("score: an honest text under its seed -> nothing differs; under another seed or law it does", async () => {
  const config = { model: "tiny", temperature: 1, top_k: 32, top_p: 0.95 };
  const path = file("honest.json", config, [drawn, drawn.slice(0, 40), []]);
  const out = join(directory, "scores.json");
  const found = await weir(path, "--model", model, "--seed", `${seed}`, "--json", "--out", out);
  const { total, outputs, law } = scores(found);
  assert.equal(law, "gumbel-philox/1");
  assert.deepEqual([total.tokens, total.empty, total.mismatches, total.outside], [160, 1, 0, 0]);
  assert.equal(outputs.length, 2);
  assert.equal(total.maxMargin, 0);
  assert.equal(total.evidence["margin"], 0);
  assert.equal((total.evidence["surprise"] as number[]).length, 8);
  assert.deepEqual(JSON.parse(readFileSync(out, "utf8")), JSON.parse(found.out));

  const other = await weir(path, "--model", model, "--seed", "1", "--json");
  assert.ok(scores(other).total.mismatches > 20, "another seed");
  const law2 = ["--law", "vllm-philox/1", "--seed", `${seed}`];
  assert.ok(scores(await weir(path, "--model", model, ...law2, "--json")).total.mismatches > 20);
});

test("score --profile: an honest text -> PASS; another seed -> FAIL, findings, exit 3", async () => {
  const path = file("judged.json", { temperature: 1, top_k: 32, top_p: 0.95 }, [drawn, [], drawn]);
  const judged = ["--model", model, "--profile", "models/weir-tiny.profile.json"];
  const honestly = await weir(path, ...judged, "--seed", `${seed}`, "--json");
  assert.equal(honestly.code, 0, honestly.err);
  const { judgement, edge } = JSON.parse(honestly.out) as Judged;
  const { profile, digest } = openProfile(readFileSync("models/weir-tiny.profile.json"));
  assert.equal(edge, profile.edge);
  assert.equal(judgement.profile, digest.toString("hex"));
  assert.equal(judgement.verdict, "pass");
  assert.deepEqual(judgement.findings, []);
  assert.ok(judgement.logE < 0.5 && judgement.threshold > 5 && judgement.threshold < 6);
  assert.ok(judgement.detectors.length > 0);

  const other = await weir(path, ...judged, "--seed", "1");
  assert.equal(other.code, 3, other.err);
  assert.match(other.out, /FAIL by the profile/);
  assert.match(other.out, / 0\.0 token\.margin: token \d+ at position/);
});

test("score --profile: no seed -> judged by surprise alone", async () => {
  const path = file("blindly.json", { temperature: 1, top_k: 32, top_p: 0.95 }, [drawn]);
  const judged = ["--model", model, "--profile", "models/weir-tiny.profile.json", "--json"];
  const found = await weir(path, ...judged);
  assert.equal(found.code, 0, found.err);
  const { judgement } = JSON.parse(found.out) as Judged;
  assert.deepEqual(
    judgement.detectors.map(({ id }) => id),
    ["surprise"],
  );
});

test("score: no seed -> says so; surprise and rank alone; options override the file's metadata", async () => {
  const path = file("blind.json", { temperature: 1, top_k: 32, top_p: 0.95 }, [drawn]);
  const text = await weir(path, "--model", model);
  assert.match(text.out, /no seed is known: only surprise and the rank/);
  assert.doesNotMatch(text.out, /differ|margin \d/);
  const { total, law } = scores(await weir(path, "--model", model, "--json"));
  assert.equal(law, null);
  assert.deepEqual(Object.keys(total.evidence), ["surprise"]);
  assert.ok((total.logE["surprise"] ?? NaN) < Math.log(1000), "an e-value: rarely large");
  // The same text judged as if drawn much colder, nothing cut: its tokens are a surprise.
  const colder = ["--temperature", "0.5", "--top-p", "1"];
  const cold = await weir(path, "--model", model, ...colder, "--json");
  assert.ok((scores(cold).total.logE["surprise"] ?? NaN) > 5);
  assert.ok(scores(cold).total.excess > 0.2);
});

test("score: temperature 0 -> greedy; the honest one does not differ", async () => {
  const best = await honest(40, { ...params, temperature: 0 });
  const path = file("greedy.json", { temperature: 0 }, [best]);
  const { total, law } = scores(await weir(path, "--model", model, "--json"));
  assert.deepEqual([law, total.tokens, total.mismatches], ["greedy", 40, 0]);
  assert.deepEqual(Object.keys(total.evidence), ["margin", "mismatch", "rank", "tail", "gls"]);
});

test("score: wrong use and wrong files -> a message that names it, exit 2 or 1, nothing written", async () => {
  const path = file("plain.json", {}, [[1]]);
  const bad = join(directory, "bad.json");
  writeFileSync(bad, '{"config": {}, "samples": [{"prompt_token_ids": [1]}]}');
  const beyond = file("beyond.json", { temperature: 0 }, [[2_000_000]]);
  const out = join(directory, "never.json");
  const cases: [string[], number, RegExp][] = [
    [[], 2, /name one FILE\.json/],
    [[path], 2, /--model is missing/],
    [[path, "--model", model], 2, /--temperature/],
    [[path, "--model", model, "--temperature", "1", "--law", "gumbel-philox/1"], 2, /needs --seed/],
    [[path, "--model", model, "--temperature", "1", "--law", "x"], 1, /no noise law "x"/],
    [[path, "--model", model, "--temperature", "hot"], 2, /--temperature must be a number/],
    [[path, "--model", model, "--temperature", "1", "--alpha", "0.1"], 2, /--alpha goes with/],
    [[path, "--model", model, "--profile", "models/weir-demo.profile.json"], 1, /other weights/],
    [[bad, "--model", model, "--temperature", "1"], 1, /samples\[0\]\.outputs must be a list/],
    [[beyond, "--model", model, "--out", out], 1, /sample 0, output 0: /],
    [[path, "--model", join(directory, "absent.gguf"), "--temperature", "0"], 1, /absent\.gguf/],
  ];
  for (const [args, code, message] of cases) {
    const result = await weir(...args);
    assert.equal(result.code, code, result.err);
    assert.match(result.err, message);
  }
  assert.throws(() => readFileSync(out), { code: "ENOENT" });
  assert.match((await weir("--help")).out, /--law NAME/);
});
