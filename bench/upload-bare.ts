/**
 * The peer of the upload bench: node:tls alone, sending as many bytes as the weights have from one
 * buffer, unframed and unread. No link of Node's can be faster. Argument: a folder with the depot's
 * certificate. Prints one line when it listens: its port.
 */
import type { AddressInfo } from "node:net";
import { createServer } from "node:tls";
import { readIdentity } from "../src/adapter/tls.ts";
import { benchChunk, benchSize } from "./upload-weights.ts";

const identity = readIdentity(process.argv[2] ?? "", "depot-bench");
const server = createServer(
  { ...identity, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
  (socket) => {
    let left = benchSize;
    const send = (): void => {
      while (left > 0) {
        left -= benchChunk.length;
        if (socket.write(benchChunk)) continue;
        socket.once("drain", send);
        return;
      }
    };
    socket.on("error", () => process.exit(0));
    socket.on("close", () => process.exit(0));
    socket.once("data", send);
  },
);
server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }));
});
