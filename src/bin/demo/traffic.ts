/** Ordinary clients of a site: they know its endpoint and nothing else. */
import { parseTag, type Tag } from "../../format/tag.ts";

export interface Reply {
  readonly gateway: string;
  readonly tag: Tag;
  readonly prompt: string;
  readonly text: string;
  readonly tokens: number;
  readonly atMs: number;
}

interface Completion {
  readonly id: string;
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: { readonly completion_tokens: number };
}

const subjects = [
  "a lighthouse",
  "a miller and a cat",
  "the old harbour",
  "a clock that stopped",
  "two friends on a road",
  "a fox in the snow",
  "the longest night",
  "a boat without a sail",
];

/** Sends one chat request. Throws when it is not answered with 200. */
export async function askModel(
  endpoint: string,
  model: string,
  prompt: string,
  maxTokens: number,
  signal?: AbortSignal,
): Promise<Reply> {
  const response = await fetch(`${endpoint}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      max_tokens: maxTokens,
      messages: [{ role: "user", content: prompt }],
    }),
    ...(signal === undefined ? {} : { signal }),
  });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${body.slice(0, 200)}`);
  const completion = JSON.parse(body) as Completion;
  return {
    ...parseTag(completion.id),
    prompt,
    text: completion.choices[0]?.message.content ?? "",
    tokens: completion.usage.completion_tokens,
    atMs: Date.now(),
  };
}

export class Traffic {
  readonly replies: Reply[] = [];
  readonly errors: string[] = [];
  readonly #endpoint: string;
  readonly #model: string;
  readonly #onChange: () => void;
  readonly #abort = new AbortController();
  #clients: Promise<void>[] = [];
  #count = 0;

  constructor(endpoint: string, model: string, onChange: () => void) {
    this.#endpoint = endpoint;
    this.#model = model;
    this.#onChange = onChange;
  }

  /** Starts clients that send one request after the other. */
  start(clients: number): void {
    for (let i = 0; i < clients; i++) this.#clients.push(this.#client());
  }

  async #client(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) await this.send(this.nextPrompt(), 80).catch(() => undefined);
  }

  nextPrompt(): string {
    return `Tell me a story about ${subjects[this.#count++ % subjects.length] ?? "a river"}.`;
  }

  /** One request; its reply or its error is counted. */
  async send(prompt: string, maxTokens: number): Promise<Reply> {
    const { signal } = this.#abort;
    try {
      const reply = await askModel(this.#endpoint, this.#model, prompt, maxTokens, signal);
      this.replies.push(reply);
      this.#onChange();
      return reply;
    } catch (error) {
      if (!signal.aborted) {
        this.errors.push(error instanceof Error ? error.message : String(error));
        this.#onChange();
        // A client that is refused waits a moment, as any does.
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#clients);
    this.#clients = [];
  }
}
