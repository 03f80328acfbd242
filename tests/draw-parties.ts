/** For tests of the joint draw: both parties in memory, and a publisher that may lose, repeat or change what it carries. */
import { systemRandom } from "../src/adapter/random.ts";
import { InvalidError } from "../src/base/assert.ts";
import { privateKeyFromSeed, publicKeyFromHex, publicKeyHex } from "../src/base/sign.ts";
import type { DrawParty } from "../src/format/draw.ts";
import { leafBytes } from "../src/format/leaf.ts";
import { frameType, type Frame, type FrameType } from "../src/format/link.ts";
import type { Wire } from "../src/format/wire.ts";
import type { DrawFile } from "../src/gateway/draw-run.ts";
import type { LeafLog } from "../src/gateway/store.port.ts";
import { DrawShares } from "../src/log/share.ts";
import type { WitnessView } from "../src/log/witness-routes.ts";
import { quiet } from "./support.ts";

export const drawSeeds = {
  a: privateKeyFromSeed(Buffer.alloc(32, 0xa7)),
  b: privateKeyFromSeed(Buffer.alloc(32, 0xb7)),
} as const;

export const drawKeys = {
  a: publicKeyFromHex(publicKeyHex(drawSeeds.a)),
  b: publicKeyFromHex(publicKeyHex(drawSeeds.b)),
} as const;

/** A file in memory; `writes` counts. */
export class MemoryFile implements DrawFile {
  content: Buffer | null = null;
  writes = 0;

  read(): Promise<Buffer | null> {
    return Promise.resolve(this.content);
  }

  write(content: Uint8Array): Promise<void> {
    this.content = Buffer.from(content);
    this.writes++;
    return Promise.resolve();
  }
}

/** A witness that mirrors the durable part of a log at once. */
export function viewOf(
  party: string,
  gateway: string,
  deviceKey: string,
  log: LeafLog,
): WitnessView {
  return {
    party,
    logs: [
      {
        ...{ origin: gateway, gateway, vkey: "", deviceKey },
        latest: () => ({ size: Number(log.durable.size), root: log.durable.root }),
        entry: async (index) => {
          const bytes = await log.entries(BigInt(index), 1);
          return bytes.length === leafBytes ? bytes : null;
        },
      },
    ],
  };
}

export interface Parties {
  readonly shares: Readonly<Record<DrawParty, DrawShares>>;
  readonly files: Readonly<Record<DrawParty, MemoryFile>>;
}

export async function openParties(
  files = { a: new MemoryFile(), b: new MemoryFile() },
): Promise<Parties> {
  const open = (party: DrawParty, other: DrawParty): Promise<DrawShares> =>
    DrawShares.open({
      ...{ party, key: drawSeeds[party], otherKey: drawKeys[other], file: files[party] },
      ...{ random: systemRandom, logger: quiet },
    });
  return { shares: { a: await open("a", "b"), b: await open("b", "a") }, files };
}

/** What the publisher does with an answer of a party: what it hands on, or null to lose it. */
export type Tamper = (type: FrameType, party: DrawParty, answer: Buffer) => Buffer | null;

/** Stands at the publisher's end of a link to the gateway. `refusals` hears what parties refuse. */
export function publish(
  wire: Wire,
  { shares }: Parties,
  views: Readonly<Record<DrawParty, WitnessView>>,
  refusals: string[] = [],
  tamper: Tamper = (_, __, answer) => answer,
): void {
  const relay = async (frame: Frame, body: Buffer, party: DrawParty): Promise<void> => {
    const open = frame.type === frameType.drawOpen;
    const share = shares[party];
    try {
      const view = views[party];
      const reply = await (open ? share.onOpen(view, body) : share.onSecret(view, body));
      if (reply.status !== 200) {
        refusals.push(`${party}: ${reply.body.toString().trim()}`);
        return;
      }
      const type = open ? frameType.drawCommit : frameType.drawSecret;
      const answer = tamper(type, party, reply.body);
      if (answer !== null) wire.send(type, frame.id, answer);
    } catch (error) {
      if (!(error instanceof InvalidError)) throw error;
      refusals.push(`${party}: ${error.code}`);
    }
  };
  wire.onFrame((frame) => {
    if (frame.type !== frameType.drawOpen && frame.type !== frameType.drawLogged) return;
    const body = Buffer.from(frame.payload);
    for (const party of ["a", "b"] as const) void relay(frame, body, party);
  });
}
