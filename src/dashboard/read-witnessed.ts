/** Reads what a gateway says of its log's witnesses. Optional: a gateway may have none. */
import { limits } from "../base/limits.ts";
import type { GatewayStatus } from "../format/status.ts";
import type { Part } from "./part.ts";

/** Throws InvalidError that names the field. */
export function readWitnessed(from: Part): Pick<GatewayStatus, "witnessed"> {
  const part = from.optional("witnessed");
  if (part === undefined) return {};
  return {
    witnessed: {
      origin: part.text("origin", limits.noteName),
      vkey: part.text("vkey"),
      signed: part.count("signed"),
      cosigned: part.count("cosigned"),
      backlog: part.count("backlog"),
      backlogMax: part.count("backlogMax"),
      connected: part.flag("connected"),
      broken: part.text("broken"),
      parties: part.parts("parties").map((party) => ({
        party: party.text("party", limits.name),
        size: party.count("size"),
        atMs: party.count("atMs"),
      })),
    },
  };
}
