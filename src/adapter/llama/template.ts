/** Chat templates of model files, rendered with Jinja. No clock, no randomness: same bytes, same text. */
import * as jinja from "@huggingface/jinja";
import { InvalidError } from "../../base/assert.ts";
import type { ChatMessage } from "../../format/pair.ts";

// The package's type files do not resolve under node16 rules: what is used of it is stated here.
interface Names {
  set(name: string, value: unknown): unknown;
}
interface Jinja {
  readonly Template: new (source: string) => { readonly parsed: unknown };
  readonly Environment: new () => Names;
  readonly Interpreter: new (names: Names) => {
    run(program: unknown): { readonly value: unknown };
  };
}
const { Template, Environment, Interpreter } = jinja as unknown as Jinja;

export interface TemplateTokens {
  /** Texts of the beginning- and end-of-sequence tokens; "" where the model has none. */
  readonly bos: string;
  readonly eos: string;
}

export class ChatTemplate {
  readonly #program: unknown;
  readonly #tokens: TemplateTokens;

  /** Throws InvalidError `template.syntax` when the model's template cannot be parsed. */
  constructor(source: string, tokens: TemplateTokens) {
    try {
      this.#program = new Template(source).parsed;
    } catch (error) {
      throw new InvalidError(
        "template.syntax",
        `the chat template cannot be parsed: ${why(error)}`,
      );
    }
    this.#tokens = tokens;
  }

  /**
   * The prompt text of a chat, up to where the assistant speaks. Throws InvalidError
   * `template.render`, for example where a template refuses the order of roles.
   */
  render(messages: readonly ChatMessage[]): string {
    const names = globals();
    names.set(
      "messages",
      messages.map(({ role, content }) => ({ role, content })),
    );
    names.set("add_generation_prompt", true);
    names.set("bos_token", this.#tokens.bos);
    names.set("eos_token", this.#tokens.eos);
    try {
      const text = new Interpreter(names).run(this.#program).value;
      if (typeof text !== "string") throw new Error("it gives no text");
      return text;
    } catch (error) {
      throw new InvalidError("template.render", `the chat template refuses: ${why(error)}`);
    }
  }
}

/**
 * Jinja's globals without the library's `strftime_now`: a template that asks for the date would give
 * another prompt tomorrow. Templates that test for it fall back; others fail to render.
 */
function globals(): Names {
  const names = new Environment();
  for (const [name, value] of [
    ["true", true],
    ["false", false],
    ["none", null],
    ["True", true],
    ["False", false],
    ["None", null],
  ] as const) {
    names.set(name, value);
  }
  names.set("raise_exception", (message: unknown) => {
    throw new Error(String(message));
  });
  names.set("range", range);
  return names;
}

function range(first: number, last?: number, step = 1): number[] {
  const [from, to] = last === undefined ? [0, first] : [first, last];
  if (step === 0) throw new Error("range() with step 0");
  const numbers: number[] = [];
  for (let i = from; step > 0 ? i < to : i > to; i += step) numbers.push(i);
  return numbers;
}

function why(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
