import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { FakeGateway, demoModel, demoWhitelist, silent } from "../../tests/fake-gateway.ts";
import { encodeFrame, frameType } from "../format/link.ts";
import type { Clock } from "../base/clock.ts";
import type { ExchangeListener, HttpExchange, HttpReply } from "./http.port.ts";
import { modelsOf } from "./openai.ts";
import { Router, routerLimits, type RouterLimits } from "./serve.ts";

/** Time stands still until `advance`. */
class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; period: number; action: () => void }>();

  wallMs(): number {
    return 1_700_000_000_000 + this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  after(delayMs: number, action: () => void): { cancel(): void } {
    return this.#add(delayMs, 0, action);
  }

  every(periodMs: number, action: () => void): { cancel(): void } {
    return this.#add(periodMs, periodMs, action);
  }

  #add(delay: number, period: number, action: () => void): { cancel(): void } {
    const timer = { at: this.#now + delay, period, action };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  advance(ms: number): void {
    for (const end = this.#now + ms; this.#now < end;) {
      this.#now = Math.min(end, this.#now + 50);
      for (const timer of [...this.#timers]) {
        if (timer.at > this.#now) continue;
        if (timer.period === 0) this.#timers.delete(timer);
        timer.at += timer.period;
        timer.action();
      }
    }
  }
}

class FakeExchange implements HttpExchange {
  readonly method = "POST";
  readonly path = "/v1/chat/completions";
  readonly contentType = "application/json";
  readonly body: Buffer;
  listener: ExchangeListener | null = null;
  backlog = 0;
  status = 0;
  headers: readonly string[] = [];
  text = "";
  /** reply, end, cut, reset: how it ended. */
  readonly ended: Promise<string>;
  readonly #end: (how: string) => void;

  constructor(body: object) {
    this.body = Buffer.from(JSON.stringify(body));
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    this.#end = resolve;
  }

  reply(reply: HttpReply): void {
    this.start(reply.status, reply.headers, reply.body);
    this.#end("reply");
  }

  start(status: number, headers: readonly string[], text: string): void {
    assert.equal(this.status, 0, "one reply per request");
    [this.status, this.headers, this.text] = [status, headers, text];
  }

  write(text: string): void {
    this.text += text;
  }

  end(text: string): void {
    this.text += text;
    this.#end("end");
  }

  cut(text: string): void {
    this.text += text;
    this.#end("cut");
  }

  reset(): void {
    this.listener?.onGone();
    this.#end("reset");
  }

  get json(): { error?: { code: string; param: string | null }; weir?: { tag: string } } {
    return JSON.parse(this.text) as FakeExchange["json"];
  }
}

const soon = (action: () => void): void => {
  setImmediate(action);
};
const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

interface Rig {
  readonly clock: ManualClock;
  readonly gateways: readonly FakeGateway[];
  readonly router: Router;
  readonly ask: (more?: object) => FakeExchange;
  /** Lets frames travel until `condition` holds. */
  readonly settle: (condition: () => boolean) => Promise<void>;
}

async function rig(t: TestContext, count = 2, limits: Partial<RouterLimits> = {}): Promise<Rig> {
  const clock = new ManualClock();
  const gateways = Array.from({ length: count }, (_, i) => new FakeGateway(`g${i + 1}`));
  const router = new Router({
    name: "r1",
    models: modelsOf(demoWhitelist),
    gateways: gateways.map((g) => g.name),
    dial: (name) => gateways.find((g) => g.name === name)!.dial(),
    clock,
    logger: silent,
    soon,
    limits: { ...routerLimits, ...limits },
    connections: () => 0,
  });
  t.after(() => {
    router.stop();
  });
  const settle = async (condition: () => boolean): Promise<void> => {
    for (let i = 0; i < 10_000; i++) {
      if (condition()) return;
      await turn();
    }
    assert.fail(`never came: ${condition.toString()}`);
  };
  const ask = (more: object = {}): FakeExchange => {
    const exchange = new FakeExchange({
      model: demoModel,
      messages: [{ role: "user", content: "hi" }],
      ...more,
    });
    router.onRequest(exchange);
    return exchange;
  };
  router.start();
  await settle(() => router.status().gateways.every((g) => g.accepting));
  return { clock, gateways, router, ask, settle };
}

test("serve: a server is lost before any byte -> another gateway answers, under its own tag", async (t) => {
  const { gateways, ask, router } = await rig(t);
  let failures = 0;
  for (const gateway of gateways) {
    gateway.behave = (call): void => {
      if (failures++ === 0) call.admit().text("half an ans").abort("server-lost");
      else call.admit().text("whole").finish();
    };
  }
  const exchange = ask();
  assert.equal(await exchange.ended, "reply");
  assert.equal(exchange.status, 200);
  assert.ok(exchange.text.includes('"whole"') && !exchange.text.includes("half"));
  assert.equal(
    gateways.reduce((sum, g) => sum + g.calls.length, 0),
    2,
  );
  const second = gateways.find(
    (g) => g.calls.length === 1 && exchange.json.weir?.tag.startsWith(g.name),
  );
  assert.ok(second !== undefined);
  assert.equal(router.metrics.retries, 1);
  assert.equal(router.status().inflight, 0);
});

test("serve: a server is lost after output was shown -> an error event, a cut, no [DONE], no retry", async (t) => {
  const { gateways, ask } = await rig(t);
  for (const gateway of gateways) {
    gateway.behave = (call): void => {
      call.admit().text("shown").abort("server-lost");
    };
  }
  const exchange = ask({ stream: true });
  assert.equal(await exchange.ended, "cut");
  assert.ok(exchange.text.includes("shown") && exchange.text.includes('"error":{'));
  assert.ok(!exchange.text.includes("[DONE]") && !exchange.text.includes('"finish_reason":"'));
  assert.equal(
    gateways.reduce((sum, g) => sum + g.calls.length, 0),
    1,
  );
});

test("serve: every server fails -> 502 after the allowed attempts", async (t) => {
  const { gateways, ask } = await rig(t, 5);
  for (const gateway of gateways) gateway.behave = (call): void => call.admit().abort("internal");
  const exchange = ask();
  assert.equal(await exchange.ended, "reply");
  assert.equal(exchange.status, 502);
  assert.equal(
    gateways.reduce((sum, g) => sum + g.calls.length, 0),
    routerLimits.attempts,
  );
  assert.ok(gateways.every((g) => g.calls.length <= 1));
});

test("serve: the request itself is at fault -> 400 at once, no retry", async (t) => {
  const { gateways, ask } = await rig(t);
  for (const gateway of gateways) {
    gateway.behave = (call): void => call.admit().abort("prompt-too-long");
  }
  const long = ask();
  await long.ended;
  assert.deepEqual([long.status, long.json.error?.code], [400, "context_length_exceeded"]);
  for (const gateway of gateways)
    gateway.behave = (call): void => call.refuse("parameters", "top_k");
  const outside = ask();
  await outside.ended;
  assert.deepEqual([outside.status, outside.json.error?.param], [400, "top_k"]);
  assert.equal(
    gateways.reduce((sum, g) => sum + g.calls.length, 0),
    2,
  );
});

test("serve: a gateway refuses -> another is tried; none is asked twice before it speaks again", async (t) => {
  const { gateways, ask, clock, settle } = await rig(t);
  for (const gateway of gateways) gateway.behave = (call): void => call.refuse("full");
  const exchange = ask();
  await settle(() => gateways.every((g) => g.calls.length === 1));
  for (let i = 0; i < 20; i++) await turn();
  assert.ok(gateways.every((g) => g.calls.length === 1));
  for (const gateway of gateways) gateway.behave = (call): void => call.admit().finish();
  gateways[1]!.announce({});
  assert.equal(await exchange.ended, "reply");
  assert.equal(exchange.status, 200);
  clock.advance(10_000);
});

test("serve: no gateway accepts -> waits, then 503 with Retry-After; or is served when one comes", async (t) => {
  const { gateways, ask, clock, settle, router } = await rig(t, 1);
  gateways[0]!.announce({ accepting: false, mode: "UPLOAD" });
  await settle(() => !router.status().gateways[0]!.accepting);
  const early = ask();
  clock.advance(4000);
  const late = ask();
  clock.advance(1100);
  assert.equal(await early.ended, "reply");
  assert.deepEqual([early.status, early.json.error?.code], [503, "model_unavailable"]);
  assert.ok(early.headers.includes("retry-after"));
  gateways[0]!.announce({ accepting: true, mode: "SERVING" });
  await late.ended;
  assert.equal(late.status, 200);
});

test("serve: a gateway at its capacity -> the next request waits for the place of the first", async (t) => {
  const { gateways, ask, settle } = await rig(t, 1);
  const [gateway] = gateways;
  gateway!.behave = (call): void => void call.admit();
  gateway!.announce({ capacity: 1 });
  await turn();
  await turn();
  const first = ask();
  await settle(() => gateway!.calls.length === 1);
  const second = ask();
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(gateway!.calls.length, 1);
  gateway!.calls[0]!.finish();
  await first.ended;
  await settle(() => gateway!.calls.length === 2);
  gateway!.calls[1]!.finish();
  await second.ended;
  assert.deepEqual([first.status, second.status], [200, 200]);
});

test("serve: the client leaves, waiting or served -> WITHDRAW at once, and its place is free", async (t) => {
  const { gateways, ask, router, settle } = await rig(t, 1);
  const [gateway] = gateways;
  gateway!.behave = (call): void => void call.admit();
  const exchange = ask({ stream: true });
  await settle(() => gateway!.calls.length === 1);
  exchange.listener?.onGone();
  await gateway!.calls[0]!.withdrawn;
  gateway!.calls[0]!.text("too late").finish();
  const unsent = ask();
  unsent.listener?.onGone();
  await settle(() => gateway!.calls.length === 2 && gateway!.calls[1]!.isWithdrawn);
  gateway!.announce({ accepting: false });
  await settle(() => !router.status().gateways[0]!.accepting);
  ask().listener?.onGone();
  assert.equal(router.status().inflight, 0);
  assert.equal(exchange.status, 0);
});

test("serve: a link breaks -> its requests are retried elsewhere, and it is dialled again", async (t) => {
  const { gateways, ask, clock, settle, router } = await rig(t);
  for (const gateway of gateways) gateway.behave = (call): void => void call.admit();
  const exchange = ask();
  await settle(() => gateways.some((g) => g.calls.length === 1));
  const holder = gateways.find((g) => g.calls.length === 1)!;
  const other = gateways.find((g) => g !== holder)!;
  holder.reachable = false;
  other.behave = (call): void => call.admit().finish();
  holder.dropLink();
  assert.equal(await exchange.ended, "reply");
  assert.equal(exchange.status, 200);
  clock.advance(100);
  await settle(() => holder.dials === 2);
  holder.reachable = true;
  for (let i = 0; i < 20 && holder.dials === 2; i++) {
    await turn();
    clock.advance(500);
  }
  await settle(() => router.status().gateways.every((g) => g.accepting));
});

test("serve: a silent gateway -> its link is dropped", async (t) => {
  const { gateways, clock, settle, router } = await rig(t, 1);
  gateways[0]!.reachable = false;
  clock.advance(11_000);
  await settle(() => !router.status().gateways[0]!.accepting);
  assert.ok(gateways[0]!.dials >= 1);
});

test("serve: a gateway asks to drain -> granted while another serves, one at a time", async (t) => {
  const { gateways, router, settle, ask } = await rig(t);
  const [a, b] = [gateways[0]!, gateways[1]!];
  a.send(frameType.drainAsk, 0n);
  await settle(() => a.frames.includes(frameType.drainGrant));
  assert.deepEqual(
    router.status().gateways.map((g) => g.accepting),
    [false, true],
  );
  b.send(frameType.drainAsk, 0n);
  for (let i = 0; i < 20; i++) await turn();
  assert.ok(!b.frames.includes(frameType.drainGrant));
  await ask().ended;
  assert.deepEqual([a.calls.length, b.calls.length], [0, 1]);
  a.announce({ mode: "KILLED", accepting: false });
  a.announce({ mode: "SERVING", accepting: true });
  await settle(() => b.frames.includes(frameType.drainGrant));
  await ask().ended;
  assert.deepEqual([a.calls.length, b.calls.length], [1, 1]);
});

const input = (id: bigint): Buffer => encodeFrame(frameType.input, id);
const breaches: readonly [string, (gateway: FakeGateway) => void][] = [
  ["OUTPUT before ADMITTED", (g): void => void g.calls[0]!.text("x")],
  ["ADMITTED twice", (g): void => void g.calls[0]!.admit().admit()],
  ["REFUSED after ADMITTED", (g): void => g.calls[0]!.admit().refuse("full")],
  ["a frame of another link", (g): void => g.sendRaw(input(1n))],
  ["a STATE under another name", (g): void => g.announce({ gateway: "g9" })],
  ["a torn payload", (g): void => g.send(frameType.admitted, 1n, Buffer.alloc(3))],
];
for (const [name, breach] of breaches) {
  test(`serve: ${name} -> the gateway is dropped, its request answered 502`, async (t) => {
    const { gateways, ask, settle, router } = await rig(t, 1, { attempts: 1 });
    gateways[0]!.behave = (): void => undefined;
    const exchange = ask();
    await settle(() => gateways[0]!.calls.length === 1);
    breach(gateways[0]!);
    assert.equal(await exchange.ended, "reply");
    assert.equal(exchange.status, 502);
    assert.equal(router.status().gateways[0]!.accepting, false);
  });
}

test("serve: frames for unknown requests -> ignored", async (t) => {
  const { gateways, ask } = await rig(t, 1);
  gateways[0]!.send(frameType.abort, 2n ** 64n - 1n, Buffer.from([0]));
  gateways[0]!.send(frameType.output, 99n, Buffer.from("nonsense"));
  const exchange = ask();
  await exchange.ended;
  assert.equal(exchange.status, 200);
});

test("serve: a client reads too slowly -> cut off beyond its backlog, or when it stalls", async (t) => {
  const { gateways, ask, clock, settle, router } = await rig(t, 1);
  gateways[0]!.behave = (call): void => void call.admit().text("a");
  const over = ask({ stream: true });
  const stalled = ask({ stream: true });
  await settle(() => over.status === 200 && stalled.status === 200);
  over.backlog = routerLimits.clientBacklog + 1;
  stalled.backlog = 100_000;
  for (const call of gateways[0]!.calls) call.text("b");
  assert.equal(await over.ended, "reset");
  await gateways[0]!.calls[0]!.withdrawn;
  for (let second = 0; second < 70; second++) {
    gateways[0]!.announce({});
    await turn();
    await turn();
    clock.advance(1000);
  }
  assert.equal(await stalled.ended, "reset");
  await gateways[0]!.calls[1]!.withdrawn;
  assert.equal(router.metrics.slowClients, 2);
  assert.equal(router.status().inflight, 0);
});

test("serve: more requests than allowed -> 429 with Retry-After, before the body is read", async (t) => {
  const { gateways, ask, router, settle } = await rig(t, 1, { inflight: 1 });
  gateways[0]!.behave = (call): void => void call.admit();
  const first = ask();
  const second = ask();
  await second.ended;
  assert.deepEqual([second.status, second.json.error?.code], [429, "too_many_requests"]);
  const head = { method: "POST", path: "/v1/completions", contentType: "application/json" };
  assert.equal(router.onHead(head)?.status, 429);
  await settle(() => gateways[0]!.calls.length === 1);
  gateways[0]!.calls[0]!.finish();
  await first.ended;
  assert.equal(router.onHead(head), null);
  router.beginClose();
  assert.equal(router.onHead(head)?.status, 503);
});

test("serve: heads -> 404, 405 and 415 in OpenAI's shape; pages for GET", async (t) => {
  const { router } = await rig(t, 1);
  const head = (method: string, path: string, contentType = ""): HttpReply | null =>
    router.onHead({ method, path, contentType });
  assert.equal(head("GET", "/nope")?.status, 404);
  assert.equal(head("GET", "/v1/models/nope")?.status, 404);
  assert.equal(head("GET", "/v1/models/%ff")?.status, 404);
  assert.equal(head("GET", `/v1/models/${demoModel}`)?.status, 200);
  assert.equal(head("PUT", "/v1/models")?.status, 405);
  assert.equal(head("GET", "/v1/completions")?.status, 405);
  assert.equal(head("POST", "/v1/completions", "text/plain")?.status, 415);
  assert.equal(head("POST", "/v1/completions", "application/json; charset=latin1")?.status, 415);
  assert.equal(head("POST", "/v1/completions", "application/json; charset=UTF-8"), null);
  assert.equal(head("GET", "/health")?.status, 200);
  const metrics = head("GET", "/metrics")?.body ?? "";
  assert.match(
    metrics,
    /^weir_router_requests_total\{endpoint="other",code="404",outcome="done"\} 3$/m,
  );
  assert.match(metrics, /^weir_router_gateway_accepting\{gateway="g1"\} 1$/m);
});
