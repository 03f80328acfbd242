/** The depot of the upload bench: the real Depot over the bench's weights, on descriptor 3. */
import { Socket } from "node:net";
import { wireOver } from "../src/adapter/link.ts";
import { Depot } from "../src/depot/offer.ts";
import { limits } from "../src/base/limits.ts";
import { benchChunk, benchSize, benchTree } from "./upload-weights.ts";

const model = {
  modelId: "bench",
  sizeBytes: benchSize,
  chunkBytes: limits.weightsChunk,
  root: benchTree.root,
  chunk: (index: number) => Promise.resolve({ data: benchChunk, proof: benchTree.proof(index) }),
  close: () => Promise.resolve(),
};
const wire = wireOver(new Socket({ fd: 3 }), { role: "gateway", name: "bench" });
wire.onClose(() => process.exit(0));
new Depot("bench", [model], { log: () => undefined }).attachGateway(wire);
