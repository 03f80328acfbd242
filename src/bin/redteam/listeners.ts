/** What listens on the host while a server tries its walls, and the numbers by which it finds it. */
import { createSocket, type Socket as Datagrams } from "node:dgram";
import { readlinkSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Knobs } from "../../adversary/attack.ts";

export interface Listeners {
  readonly knobs: Knobs;
  /** Connections and datagrams that came. */
  readonly heard: () => number;
  close(): Promise<void>;
}

function listen(server: Server, at: string | number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    if (typeof at === "string") server.listen(at, resolve);
    else server.listen(at, "127.0.0.1", resolve);
  });
}

function bind(socket: Datagrams): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(0, "127.0.0.1", () => {
      resolve(socket.address().port);
    });
  });
}

/** Number of a namespace of this process; 0 where there is none to read. */
function namespace(kind: string): number {
  try {
    return Number(/\d+/.exec(readlinkSync(`/proc/self/ns/${kind}`))?.[0] ?? 0);
  } catch {
    return 0;
  }
}

/** Opens doors on the host, each kind once. */
export async function openListeners(): Promise<Listeners> {
  let heard = 0;
  const servers: Server[] = [];
  const open = async (at: string | number): Promise<Server> => {
    const server = createServer((socket) => {
      heard++;
      socket.destroy();
    });
    servers.push(server);
    await listen(server, at);
    return server;
  };
  const tcp = await open(0);
  const name = `weir-channel-${process.pid}`;
  await open(`\0${name}`);
  const path = join(tmpdir(), `${name}.sock`);
  rmSync(path, { force: true });
  await open(path);
  const sockets = [createSocket("udp4"), createSocket("udp4")] as const;
  for (const socket of sockets) {
    socket.on("message", (_bytes, from) => {
      heard++;
      socket.send("who is there", from.port, from.address);
    });
  }
  const [udpPort, dnsPort] = [await bind(sockets[0]), await bind(sockets[1])];
  const address = tcp.address();
  const tcpPort = typeof address === "object" && address !== null ? address.port : 0;
  return {
    knobs: {
      ...{ tcpPort, udpPort, dnsPort, hostPid: process.pid, socket: process.pid },
      ...{ netNs: namespace("net"), ipcNs: namespace("ipc"), pidNs: namespace("pid") },
    },
    heard: () => heard,
    async close() {
      for (const socket of sockets) socket.close();
      for (const server of servers) await new Promise((done) => server.close(done));
      rmSync(path, { force: true });
    },
  };
}
