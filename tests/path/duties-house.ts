/** The house in which the duties of a gateway are told: a small model, a server that does as it is told. */
import { frameType, type Frame } from "../../src/format/link.ts";
import { encodeInput } from "../../src/format/pair.ts";
import { decodeAbort, decodeOutputPart, decodeRefused } from "../../src/format/router-link.ts";
import { encodeEnd, encodePrompt, encodeTokens } from "../../src/format/server-link.ts";
import type { Wire } from "../../src/format/wire.ts";
import { testDepot } from "../sealing.ts";
import { chunked, whitelisted } from "../support.ts";
import { buildHouse, removeDirectory, type House, type HouseOptions } from "./house.ts";

const weights = Buffer.alloc(5000, 9);
export const { entry } = whitelisted("m", weights, 4096);
const { chunks, tree } = chunked(weights, 4096);

/** Offers the only weights. */
export function depot(link: Wire): void {
  const model = {
    modelId: "m",
    sizeBytes: weights.length,
    chunkBytes: 4096,
    root: tree.root,
    chunk: (i: number) =>
      Promise.resolve({ data: chunks[i] ?? Buffer.alloc(0), proof: tree.proof(i) }),
    close: () => Promise.resolve(),
  };
  testDepot([model]).attachGateway(link);
}

/** A server that does with each GENERATE what the test says. */
export function server(onGenerate: (link: Wire, frame: Frame) => void): (link: Wire) => void {
  return (link) => {
    link.onFrame((frame) => {
      if (frame.type === frameType.loadEnd) link.send(frameType.loadReady, 0n);
      if (frame.type === frameType.generate) onGenerate(link, frame);
    });
  };
}

/** Two tokens, one more, and the end. */
export function answer(link: Wire, frame: Frame): void {
  link.send(frameType.prompt, frame.id, encodePrompt([1, 2, 3]));
  link.send(frameType.tokens, frame.id, encodeTokens([4, 5], "hello "));
  link.send(frameType.tokens, frame.id, encodeTokens([6], "you"));
  link.send(frameType.end, frame.id, encodeEnd("stop"));
}

export const params = { maxTokens: 5, temperature: 1, topK: 4, topP: 1, stops: [] };
export const hello = encodeInput({ modelId: "m", params, prompt: { kind: "text", text: "hi" } });

/** What a router saw, one word a frame: `refused:full`, `output:text`, `final`, `abort:code`. */
function listen(router: Wire): string[] {
  const seen: string[] = [];
  router.onFrame((frame) => {
    if (frame.type === frameType.refused) seen.push(`refused:${decodeRefused(frame.payload).code}`);
    if (frame.type === frameType.abort) seen.push(`abort:${decodeAbort(frame.payload)}`);
    if (frame.type === frameType.drainAsk) seen.push("drain-ask");
    if (frame.type !== frameType.output) return;
    const part = decodeOutputPart(frame.payload);
    if (part.text !== "") seen.push(`output:${part.text}`);
    if (part.final !== null) seen.push("final");
  });
  return seen;
}

/** A story in a house with one router: begins when it serves; the house is gone afterwards. */
export async function withHouse(
  options: Omit<HouseOptions, "entry" | "depot">,
  story: (house: House, router: Wire, seen: string[]) => Promise<void>,
): Promise<void> {
  const house = await buildHouse({ entry, depot, ...options });
  const router = house.connectRouter();
  const seen = listen(router);
  try {
    await house.until("serving", () => house.gateway.status().ready);
    await story(house, router, seen);
  } finally {
    await house.stop();
    if (options.dir === undefined) removeDirectory(house.dir);
  }
}
