import assert from "node:assert/strict";
import { request } from "node:http";
import { test, type TestContext } from "node:test";
import type { Clock } from "../base/clock.ts";
import { pageAssets } from "./assets.ts";
import type { SiteStatus } from "./document.ts";
import { initialFeed } from "./feed.ts";
import { joinSite } from "./join.ts";
import { beatMs, eventGapMs, servePage, streamsMax, type PageServer } from "./serve.ts";

/** A clock that the test moves. */
class HandClock implements Clock {
  #now = 0;
  #timers: { at: number; period: number; action: () => void }[] = [];

  wallMs(): number {
    return this.#now;
  }

  monotonicMs(): number {
    return this.#now;
  }

  #add(delay: number, period: number, action: () => void): { cancel(): void } {
    const timer = { at: this.#now + delay, period, action };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      },
    };
  }

  after(delayMs: number, action: () => void): { cancel(): void } {
    return this.#add(delayMs, 0, action);
  }

  every(periodMs: number, action: () => void): { cancel(): void } {
    return this.#add(periodMs, periodMs, action);
  }

  advance(ms: number): void {
    this.#now += ms;
    for (const timer of this.#timers.filter(({ at }) => at <= this.#now)) {
      if (timer.period > 0) timer.at = this.#now + timer.period;
      else this.#timers = this.#timers.filter((one) => one !== timer);
      timer.action();
    }
  }
}

interface Bench {
  readonly server: PageServer;
  readonly clock: HandClock;
  readonly url: string;
  readonly endpoint: (text: string) => void;
}

async function bench(t: TestContext): Promise<Bench> {
  const clock = new HandClock();
  const feed = initialFeed([{ role: "gateway", name: "g1" }], { wallMs: 0, monotonicMs: 0 });
  let endpoint = "first";
  const document = (): SiteStatus => joinSite(feed, endpoint, clock.wallMs());
  const assets = pageAssets();
  const server = await servePage({ host: "127.0.0.1", port: 0, assets, document, clock });
  t.after(() => server.close());
  return {
    server,
    clock,
    url: `http://127.0.0.1:${server.port}`,
    endpoint: (text) => {
      endpoint = text;
    },
  };
}

/** Reads events as they come; `next` waits for one that holds `text`. */
class Events {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #seen = "";

  private constructor(reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#reader = reader;
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<Events> {
    const response = await fetch(`${url}/api/events`, { headers });
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    assert.ok(response.body !== null);
    return new Events(response.body.getReader());
  }

  async next(text: string): Promise<string> {
    for (;;) {
      const at = this.#seen.indexOf("\n\n");
      if (at >= 0) {
        const event = this.#seen.slice(0, at);
        this.#seen = this.#seen.slice(at + 2);
        if (event.includes(text)) return event;
        continue;
      }
      const { value, done } = await this.#reader.read();
      assert.ok(!done, `the stream ended before ${text}`);
      this.#seen += Buffer.from(value).toString();
    }
  }

  close(): Promise<void> {
    return this.#reader.cancel();
  }
}

test("page server: / and its assets -> own files under a strict policy", async (t) => {
  const { url } = await bench(t);
  for (const path of ["/", "/style.css", "/app.ts", "/uplot.js", "/uplot.css", "/icon.svg"]) {
    const response = await fetch(url + path);
    assert.equal(response.status, 200, path);
    const policy = response.headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'; script-src 'self';/);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    assert.doesNotMatch(await response.text(), /(?:src|href)="(?:https?:)?\/\//);
  }
});

test("page server: the page's scripts -> JavaScript, every import of which is served", async (t) => {
  const { url } = await bench(t);
  const [todo, done] = [["/app.ts"], new Set<string>()];
  for (let path = todo.pop(); path !== undefined; path = todo.pop()) {
    if (done.has(path)) continue;
    done.add(path);
    const response = await fetch(url + path);
    assert.equal(response.status, 200, path);
    assert.match(response.headers.get("content-type") ?? "", /^text\/javascript/);
    for (const [, from] of (await response.text()).matchAll(/^import .* from "\.(\/[^"]+)";/gm)) {
      if (from !== undefined) todo.push(from);
    }
  }
  assert.ok(done.has("/uplot.js") && done.has("/stream.ts"));
});

test("page server: anything but GET and HEAD -> 405, nothing else exists", async (t) => {
  const { url } = await bench(t);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
    const response = await fetch(`${url}/api/status`, { method });
    assert.equal(response.status, 405, method);
    assert.equal(response.headers.get("allow"), "GET, HEAD");
  }
  const head = await fetch(`${url}/`, { method: "HEAD" });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
  for (const path of ["/nothing", "/../package.json", "/web/../serve.ts", "/tsconfig.json"]) {
    assert.equal((await fetch(url + path)).status, 404, path);
  }
});

test("page server on loopback: another host name -> 421, so no website can rebind to it", async (t) => {
  const { server } = await bench(t);
  const ask = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const options = { port: server.port, host: "127.0.0.1", path: "/api/status", agent: false };
      request({ ...options, headers: { host } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on("error", reject)
        .end();
    });
  assert.equal(await ask("evil.example"), 421);
  assert.equal(await ask("127.0.0.1.evil.example"), 421);
  assert.equal(await ask(`localhost:${server.port}`), 200);
  assert.equal(await ask(`[::1]:${server.port}`), 200);
});

test("events: connect, with any Last-Event-ID -> the whole document at once", async (t) => {
  const { url } = await bench(t);
  const events = await Events.open(url, { "Last-Event-ID": "99999\u00ff" });
  const event = await events.next("event: status");
  const data = /^data: (.*)$/m.exec(event)?.[1] ?? "";
  assert.deepEqual(JSON.parse(data), await (await fetch(`${url}/api/status`)).json());
  await events.close();
});

test("events: many changes at once -> the first goes out now, the last after the gap", async (t) => {
  const { url, server, clock, endpoint } = await bench(t);
  const events = await Events.open(url);
  await events.next('"endpoint":"first"');
  for (const text of ["a", "b", "c"]) {
    endpoint(text);
    server.changed();
  }
  const first = await events.next("event: status");
  assert.match(first, /"endpoint":"a"/);
  clock.advance(eventGapMs);
  assert.match(await events.next("event: status"), /"endpoint":"c"/);
  await events.close();
});

test("events: nothing changed but the time -> only a beat", async (t) => {
  const { url, server, clock } = await bench(t);
  const events = await Events.open(url);
  await events.next("event: status");
  server.changed();
  await events.next("event: status");
  clock.advance(eventGapMs);
  server.changed();
  clock.advance(beatMs);
  const next = await events.next("event: ");
  assert.match(next, /^: still here\nevent: beat\ndata: \{"atMs":\d+\}$/);
  await events.close();
});

test("events: too many readers -> 503 with Retry-After; the others stay", async (t) => {
  const { url } = await bench(t);
  const open = [];
  for (let i = 0; i < streamsMax; i++) open.push(await Events.open(url));
  const refused = await fetch(`${url}/api/events`);
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("retry-after"), "5");
  await Promise.all(open.map((events) => events.close()));
});

test("page server: the port is taken -> UnavailableError that names it", async (t) => {
  const { server, clock } = await bench(t);
  const document = (): SiteStatus => assert.fail("never asked");
  const options = { host: "127.0.0.1", port: server.port, assets: new Map(), document, clock };
  await assert.rejects(servePage(options), new RegExp(`cannot listen on 127.0.0.1:${server.port}`));
});
