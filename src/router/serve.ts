/**
 * The front door, from a client's bytes to a client's bytes:
 *
 *   1. onHead        is there such an endpoint, and room?               (before the body is read)
 *   2. onRequest     parse the body: one Input, or a refusal that names what is wrong   (openai.ts)
 *   3. route         the least loaded gateway serving the model, or wait for one         (route.ts)
 *   4. sendTo        INPUT                                                        (gateway-link.ts)
 *   5. onAdmitted    the gateway has given the pair its tag                            (serving.ts)
 *   6. onOutput      text, as the gateway releases it, in our own words      (serving.ts, reply.ts)
 *   7. onDone        count it, and give its place to the next
 *
 * At every step the client may leave (WITHDRAW follows at once) and the gateway may fail: before
 * the first byte of a reply another gateway is tried, after it the reply is visibly broken off.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/report.ts";
import type { RouterStatus } from "../format/status.ts";
import type { Wire } from "../format/wire.ts";
import { Backlogs } from "./backlog.ts";
import {
  bodyTooLarge,
  bodyTooSlow,
  headersTooLarge,
  malformedHttp,
  shuttingDown,
  tooManyConnections,
  tooManyRequests,
  unknownUrl,
  wrongContentType,
  wrongMethod,
  modelNotFound,
  type ApiError,
} from "./errors.ts";
import { Gateways } from "./gateways.ts";
import type {
  HttpExchange,
  HttpFault,
  HttpHandler,
  HttpHead,
  HttpReply,
  Soon,
} from "./http.port.ts";
import { Metrics, type Gauges } from "./metrics.ts";
import { parseRequest, type Model } from "./openai.ts";
import { errorReply, modelJson, modelsJson } from "./reply.ts";
import { WaitQueue } from "./route.ts";
import { Serving, type Outcome, type ServingHost } from "./serving.ts";

export interface RouterLimits {
  readonly inflight: number;
  readonly queueMs: number;
  readonly attempts: number;
  readonly clientBacklog: number;
  readonly backlogTotal: number;
  readonly stallMs: number;
  /** Bodies of requests in flight, together. */
  readonly inputsTotal: number;
}

export const routerLimits: RouterLimits = {
  inflight: limits.routerInflight,
  queueMs: limits.routerQueueMs,
  attempts: limits.routerAttempts,
  clientBacklog: limits.clientBacklog,
  backlogTotal: limits.httpBacklogTotal,
  stallMs: limits.httpStallMs,
  inputsTotal: limits.httpBodiesTotal,
};

export interface RouterOptions {
  readonly name: string;
  readonly models: ReadonlyMap<string, Model>;
  readonly gateways: readonly string[];
  readonly dial: (gateway: string) => Promise<Wire>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly soon: Soon;
  readonly limits: RouterLimits;
  /** Open client connections, for status and metrics. */
  readonly connections: () => number;
}

const sweepMs = 100;
const sweepsPerSecond = 10;

export class Router implements HttpHandler, ServingHost {
  readonly metrics = new Metrics();
  readonly attemptsMax: number;
  readonly #options: RouterOptions;
  readonly #gateways: Gateways;
  readonly #queue = new WaitQueue<Serving>();
  readonly #backlogs: Backlogs;
  #inflight = 0;
  #inputBytes = 0;
  #sweeps = 0;
  #closing = false;
  #timer: Timer | null = null;

  constructor(options: RouterOptions) {
    const { limits: max, clock } = options;
    this.#options = options;
    this.attemptsMax = max.attempts;
    this.#backlogs = new Backlogs(
      { perClient: max.clientBacklog, total: max.backlogTotal, stallMs: max.stallMs },
      clock,
    );
    this.#gateways = new Gateways({
      names: options.gateways,
      dial: options.dial,
      clock,
      logger: options.logger,
      soon: options.soon,
      onRoom: (link) => {
        this.#offerRoom(link.modelId);
      },
    });
  }

  start(): void {
    this.#gateways.start();
    this.#timer = this.#options.clock.every(sweepMs, () => {
      this.#sweep();
    });
  }

  /** Takes no more requests; those in flight go on until `stop`. */
  beginClose(): void {
    this.#closing = true;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#gateways.close();
  }

  /** Step 1. */
  onHead(head: HttpHead): HttpReply | null {
    const { path, method } = head;
    if (path === "/v1/chat/completions" || path === "/v1/completions") {
      if (method !== "POST") return this.#refuse(wrongMethod(method, "POST"), ["allow", "POST"]);
      if (!isJson(head.contentType)) return this.#refuse(wrongContentType);
      const error = this.#noRoom(0);
      return error === null ? null : this.#refuse(error);
    }
    const reply = this.#page(path);
    if (reply === null) return this.#refuse(unknownUrl(method, path));
    if (method === "GET" || method === "HEAD") return reply;
    return this.#refuse(wrongMethod(method, "GET"), ["allow", "GET, HEAD"]);
  }

  #noRoom(more: number): ApiError | null {
    if (this.#closing) return shuttingDown;
    const { inflight, inputsTotal } = this.#options.limits;
    if (this.#inflight >= inflight || this.#inputBytes + more > inputsTotal) return tooManyRequests;
    return null;
  }

  #refuse(error: ApiError, headers: readonly string[] = []): HttpReply {
    this.metrics.count("other", error.status);
    const reply = errorReply(error);
    return { ...reply, headers: [...reply.headers, ...headers] };
  }

  /** Step 2. */
  onRequest(exchange: HttpExchange): void {
    const kind = exchange.path === "/v1/chat/completions" ? "chat" : "completion";
    const parsed = parseRequest(kind, exchange.body, this.#options.models);
    const error = parsed.ok ? this.#noRoom(exchange.body.length) : parsed.error;
    if (!parsed.ok || error !== null) {
      if (error !== null) {
        this.metrics.count(kind, error.status);
        exchange.reply(errorReply(error));
      }
      return;
    }
    const serving = new Serving(this, exchange, parsed.request, this.#options.limits.queueMs);
    this.#inflight++;
    this.#inputBytes += serving.bytes;
    this.route(serving);
  }

  /** Step 3, again after a refusal or a failure. */
  route(serving: Serving): void {
    const link = this.#gateways.pick(serving.modelId, serving.allows);
    if (link !== null) serving.sendTo(link);
    else if (serving.deadlineMs <= this.nowMs()) serving.expire();
    else this.#queue.add(serving);
  }

  #offerRoom(modelId: string | null): void {
    if (this.#queue.size === 0 || modelId === null) return;
    this.#queue.offer(modelId, (serving) => {
      const link = this.#gateways.pick(modelId, serving.allows);
      if (link === null)
        return this.#gateways.pick(modelId, () => true) === null ? "full" : "later";
      serving.sendTo(link);
      return "placed";
    });
  }

  /** Step 7. */
  onDone(serving: Serving, code: number, outcome: Outcome, tokens: number): void {
    this.#inflight--;
    this.#inputBytes -= serving.bytes;
    this.#queue.remove(serving);
    this.metrics.count(serving.request.kind, code, outcome);
    this.metrics.tokens += tokens;
    this.metrics.duration.observe((this.nowMs() - serving.arrivedMs) / 1000);
  }

  onFirstText(serving: Serving): void {
    this.metrics.firstToken.observe((this.nowMs() - serving.arrivedMs) / 1000);
  }

  onRetry(): void {
    this.metrics.retries++;
  }

  keepsUp(exchange: HttpExchange): boolean {
    if (this.#backlogs.note(exchange)) return true;
    this.#backlogs.forget(exchange);
    this.metrics.slowClients++;
    return false;
  }

  nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  wallSeconds(): number {
    return Math.floor(this.#options.clock.wallMs() / 1000);
  }

  #sweep(): void {
    if (this.#queue.size > 0) {
      for (const serving of this.#queue.expire(this.nowMs())) serving.expire();
    }
    if (++this.#sweeps % sweepsPerSecond !== 0) return;
    this.#gateways.sweep();
    for (const exchange of this.#backlogs.sweep()) {
      this.#backlogs.forget(exchange);
      this.metrics.slowClients++;
      exchange.reset();
    }
  }

  onFault(fault: HttpFault): HttpReply {
    return this.#refuse(faults[fault]);
  }

  /** Everything that is not inference; null for an unknown path. */
  #page(path: string): HttpReply | null {
    if (path === "/v1/models") {
      return json(200, modelsJson(this.#options.models, this.#gateways.serving()));
    }
    if (path.startsWith("/v1/models/")) return this.#modelPage(path.slice("/v1/models/".length));
    if (path === "/health") return this.#health();
    if (path !== "/metrics") return null;
    const headers = ["content-type", "text/plain; version=0.0.4; charset=utf-8"];
    return { status: 200, headers, body: this.metrics.text(this.#gauges()) };
  }

  #modelPage(encoded: string): HttpReply {
    const id = percentDecoded(encoded);
    const model = this.#options.models.get(id);
    if (model === undefined) return this.#refuse(modelNotFound(id.slice(0, limits.name)));
    return json(200, modelJson(model, this.#gateways.serving()));
  }

  #health(): HttpReply {
    const gateways = this.#gateways.links.map(({ name, accepting }) => ({ name, accepting }));
    const up = !this.#closing && gateways.some((gateway) => gateway.accepting);
    const body = JSON.stringify({ status: up ? "ok" : "unavailable", gateways });
    return json(up ? 200 : 503, body, up ? [] : ["retry-after", "5"]);
  }

  #gauges(): Gauges {
    const gateways = this.#gateways.links.map(({ name, accepting, inflight }) => ({
      name,
      accepting,
      inflight,
    }));
    const connections = this.#options.connections();
    return { inflight: this.#inflight, waiting: this.#queue.size, connections, gateways };
  }

  /** What observers are told. */
  status(): RouterStatus {
    const { inflight, connections, gateways } = this.#gauges();
    const { requests, errors } = this.metrics;
    const { name } = this.#options;
    return { role: "router", name, inflight, connections, requests, errors, gateways };
  }
}

const faults: Readonly<Record<HttpFault, ApiError>> = {
  malformed: malformedHttp,
  "headers-too-large": headersTooLarge,
  "body-too-large": bodyTooLarge(limits.httpBody),
  "bodies-full": tooManyRequests,
  "too-slow": bodyTooSlow,
  "too-many-connections": tooManyConnections,
};

function json(status: number, body: string, headers: readonly string[] = []): HttpReply {
  return { status, headers: ["content-type", "application/json", ...headers], body };
}

function isJson(contentType: string): boolean {
  return (
    contentType === "application/json" ||
    /^application\/json *(?:; *charset *= *"?utf-?8"?)? *;? *$/i.test(contentType)
  );
}

/** A path that is no valid percent-encoding names itself: it will not be found. */
function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text.toWellFormed();
  }
}
