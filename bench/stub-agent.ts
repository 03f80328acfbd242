/**
 * The server of the gateway bench: speaks the link protocol, takes weights, and answers at once
 * without a model. What it sends is chosen by the first word of the prompt:
 *
 *   json            500 words in one TOKENS frame
 *   burst           200 TOKENS frames of one token, as fast as they go
 *   paced           200 TOKENS frames of one token, one every 10 ms
 */
import { Socket } from "node:net";
import { wireOver } from "../src/adapter/link.ts";
import { frameType, type Frame } from "../src/format/link.ts";
import type { Wire } from "../src/format/wire.ts";
import {
  decodeGenerate,
  encodeEnd,
  encodePrompt,
  encodeTokens,
} from "../src/format/server-link.ts";

const words = 500;
const chunks = 200;
const paceMs = 10;

const longIds = Array.from({ length: words }, (_, i) => i);
const longText = Array.from({ length: words }, (_, i) => `word${i % 97} `).join("");
const jsonTokens = encodeTokens(longIds, longText);
const oneToken = encodeTokens([7], "token ");
const prompt = encodePrompt(Array.from({ length: 300 }, (_, i) => i));
const stop = encodeEnd("stop");

function paced(wire: Wire, tag: bigint, left: number): void {
  if (wire.closed) return;
  wire.send(frameType.tokens, tag, oneToken);
  if (left > 1) setTimeout(() => paced(wire, tag, left - 1), paceMs);
  else wire.send(frameType.end, tag, stop);
}

function answer(wire: Wire, frame: Frame): void {
  const { input } = decodeGenerate(frame.payload);
  const text =
    input.prompt.kind === "text" ? input.prompt.text : (input.prompt.messages[0]?.content ?? "");
  const tag = frame.id;
  wire.send(frameType.prompt, tag, prompt);
  if (text.startsWith("paced")) {
    paced(wire, tag, chunks);
    return;
  }
  if (text.startsWith("burst")) {
    for (let i = 0; i < chunks; i++) wire.send(frameType.tokens, tag, oneToken);
  } else {
    wire.send(frameType.tokens, tag, jsonTokens);
  }
  wire.send(frameType.end, tag, stop);
}

const fd = Number(process.argv[process.argv.indexOf("--fd") + 1]);
const wire = wireOver(new Socket({ fd }), { role: "gateway", name: "bench" });
wire.onFrame((frame) => {
  if (frame.type === frameType.loadEnd) wire.send(frameType.loadReady, 0n);
  else if (frame.type === frameType.generate) answer(wire, frame);
});
wire.onClose(() => process.exit(0));
