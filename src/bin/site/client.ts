/** Talks to the roles of a site as its operator, over the same TLS links as the roles themselves. */
import { dialTls, readIdentity } from "../../adapter/tls.ts";
import { UnavailableError } from "../../base/assert.ts";
import { frameType, type FrameType } from "../../format/link.ts";
import type { RoleStatus } from "../../format/status.ts";
import type { Wire } from "../../format/wire.ts";
import type { Site, SiteRole } from "./site-file.ts";

/** Connects to a role as `operator/operator`. Throws UnavailableError `tls.dial`. */
export function dialRole(keys: string, role: SiteRole, timeoutMs = 5000): Promise<Wire> {
  if (role.port === null || role.role === "page" || role.role === "witness") {
    throw new UnavailableError("site.role", `${role.key} is not listening`, "none");
  }
  return dialTls({
    host: "127.0.0.1",
    port: role.port,
    identity: readIdentity(keys, "operator-operator"),
    expect: role.role,
    expectName: role.name,
    timeoutMs,
  });
}

/**
 * Sends one frame and resolves with the payload of the first `answer` frame; the link is closed
 * afterwards. Rejects with UnavailableError `site.ask` when the role hangs up or stays silent.
 */
export async function ask(
  site: Site,
  role: SiteRole,
  question: { readonly type: FrameType; readonly payload?: Uint8Array },
  answer: FrameType,
  timeoutMs = 5000,
): Promise<Buffer> {
  const wire = await dialRole(site.paths.keys, role, timeoutMs);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const fail = (why: string): void => {
    reject(new UnavailableError("site.ask", `${role.key} does not answer: ${why}`, "unknown"));
  };
  const timer = setTimeout(() => {
    fail("timed out");
  }, timeoutMs);
  wire.onClose(fail);
  wire.onFrame((frame) => {
    if (frame.type === answer) resolve(Buffer.from(frame.payload));
  });
  wire.send(question.type, 1n, question.payload);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    wire.close("done");
  }
}

/** The present status of a role. Rejects with UnavailableError. */
export async function askStatus(site: Site, role: SiteRole): Promise<RoleStatus> {
  const payload = await ask(site, role, { type: frameType.watch }, frameType.status);
  return JSON.parse(payload.toString()) as RoleStatus;
}

/** Finds a role of the site by kind and name. Throws UnavailableError that lists what there is. */
export function roleOf(site: Site, kind: SiteRole["role"], name?: string): SiteRole {
  const all = site.file.roles.filter(({ role }) => role === kind);
  const found = name === undefined ? all[0] : all.find((role) => role.name === name);
  if (found !== undefined) return found;
  const names = all.map((role) => role.name).join(", ");
  throw new UnavailableError(
    "site.role",
    `there is no ${kind} "${name ?? ""}" here; there is ${names}`,
    "none",
  );
}

export interface Watch {
  close(): void;
}

/** Follows a role's status, dialling again when the link is lost, until closed. */
export function watchRole(
  keys: string,
  role: () => SiteRole | undefined,
  onStatus: (status: RoleStatus | null) => void,
): Watch {
  let closed = false;
  let wire: Wire | null = null;
  let timer: NodeJS.Timeout | null = null;
  const again = (): void => {
    wire = null;
    if (closed) return;
    onStatus(null);
    timer = setTimeout(() => void connect(), 300);
  };
  const connect = async (): Promise<void> => {
    const target = role();
    if (target === undefined) {
      again();
      return;
    }
    try {
      const opened = await dialRole(keys, target);
      if (closed) {
        opened.close("done");
        return;
      }
      wire = opened;
      opened.onClose(again);
      opened.onFrame((frame) => {
        if (frame.type === frameType.status && !closed) {
          onStatus(JSON.parse(frame.payload.toString()) as RoleStatus);
        }
      });
      opened.send(frameType.watch, 0n);
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      again();
    }
  };
  void connect();
  return {
    close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      wire?.close("done");
    },
  };
}
