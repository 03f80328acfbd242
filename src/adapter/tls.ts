/**
 * Mutually authenticated TLS 1.3 between roles. A certificate of the site's CA with the common name
 * `<role>/<name>` says who a peer is; nothing else about it is believed.
 *
 * Trust: the CA key decides who may speak to whom. A thief of it can pose as any role, read what
 * crosses links from then on and feed false proof requests; it cannot sign orders or whitelists.
 */
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { UnavailableError } from "../base/assert.ts";
import { peerRoles, type Peer, type PeerRole, type Wire } from "../format/wire.ts";
import { BulkReads, wireOver } from "./link.ts";

export interface TlsIdentity {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
}

/** Reads `<dir>/<base>.crt`, `<dir>/<base>.key` and `<dir>/ca.crt`, PEM. */
export function readIdentity(dir: string, base: string): TlsIdentity {
  return {
    cert: readFileSync(`${dir}/${base}.crt`),
    key: readFileSync(`${dir}/${base}.key`),
    ca: readFileSync(`${dir}/ca.crt`),
  };
}

function peerOf(socket: TLSSocket): Peer | null {
  // A peer without a certificate gives an empty object here, whatever the types say.
  const { subject: names } = socket.getPeerCertificate() as { subject?: { CN?: unknown } };
  const subject = names?.CN;
  if (typeof subject !== "string") return null;
  const [role, name, ...rest] = subject.split("/");
  const known = peerRoles.find((candidate) => candidate === role);
  if (known === undefined || name === undefined || name === "" || rest.length > 0) return null;
  return { role: known, name };
}

export interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

export interface ListenOptions {
  readonly host: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly identity: TlsIdentity;
  /** Roles that may connect; others are dropped. */
  readonly accept: readonly PeerRole[];
  readonly onWire: (wire: Wire) => void;
  /** Told of refused peers and failed handshakes. */
  readonly onRefused?: (reason: string) => void;
}

/** Listens for peers. Rejects with UnavailableError `tls.listen` when the port cannot be had. */
export function listenTls(options: ListenOptions): Promise<Listener> {
  const sockets = new Set<TLSSocket>();
  const refused = options.onRefused ?? ((): void => undefined);
  const server = createServer(
    { ...options.identity, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
    (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      socket.on("error", (error: Error) => {
        refused(error.message);
      });
      socket.setNoDelay(true);
      const peer = peerOf(socket);
      if (peer === null || !options.accept.includes(peer.role)) {
        refused(peer === null ? "no role in the certificate" : `${peer.role} may not connect here`);
        socket.destroy();
        return;
      }
      options.onWire(wireOver(socket, peer));
    },
  );
  server.on("tlsClientError", (error: Error) => {
    refused(error.message);
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error: Error) => {
      const where = `${options.host}:${options.port}`;
      reject(
        new UnavailableError("tls.listen", `cannot listen on ${where}: ${error.message}`, "none"),
      );
    });
    server.listen(options.port, options.host, () => {
      const close = (): Promise<void> =>
        new Promise((done) => {
          for (const socket of sockets) socket.destroy();
          server.close(() => {
            done();
          });
        });
      resolve({ port: (server.address() as AddressInfo).port, close });
    });
  });
}

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: TlsIdentity;
  /** The role, and if given the name, that must be at the other end. */
  readonly expect: PeerRole;
  readonly expectName?: string;
  readonly timeoutMs?: number;
  /** The peer sends bulk data, and nothing before it is asked: `BulkReads`. */
  readonly bulk?: boolean;
}

/** Connects to a role. Throws UnavailableError `tls.dial`; the peer is authenticated when it resolves. */
export function dialTls(options: DialOptions): Promise<Wire> {
  const where = `${options.expect} at ${options.host}:${options.port}`;
  const reads = options.bulk === true ? new BulkReads() : null;
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      socket.destroy();
      reject(new UnavailableError("tls.dial", `cannot reach ${where}: ${why}`, "none"));
    };
    const socket = connect({
      host: options.host,
      port: options.port,
      ...options.identity,
      minVersion: "TLSv1.3",
      ...(reads === null ? {} : { onread: reads.onread }),
      // The name is in the certificate's role, checked below; host names mean nothing here.
      checkServerIdentity: () => undefined,
    });
    socket.setNoDelay(true);
    socket.setTimeout(options.timeoutMs ?? 5000, () => {
      fail("timed out");
    });
    const onError = (error: Error): void => {
      fail(error.message);
    };
    socket.once("error", onError);
    socket.once("secureConnect", () => {
      const peer = peerOf(socket);
      if (peer?.role !== options.expect || (options.expectName ?? peer.name) !== peer.name) {
        fail(`the peer is ${peer === null ? "nobody we know" : `${peer.role}/${peer.name}`}`);
        return;
      }
      socket.setTimeout(0);
      socket.removeListener("error", onError);
      resolve(reads === null ? wireOver(socket, peer) : reads.wire(socket, peer));
    });
  });
}
