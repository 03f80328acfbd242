/**
 * Reads a STATUS payload. Roles are authenticated but not believed: a bad document is refused
 * whole, texts are cut to what a page can show, and fields that nobody knows are ignored, so that
 * a newer role does not blind an older observer.
 */
import { InvalidError } from "../base/assert.ts";
import { decodeUtf8 } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { modes } from "../format/router-link.ts";
import type {
  Alarm,
  DepotStatus,
  GatewayStatus,
  RecomputerStatus,
  RoleStatus,
  RouterStatus,
  VerdictSummary,
} from "../format/status.ts";
import { hardFindings, softFindings, type Scores } from "../format/verdict.ts";
import { Part } from "./part.ts";
import {
  readCarriers,
  readCounts,
  readEvidence,
  readPolicy,
  readStanding,
} from "./read-evidence.ts";
import { readDraw, readDraws } from "./read-draw.ts";
import { readWitnessed } from "./read-witnessed.ts";

const findingIds = [...hardFindings, ...softFindings];

function readAlarm(from: Part): Alarm {
  return {
    id: from.text("id", limits.name),
    atMs: from.count("atMs"),
    severity: from.oneOf("severity", ["warning", "critical"]),
    kind: from.text("kind", limits.name),
    subject: from.text("subject", limits.name),
    text: from.text("text"),
  };
}

function readIsolation(from: Part): GatewayStatus["isolation"] {
  const kind = from.oneOf("kind", ["bubblewrap", "unshare", "remote", "off"]);
  return { kind, detail: from.text("detail") };
}

function readHalted(from: Part | null): GatewayStatus["halted"] {
  if (from === null) return null;
  return {
    digest: from.text("digest", limits.name),
    reason: from.text("reason"),
    sinceMs: from.count("sinceMs"),
    ...(from.get("standing") !== undefined && { standing: from.count("standing") }),
  };
}

function readGatewayStores(from: Part): Pick<GatewayStatus, "log" | "outbox" | "ring"> {
  const log = from.part("log");
  const outbox = from.part("outbox");
  const ring = from.part("ring");
  return {
    log: { size: log.count("size"), root: log.text("root", limits.name) },
    outbox: { waiting: outbox.count("waiting"), capacity: outbox.count("capacity") },
    ring: {
      bytes: ring.count("bytes"),
      capacity: ring.count("capacity"),
      pairsForgotten: ring.count("pairsForgotten"),
      forgottenThrough: ring.text("forgottenThrough", limits.name),
    },
  };
}

function readGateway(from: Part): GatewayStatus {
  const upload = from.part("upload");
  const pairs = from.part("pairs");
  const recomputer = from.part("recomputer");
  return {
    role: "gateway",
    name: from.text("name", limits.name),
    modelId: from.text("modelId", limits.name),
    mode: from.oneOf("mode", modes),
    ready: from.flag("ready"),
    draining: from.flag("draining"),
    halted: readHalted(from.maybe("halted")),
    epoch: from.count("epoch"),
    boots: from.count("boots"),
    lastKillReason: from.text("lastKillReason"),
    upload: { bitsForwarded: upload.count("bitsForwarded"), bitsTotal: upload.count("bitsTotal") },
    inflight: from.count("inflight"),
    pairs: {
      logged: pairs.count("logged"),
      sampled: pairs.count("sampled"),
      cutOff: pairs.count("cutOff"),
    },
    tokens: from.count("tokens"),
    ...readCounts(from),
    ...readGatewayStores(from),
    recomputer: {
      connected: recomputer.flag("connected"),
      silentMs: recomputer.number("silentMs"),
    },
    ...readStanding(from),
    ...readDraw(from),
    ...readWitnessed(from),
    isolation: readIsolation(from.part("isolation")),
    simulated: from.texts("simulated"),
    alarms: from.parts("alarms").map(readAlarm),
  };
}

function readScores(from: Part | null): Scores | null {
  if (from === null) return null;
  return {
    tokens: from.count("tokens"),
    mismatches: from.count("mismatches"),
    meanMargin: from.number("meanMargin"),
    maxMargin: from.number("maxMargin"),
  };
}

function readVerdict(from: Part): VerdictSummary {
  return {
    tag: from.text("tag", limits.name),
    gateway: from.text("gateway", limits.name),
    atMs: from.count("atMs"),
    kind: from.oneOf("kind", ["pass", "fail", "unable"]),
    findings: from.oneOfEach("findings", findingIds),
    scores: readScores(from.maybe("scores")),
  };
}

function readChecks(from: Part): RecomputerStatus["judged"] {
  return { pass: from.count("pass"), fail: from.count("fail"), unable: from.count("unable") };
}

/** The fields that an older recomputer may leave out. */
function readOptional(from: Part): Pick<RecomputerStatus, "judgedByGateway" | "marginLimit"> {
  const limit = from.optional("marginLimit");
  const split = from.get("judgedByGateway") === undefined ? null : from.parts("judgedByGateway");
  return {
    ...(limit === undefined
      ? {}
      : {
          marginLimit: {
            meanMax: limit.number("meanMax"),
            meanSpread: limit.number("meanSpread"),
          },
        }),
    ...(split === null
      ? {}
      : {
          judgedByGateway: split.map((one) => ({
            gateway: one.text("gateway", limits.name),
            ...readChecks(one),
          })),
        }),
  };
}

function readRecomputer(from: Part): RecomputerStatus {
  return {
    role: "recomputer",
    name: from.text("name", limits.name),
    engine: from.oneOf("engine", ["loading", "ready", "down"]),
    queued: from.count("queued"),
    judged: readChecks(from.part("judged")),
    tokens: from.count("tokens"),
    msPerToken: from.number("msPerToken"),
    ...readOptional(from),
    ...readEvidence(from),
    ...readDraws(from),
    ...readPolicy(from),
    ...readCarriers(from),
    recent: from.parts("recent").map(readVerdict),
    alarms: from.parts("alarms").map(readAlarm),
    simulated: from.texts("simulated"),
  };
}

function readRouter(from: Part): RouterStatus {
  return {
    role: "router",
    name: from.text("name", limits.name),
    inflight: from.count("inflight"),
    connections: from.count("connections"),
    requests: from.count("requests"),
    errors: from.count("errors"),
    gateways: from.parts("gateways").map((one) => ({
      name: one.text("name", limits.name),
      accepting: one.flag("accepting"),
      inflight: one.count("inflight"),
    })),
  };
}

function readDepot(from: Part): DepotStatus {
  return {
    role: "depot",
    name: from.text("name", limits.name),
    models: from.parts("models").map((one) => ({
      modelId: one.text("modelId", limits.name),
      sizeBytes: one.count("sizeBytes"),
    })),
    uploads: from.count("uploads"),
    bytesSent: from.count("bytesSent"),
  };
}

const readers = {
  gateway: readGateway,
  recomputer: readRecomputer,
  router: readRouter,
  depot: readDepot,
} as const;

/** The roles that answer WATCH. */
export const watchedRoles = ["gateway", "recomputer", "router", "depot"] as const;
export type WatchedRole = (typeof watchedRoles)[number];

/**
 * Parses the payload of a STATUS frame. Throws InvalidError `status.*` or `bytes.utf8`, naming the
 * field at fault.
 */
export function readRoleStatus(payload: Uint8Array): RoleStatus {
  if (payload.length > limits.statusBytes) {
    throw new InvalidError("status.too-long", `a status of ${payload.length} bytes`);
  }
  const text = decodeUtf8(payload);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidError("status.json", "a status is not JSON");
  }
  const from = new Part(value, "status");
  return readers[from.oneOf("role", watchedRoles)](from);
}
