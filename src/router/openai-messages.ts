/** The prompt of an OpenAI request: `messages` of a chat, `prompt` of a completion. Pure. */
import { limits } from "../base/limits.ts";
import type { ChatMessage, ChatRole, Prompt } from "../format/pair.ts";
import { invalid } from "./errors.ts";
import {
  isObject,
  Refused,
  short,
  wellFormed,
  wrongType,
  type JsonObject,
} from "./openai-values.ts";

/** `developer` is OpenAI's newer word for what templates call `system`. */
const roles: ReadonlyMap<unknown, ChatRole> = new Map([
  ["system", "system"],
  ["developer", "system"],
  ["user", "user"],
  ["assistant", "assistant"],
]);

/** Other fields of a message that clients send back as we gave them, and that say nothing. */
const emptyFields: ReadonlySet<string> = new Set([
  "refusal",
  "tool_calls",
  "function_call",
  "audio",
  "annotations",
  "name",
  "reasoning_content",
]);

function isEmpty(value: unknown): boolean {
  return value === null || value === "" || (Array.isArray(value) && value.length === 0);
}

function partText(part: unknown, path: string): string {
  if (!isObject(part)) throw wrongType(path, "an object", part);
  const type = part["type"];
  if (type !== "text") {
    const named = typeof type === "string" ? `"${short(type)}"` : "of no type";
    throw new Refused(
      invalid(
        "unsupported_content",
        `\`${path}.type\`: content ${named} is not supported, only text.`,
        `${path}.type`,
      ),
    );
  }
  for (const key of Object.keys(part)) {
    if (key !== "type" && key !== "text") throw unknownField(`${path}.${short(key)}`);
  }
  return textAt(part["text"], `${path}.text`);
}

function unknownField(path: string): Refused {
  return new Refused(invalid("unsupported_parameter", `\`${path}\` is not supported.`, path));
}

function textAt(value: unknown, path: string): string {
  if (typeof value !== "string") throw wrongType(path, "a string", value);
  return wellFormed(value, path);
}

/** A string, or a list of text parts that are joined with nothing between them. */
function contentAt(value: unknown, path: string): string {
  if (typeof value === "string") return wellFormed(value, path);
  if (!Array.isArray(value)) throw wrongType(path, "a string or a list of text parts", value);
  let text = "";
  for (let i = 0; i < value.length; i++) text += partText(value[i], `${path}[${i}]`);
  return text;
}

function messageAt(value: unknown, path: string): ChatMessage {
  if (!isObject(value)) throw wrongType(path, "an object", value);
  const role = roles.get(value["role"]);
  if (role === undefined) throw wrongRole(value, path);
  for (const key of Object.keys(value)) {
    if (key === "role" || key === "content") continue;
    if (!emptyFields.has(key) || !isEmpty(value[key])) throw unknownField(`${path}.${short(key)}`);
  }
  return { role, content: contentAt(value["content"], `${path}.content`) };
}

function wrongRole(message: JsonObject, path: string): Refused {
  const role = message["role"];
  if (typeof role !== "string") return wrongType(`${path}.role`, "a string", role);
  const text = `\`${path}.role\` is "${short(role)}"; use system, developer, user or assistant.`;
  return new Refused(invalid("unsupported_role", text, `${path}.role`));
}

/** Reads `messages`. Throws Refused, naming the field at fault by its path. */
export function chatPrompt(value: unknown): Prompt {
  if (!Array.isArray(value)) throw wrongType("messages", "a list of messages", value);
  if (value.length === 0) {
    throw new Refused(invalid("invalid_value", "`messages` must not be empty.", "messages"));
  }
  if (value.length > limits.messages) {
    const text = `\`messages\` has ${value.length} messages; at most ${limits.messages} are allowed.`;
    throw new Refused(invalid("invalid_value", text, "messages"));
  }
  const messages: ChatMessage[] = [];
  for (let i = 0; i < value.length; i++) messages.push(messageAt(value[i], `messages[${i}]`));
  return { kind: "chat", messages };
}

/** Reads `prompt`: one string, also as a list of one. Throws Refused. */
export function textPrompt(value: unknown): Prompt {
  const only: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  if (Array.isArray(value) && typeof only !== "string") {
    const text = "`prompt` must be one string: lists of prompts and token ids are not supported.";
    throw new Refused(invalid("unsupported_parameter", text, "prompt"));
  }
  const prompt = textAt(only, "prompt");
  if (prompt === "") {
    throw new Refused(invalid("invalid_value", "`prompt` must not be empty.", "prompt"));
  }
  return { kind: "text", text: prompt };
}
