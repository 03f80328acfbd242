import assert from "node:assert/strict";
import { test } from "node:test";
import { chatTemplate } from "./fixture.ts";
import { ChatTemplate } from "./template.ts";

const tokens = { bos: "<s>", eos: "</s>" };
const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "Hello {{ 7 * 7 }}" },
] as const;

test("template: ChatML -> messages, then the assistant's turn; content is not a template", () => {
  assert.equal(
    new ChatTemplate(chatTemplate, tokens).render(messages),
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello {{ 7 * 7 }}<|im_end|>\n<|im_start|>assistant\n",
  );
});

test("template: token texts and constants -> available", () => {
  const source =
    "{{ bos_token }}{% for i in range(3) %}{{ i }}{% endfor %}{{ eos_token if true else none }}";
  assert.equal(new ChatTemplate(source, tokens).render(messages), "<s>012</s>");
});

test("template: asks for the date -> falls back where it tests, fails where it does not", () => {
  const guarded =
    "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}2024{% endif %}";
  assert.equal(new ChatTemplate(guarded, tokens).render(messages), "2024");
  const plain = new ChatTemplate("{{ strftime_now('%Y') }}", tokens);
  assert.throws(() => plain.render(messages), { code: "template.render" });
});

test("template: raises an exception -> template.render with its words", () => {
  const source = "{{ raise_exception('system role not supported') }}";
  assert.throws(() => new ChatTemplate(source, tokens).render(messages), {
    code: "template.render",
    message: /system role not supported/,
  });
});

test("template: broken syntax -> template.syntax", () => {
  assert.throws(() => new ChatTemplate("{% for %}", tokens), { code: "template.syntax" });
});
