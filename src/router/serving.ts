/** One request from its arrival to the end of its reply: the steps of serve.ts from 4 on. */
import type { Input } from "../format/pair.ts";
import type { Abort, OutputPart, Refusal } from "../format/router-link.ts";
import type { Tag } from "../format/tag.ts";
import {
  abortIsRetried,
  errorJson,
  errorOfAbort,
  errorOfRefusal,
  noneServing,
  type ApiError,
} from "./errors.ts";
import type { Call, GatewayLink } from "./gateway-link.ts";
import type { ExchangeListener, HttpExchange } from "./http.port.ts";
import type { ParsedRequest } from "./openai.ts";
import {
  errorEvent,
  errorReply,
  EventWriter,
  jsonHeaders,
  jsonReply,
  streamHeaders,
  voiceOf,
  type Voice,
} from "./reply.ts";
import type { Waiting } from "./route.ts";

/** What a request needs of the router. */
export interface ServingHost {
  readonly attemptsMax: number;
  nowMs(): number;
  wallSeconds(): number;
  /** Sends the request to a gateway, or lets it wait for one. */
  route(serving: Serving): void;
  /** Counts what the client has not read; false when it must be cut off. */
  keepsUp(exchange: HttpExchange): boolean;
  onRetry(): void;
  onFirstText(serving: Serving): void;
  onDone(serving: Serving, code: number, outcome: Outcome, tokens: number): void;
}

/** done: answered in full; cut: broken off after its first byte; gone: left; slow: read too slowly. */
export type Outcome = "done" | "cut" | "gone" | "slow";

interface Failed {
  readonly link: GatewayLink;
  readonly generation: number;
}

export class Serving implements Call, ExchangeListener, Waiting {
  readonly request: ParsedRequest;
  readonly deadlineMs: number;
  readonly arrivedMs: number;
  /** Size of the body that it came in; counted against what the router holds. */
  readonly bytes: number;
  readonly #host: ServingHost;
  readonly #exchange: HttpExchange;
  #link: GatewayLink | null = null;
  #id = 0;
  #attempts = 0;
  #failed: Failed[] | null = null;
  #lastError: ApiError | null = null;
  #voice: Voice | null = null;
  #events: EventWriter | null = null;
  #text = "";
  #sawText = false;
  #done = false;

  constructor(host: ServingHost, exchange: HttpExchange, request: ParsedRequest, queueMs: number) {
    this.#host = host;
    this.#exchange = exchange;
    this.request = request;
    this.bytes = exchange.body.length;
    this.arrivedMs = host.nowMs();
    this.deadlineMs = this.arrivedMs + queueMs;
    exchange.listener = this;
  }

  get input(): Input {
    return this.request.input;
  }

  get modelId(): string {
    return this.request.model.id;
  }

  /** Not a gateway whose server already failed this request, unless it was started afresh since. */
  readonly allows = (link: GatewayLink): boolean =>
    this.#failed === null ||
    this.#failed.every((f) => f.link !== link || f.generation !== link.generation);

  /** Step 4. */
  sendTo(link: GatewayLink): void {
    this.#attempts++;
    this.#link = link;
    this.#id = link.send(this);
  }

  /** Step 5. A retry gets another tag; the client sees the last. */
  onAdmitted(tag: Tag): void {
    const { kind, model, seedGiven, includeUsage } = this.request;
    const gateway = this.#link?.name ?? "";
    const created = this.#host.wallSeconds();
    this.#voice = voiceOf({ kind, model, gateway, tag, created, seedGiven, includeUsage });
  }

  /** Nothing happened at that gateway: another may do it, unless the request itself is at fault. */
  onRefused(code: Refusal, detail: string): void {
    this.#link = null;
    if (code === "parameters" || code === "invalid") {
      this.fail(errorOfRefusal(code, detail, this.modelId));
    } else this.#host.route(this);
  }

  /** Step 6. */
  onOutput(part: OutputPart): void {
    if (this.#done || this.#voice === null) return;
    if (part.final?.finish === "cut-off") {
      this.onAbort("server-lost");
      return;
    }
    if (!this.#sawText && part.text !== "") {
      this.#sawText = true;
      this.#host.onFirstText(this);
    }
    if (this.request.stream) this.#stream(this.#voice, part);
    else this.#collect(this.#voice, part);
  }

  #collect(voice: Voice, part: OutputPart): void {
    this.#text += part.text;
    const { final } = part;
    if (final === null || final.finish === "cut-off") return;
    const body = jsonReply(voice, this.#text, final.finish, final);
    this.#exchange.reply({ status: 200, headers: jsonHeaders(voice), body });
    this.#finish(200, "done", final.completionTokens);
    if (!this.#host.keepsUp(this.#exchange)) this.#exchange.reset();
  }

  #stream(voice: Voice, part: OutputPart): void {
    const { final } = part;
    const first = this.#events === null;
    this.#events ??= new EventWriter(voice);
    let events = part.text === "" ? "" : this.#events.text(part.text);
    if (first) events = this.#events.first() + events;
    if (final !== null && final.finish !== "cut-off") {
      events += this.#events.last(final.finish, final);
      if (first) this.#exchange.start(200, streamHeaders(voice), "");
      this.#exchange.end(events);
      this.#finish(200, "done", final.completionTokens);
    } else if (first) this.#exchange.start(200, streamHeaders(voice), events);
    else if (events !== "") this.#exchange.write(events);
    if (!this.#host.keepsUp(this.#exchange)) this.#cutSlow();
  }

  /** A client that does not read may not fill the router's memory. */
  #cutSlow(): void {
    const link = this.#link;
    if (!this.#done) {
      this.#finish(200, "slow", 0);
      link?.withdraw(this.#id);
    }
    this.#exchange.reset();
  }

  /** Retried elsewhere as long as the client has seen nothing; otherwise broken off, in plain sight. */
  onAbort(code: Abort): void {
    if (this.#done) return;
    const { generation } = this.#link ?? { generation: 0 };
    const error = errorOfAbort(code);
    const retry = abortIsRetried(code) && this.#attempts < this.#host.attemptsMax;
    if (this.#events !== null || !retry || this.#link === null) {
      this.fail(error);
      return;
    }
    (this.#failed ??= []).push({ link: this.#link, generation });
    this.#lastError = error;
    this.#link = null;
    this.#voice = null;
    this.#text = "";
    this.#host.onRetry();
    this.#host.route(this);
  }

  /** No gateway came free in time. */
  expire(): void {
    this.fail(this.#lastError ?? noneServing(this.modelId));
  }

  fail(error: ApiError): void {
    if (this.#done) return;
    if (this.#events === null) {
      this.#exchange.reply(errorReply(error));
      this.#finish(error.status, "done", 0);
    } else {
      this.#exchange.cut(errorEvent(errorJson(error)));
      this.#finish(200, "cut", 0);
    }
  }

  onGone(): void {
    if (this.#done) return;
    const link = this.#link;
    this.#finish(499, "gone", 0);
    link?.withdraw(this.#id);
  }

  #finish(code: number, outcome: Outcome, tokens: number): void {
    this.#done = true;
    this.#host.onDone(this, code, outcome, tokens);
  }
}
