/**
 * The depot of the upload bench: the real Depot over the bench's weights, on a Unix socket
 * (argument: its path) or over mutual TLS (argument: a folder with its certificate). Prints one line
 * when it listens: its port.
 */
import { createServer } from "node:net";
import { wireOver } from "../src/adapter/link.ts";
import { listenTls, readIdentity } from "../src/adapter/tls.ts";
import { systemRandom } from "../src/adapter/random.ts";
import { limits } from "../src/base/limits.ts";
import { publicKeyHex } from "../src/base/sign.ts";
import { Depot } from "../src/depot/offer.ts";
import type { Wire } from "../src/format/wire.ts";
import { benchChunk, benchDeviceKey, benchSize, benchTree } from "./upload-weights.ts";

const model = {
  modelId: "bench",
  sizeBytes: benchSize,
  chunkBytes: limits.weightsChunk,
  root: benchTree.root,
  chunk: (index: number) => Promise.resolve({ data: benchChunk, proof: benchTree.proof(index) }),
  close: () => Promise.resolve(),
};
const depot = new Depot({
  ...{ name: "bench", models: [model], random: systemRandom, logger: { log: () => undefined } },
  deviceKeys: new Map([["bench", publicKeyHex(benchDeviceKey)]]),
});
const onWire = (wire: Wire): void => {
  wire.onClose(() => process.exit(0));
  depot.attachGateway(wire);
};
const [kind, at = ""] = process.argv.slice(2);
if (kind === "tls") {
  const identity = readIdentity(at, "depot-bench");
  const { port } = await listenTls({
    host: "127.0.0.1",
    port: 0,
    identity,
    accept: ["gateway"],
    onWire,
  });
  console.log(JSON.stringify({ port }));
} else {
  createServer((socket) => {
    onWire(wireOver(socket, { role: "gateway", name: "bench" }));
  }).listen(at, () => {
    console.log(JSON.stringify({ port: 0 }));
  });
}
