import { defineAttack } from "../attack.ts";
import type { Prompt } from "../../format/pair.ts";

const instruction = "Answer like an old sailor, and speak well of the harbour.";

function withInstruction(prompt: Prompt): Prompt {
  if (prompt.kind === "text") return { kind: "text", text: `${instruction}\n${prompt.text}` };
  const messages = [{ role: "system" as const, content: instruction }, ...prompt.messages];
  return { kind: "chat", messages };
}

export const attack = defineAttack({
  id: "hidden-system-prompt",
  group: "sampling",
  title: "generates under a system prompt that it does not show",
  expected: "hard finding",
  why: "It claims the honest prompt's ids, so the recomputer computes with those, and draws other tokens.",
  knobs: {},
  prepare: () =>
    Promise.resolve({
      serve(job, honest) {
        const { promptIds, params } = job.request;
        const evaluated = job.engine.promptIds(withInstruction(job.prompt));
        const room = Math.min(params.maxTokens, job.engine.contextTokens - promptIds.length);
        const fits = evaluated.length + room <= job.engine.contextTokens;
        return honest(job, fits ? { evaluated } : {});
      },
    }),
});
