/** Ports for sites that tests start: two sites that look for the next free one at a time may find the same. */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";

/** Flags of `weir up` that name two ports which are free now. */
export async function freePorts(): Promise<string[]> {
  const servers = [createServer(), createServer()];
  const ports: string[] = [];
  for (const server of servers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ports.push(String((server.address() as AddressInfo).port));
  }
  for (const server of servers) {
    server.close();
    await once(server, "close");
  }
  const [port = "", page = ""] = ports;
  return ["--port", port, "--page-port", page];
}
