/** Choosing the two ports that people see. */
import { createServer } from "node:net";
import { UnavailableError } from "../../base/assert.ts";

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE" || error.code === "EACCES") resolve(false);
      else
        reject(
          new UnavailableError("site.host", `cannot listen on ${host}: ${error.message}`, "none"),
        );
    });
    server.listen(port, host, () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}

export interface PortWish {
  readonly host: string;
  /** A port that was asked for: that one or none. */
  readonly asked: number | undefined;
  /** Otherwise the first free port from here on. */
  readonly from: number;
  /** Ports taken for something else a moment ago. */
  readonly not: readonly number[];
  /** What it is for, in words. */
  readonly what: string;
}

/** Finds a port. Throws UnavailableError `site.port` when the one asked for is taken. */
export async function choosePort(wish: PortWish): Promise<number> {
  const { host, asked, what } = wish;
  if (asked !== undefined) {
    if (!wish.not.includes(asked) && (await isFree(host, asked))) return asked;
    throw new UnavailableError(
      "site.port",
      `port ${asked} for ${what} is taken on ${host}`,
      "none",
    );
  }
  for (let port = wish.from; port < wish.from + 100 && port <= 65_535; port++) {
    if (!wish.not.includes(port) && (await isFree(host, port))) return port;
  }
  throw new UnavailableError("site.port", `no free port for ${what} from ${wish.from} on`, "none");
}
