/** Reads what roles say of the joint draw (format/status.ts). */
import { limits } from "../base/limits.ts";
import type { DrawAudit, DrawStatus, GatewayStatus, RecomputerStatus } from "../format/status.ts";
import type { Part } from "./part.ts";

/** Of a gateway; nothing of one that draws alone. */
export function readDraw(from: Part): Pick<GatewayStatus, "draw"> {
  const draw = from.optional("draw");
  if (draw === undefined) return {};
  const status: DrawStatus = {
    kind: draw.oneOf("kind", ["joint", "local"]),
    round: draw.count("round"),
    sinceMs: draw.count("sinceMs"),
    entries: draw.count("entries"),
    epsilon: draw.number("epsilon"),
    coming: draw.count("coming"),
    step: draw.text("step", limits.name),
    waitingFor: draw.texts("waitingFor"),
    accepting: draw.flag("accepting"),
  };
  return { draw: status };
}

function readAudit(from: Part): DrawAudit {
  return {
    gateway: from.text("gateway", limits.name),
    walked: from.count("walked"),
    round: from.count("round"),
    rounds: from.count("rounds"),
    pairs: from.count("pairs"),
    kept: from.count("kept"),
    waiting: from.count("waiting"),
    omitted: from.count("omitted"),
    excused: from.count("excused"),
    lies: from.texts("lies"),
  };
}

/** Of a recomputer; nothing of one that watches no draw. */
export function readDraws(from: Part): Pick<RecomputerStatus, "draws"> {
  return from.get("draws") === undefined ? {} : { draws: from.parts("draws").map(readAudit) };
}
