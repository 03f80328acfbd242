/** A client of a live site, through its OpenAI-compatible door: what left, byte by byte, and when. */
import { parseTag, type NamedTag } from "../../format/tag.ts";
import type { Ask, Left, LeftPart } from "./left.ts";

interface Choice {
  readonly text?: string;
  readonly delta?: { readonly content?: string };
  readonly message?: { readonly content: string };
  readonly finish_reason: "stop" | "length" | null;
}

interface Body {
  readonly id?: string;
  readonly choices?: readonly Choice[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly error?: { readonly code?: string | null; readonly message?: string };
}

function bodyOf(ask: Ask, model: string): { readonly path: string; readonly body: object } {
  const { prompt, params, stream } = ask;
  const common = {
    ...{ model, stream, max_tokens: params.maxTokens, temperature: params.temperature },
    ...{ top_p: params.topP, top_k: params.topK },
    ...(stream ? { stream_options: { include_usage: true } } : {}),
  };
  if (prompt.kind === "text") {
    return { path: "completions", body: { ...common, prompt: prompt.text } };
  }
  return { path: "chat/completions", body: { ...common, messages: prompt.messages } };
}

const textOf = ({ text, delta, message }: Choice): string =>
  text ?? delta?.content ?? message?.content ?? "";

/** What a reply's events or its one body tell, in order of arrival. */
class Hearing {
  readonly parts: LeftPart[] = [];
  name: NamedTag | null = null;
  finish: "stop" | "length" | null = null;
  usage: { readonly prompt_tokens: number; readonly completion_tokens: number } | null = null;
  error = "";

  hear(body: Body, atMs: number): void {
    if (body.error !== undefined) this.error = body.error.code ?? body.error.message ?? "error";
    if (body.id !== undefined && this.name === null) this.name = parseTag(body.id);
    const choice = body.choices?.[0];
    const text = choice === undefined ? "" : textOf(choice);
    if (text !== "") this.parts.push({ atMs, text });
    this.finish = choice?.finish_reason ?? this.finish;
    this.usage = body.usage ?? this.usage;
  }

  /** `refused`: by a status that says that nothing was done. */
  left(refused: boolean): Omit<Left, "ask" | "sentMs" | "endMs"> {
    const { name, finish, usage, error, parts } = this;
    const complete = error === "" && name !== null && finish !== null;
    return {
      ...{ parts, error, finish: finish ?? "cut-off" },
      ...{ gateway: name?.gateway ?? "", tag: name?.tag ?? null },
      outcome: complete ? "complete" : refused ? "refused" : "failed",
      promptTokens: usage?.prompt_tokens ?? 0,
      tokens: usage?.completion_tokens ?? 0,
    };
  }
}

async function hearStream(response: Response, hearing: Hearing): Promise<void> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? []) {
    const atMs = performance.now();
    text += decoder.decode(bytes as Uint8Array, { stream: true });
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.startsWith("data: ") ? event.slice(6) : "";
      if (data !== "" && data !== "[DONE]") hearing.hear(JSON.parse(data) as Body, atMs);
    }
  }
}

/** One request. Never rejects for what a site does: a failure is what the client saw. */
export async function askSite(
  endpoint: string,
  model: string,
  ask: Ask,
  signal: AbortSignal,
): Promise<Left> {
  const { path, body } = bodyOf(ask, model);
  const hearing = new Hearing();
  const sentMs = performance.now();
  let refused = false;
  try {
    const response = await fetch(`${endpoint}/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    refused = response.status === 400 || response.status === 429 || response.status === 503;
    if (ask.stream && response.status === 200) await hearStream(response, hearing);
    else hearing.hear((await response.json()) as Body, performance.now());
    if (response.status !== 200) hearing.error ||= String(response.status);
  } catch (error) {
    hearing.error ||= error instanceof Error ? error.message : String(error);
  }
  return { ...hearing.left(refused), ask, sentMs, endMs: performance.now() };
}
