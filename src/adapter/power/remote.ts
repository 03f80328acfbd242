/**
 * Power of a server on another machine. The gateway listens; the server's host dials in over mutual
 * TLS (bin/server.ts) and starts a fresh sandboxed server for each connection.
 *
 * Trust: without a power command, cutting power is closing the link, and that the server's memory
 * then goes is believed of its host. With one (a PDU, a BMC) it is the outlet that is switched.
 */
import { execFile } from "node:child_process";
import { UnavailableError } from "../../base/assert.ts";
import type { Logger } from "../../base/report.ts";
import type { Wire } from "../../format/wire.ts";
import type { Power, PoweredServer } from "../../gateway/power.port.ts";
import { listenTls, type Listener, type TlsIdentity } from "../tls.ts";

export interface RemotePowerOptions {
  /** The one server that may connect, by the name in its certificate `server/<name>`. */
  readonly name: string;
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly identity: TlsIdentity;
  readonly logger: Logger;
  /** How long `on` waits for the server's host. */
  readonly onTimeoutMs: number;
  /** Command line that switches the outlet off, and on again; run without a shell. */
  readonly powerOff?: readonly string[];
  readonly powerOn?: readonly string[];
  /** How long either may take. */
  readonly commandTimeoutMs: number;
}

export interface RemotePower extends Power {
  readonly port: number;
  /** Stops listening and drops the server. */
  close(): Promise<void>;
}

/** Starts to listen. Throws UnavailableError `tls.listen` when the port cannot be had. */
export async function remotePower(options: RemotePowerOptions): Promise<RemotePower> {
  const power = new TlsPower(options);
  await power.listen();
  return power;
}

class TlsPower implements RemotePower {
  readonly simulated: string;
  readonly #options: RemotePowerOptions;
  #listener: Listener | null = null;
  /** Connected and not yet asked for. */
  #waiting: Wire | null = null;
  #active: Wire | null = null;
  #wanted: ((wire: Wire) => void) | null = null;

  constructor(options: RemotePowerOptions) {
    this.#options = options;
    this.simulated =
      options.powerOff === undefined
        ? "no power command: cutting power closes the link and trusts the server's host with the rest"
        : "";
  }

  async listen(): Promise<void> {
    const { host, port, identity, logger, name } = this.#options;
    this.#listener = await listenTls({
      host,
      port,
      identity,
      accept: ["server"],
      onWire: (wire) => {
        this.#arrive(wire);
      },
      onRefused: (reason) => {
        logger.log("warn", "power.refused", { server: name, reason });
      },
    });
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  #arrive(wire: Wire): void {
    const { name, logger } = this.#options;
    if (wire.peer.name !== name || this.#active !== null) {
      const reason =
        wire.peer.name === name ? "it is connected already" : `server ${name} is expected`;
      logger.log("warn", "power.refused", { server: wire.peer.name, reason });
      wire.close(reason);
      return;
    }
    if (this.#wanted !== null) {
      this.#wanted(wire);
      return;
    }
    // Whoever dialled last is the live one; an older connection may be half open.
    this.#waiting?.close("a newer connection took its place");
    this.#waiting = wire;
    wire.onClose(() => {
      if (this.#waiting === wire) this.#waiting = null;
    });
  }

  async on(): Promise<PoweredServer> {
    const { powerOn, name } = this.#options;
    if (this.#active !== null || this.#wanted !== null) {
      throw new UnavailableError("power.on", `server ${name} is already on`, "none");
    }
    if (powerOn !== undefined) await this.#command(powerOn);
    const wire = await this.#connection();
    this.#active = wire;
    const gone = new Promise<string>((resolve) => {
      wire.onClose((reason) => {
        if (this.#active === wire) this.#active = null;
        resolve(reason);
      });
    });
    const isolation = {
      kind: "remote",
      detail: "the server runs on another machine; its host answers for its isolation",
    } as const;
    return { wire, isolation, gone, kill: this.#killOnce(wire) };
  }

  /** Throws the outlet's switch: a server of an earlier run may still be powered. */
  async off(): Promise<void> {
    const { powerOff } = this.#options;
    if (powerOff === undefined) return;
    this.#waiting?.close("power was cut");
    await this.#command(powerOff);
  }

  #connection(): Promise<Wire> {
    const ready = this.#waiting;
    this.#waiting = null;
    if (ready !== null && !ready.closed) return Promise.resolve(ready);
    const { name, onTimeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wanted = null;
        const why = `server ${name} did not connect within ${onTimeoutMs} ms`;
        reject(new UnavailableError("power.on", why, "none"));
      }, onTimeoutMs);
      this.#wanted = (wire): void => {
        clearTimeout(timer);
        this.#wanted = null;
        resolve(wire);
      };
    });
  }

  /** Closes the link, then switches the outlet; a second call waits for the first. */
  #killOnce(wire: Wire): () => Promise<void> {
    let done: Promise<void> | null = null;
    const cut = async (): Promise<void> => {
      wire.close("power was cut");
      const { powerOff } = this.#options;
      if (powerOff !== undefined) await this.#command(powerOff);
    };
    return async () => {
      const mine = (done ??= cut());
      try {
        await mine;
      } catch (error) {
        // The outlet may still be on: the next call tries again.
        if (done === mine) done = null;
        throw error;
      }
    };
  }

  #command(argv: readonly string[]): Promise<void> {
    const [file, ...args] = argv;
    const { commandTimeoutMs, logger, name } = this.#options;
    return new Promise((resolve, reject) => {
      const options = {
        timeout: commandTimeoutMs,
        killSignal: "SIGKILL",
        maxBuffer: 65_536,
      } as const;
      execFile(file ?? "", args, options, (error) => {
        if (error === null) {
          logger.log("info", "power.command", { server: name, command: file });
          resolve();
          return;
        }
        const how = error.killed === true ? "timed out" : `failed (${String(error.code)})`;
        const why = `the power command ${String(file)} of server ${name} ${how}`;
        reject(new UnavailableError("power.command", why, "unknown"));
      });
    });
  }

  async close(): Promise<void> {
    this.#waiting?.close("the gateway stops");
    this.#active?.close("the gateway stops");
    await this.#listener?.close();
  }
}
