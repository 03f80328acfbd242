/** Which CPU builds compute alike, and how far the others lie apart: measured on known tokens. */
import { createHash } from "node:crypto";
import { addNoise, noiseSigma, noNoise, type NoiseSums } from "../../verification/calibration.ts";
import type { ProbeRows } from "./protocol.ts";
import { positionNoise } from "./scoring.ts";

export interface Probed {
  readonly build: string;
  readonly rows: readonly ProbeRows[];
}

/** Builds that came to the same bits everywhere; the first stands for them. */
export interface BuildClass {
  readonly name: string;
  readonly members: readonly string[];
  readonly rows: readonly ProbeRows[];
}

/** Groups builds by the bits of their candidates, computed in the ways that `ways` names. */
export function classesOf(
  probed: readonly Probed[],
  ways: readonly ProbeRows["way"][],
): BuildClass[] {
  const classes = new Map<string, { members: string[]; rows: readonly ProbeRows[] }>();
  for (const { build, rows } of probed) {
    const hash = createHash("sha256");
    for (const { way, ids, logits } of rows)
      if (ways.includes(way)) hash.update(ids).update(logits);
    const key = hash.digest("hex");
    const known = classes.get(key);
    if (known === undefined) classes.set(key, { members: [build], rows });
    else known.members.push(build);
  }
  return [...classes.values()].map(({ members, rows }) => ({
    name: members[0] ?? "",
    members,
    rows,
  }));
}

/** One way of serving against one reference, and its way to replay. */
export interface ProbeNoise {
  readonly server: string;
  readonly way: ProbeRows["way"];
  readonly reference: string;
  readonly replay: ProbeRows["way"];
  readonly sigma: number;
  readonly largest: number;
}

function noiseBetween(server: ProbeRows, reference: ProbeRows): NoiseSums {
  let noise = noNoise;
  const { width } = reference;
  for (let at = 0; at < reference.ids.length; at += width) {
    const row = (rows: ProbeRows): { ids: Uint32Array; logProbs: Float32Array } => ({
      ids: rows.ids.subarray(at, at + width),
      logProbs: rows.logits.subarray(at, at + width),
    });
    noise = addNoise(noise, positionNoise(row(server), row(reference)));
  }
  return noise;
}

/** What servers do, and what references do. */
export const servingWays = ["prefill", "decode 1", "decode 4"] as const;
export const replayWays = ["prefill", "blind"] as const;

function rowsIn(from: BuildClass, ways: readonly ProbeRows["way"][]): readonly ProbeRows[] {
  return from.rows.filter(({ way }) => ways.includes(way));
}

/** The noise of every combination. */
export function probeNoise(
  servers: readonly BuildClass[],
  references: readonly BuildClass[],
): ProbeNoise[] {
  return servers.flatMap((server) =>
    references.flatMap((reference) =>
      rowsIn(reference, replayWays).flatMap((replayed) =>
        rowsIn(server, servingWays).map((served) => {
          const noise = noiseBetween(served, replayed);
          return {
            ...{ server: server.name, way: served.way },
            ...{ reference: reference.name, replay: replayed.way },
            ...{ sigma: noiseSigma(noise), largest: noise.largest },
          };
        }),
      ),
    ),
  );
}
