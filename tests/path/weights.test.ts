/**
 * The weights path, end to end: depot -> gateway -> server. Read it as the story of one boot, and of
 * everything that must not boot.
 *
 * A gateway lets a server have exactly the S bits that both parties whitelisted, chunk by chunk,
 * each checked before it is passed on. Whatever else comes: power is cut, and the boot starts anew.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { WeightsFile } from "../../src/depot/weights.port.ts";
import { frameType } from "../../src/format/link.ts";
import { encodeInput } from "../../src/format/pair.ts";
import { decodeRefused } from "../../src/format/router-link.ts";
import { decodeLoadBegin } from "../../src/format/server-link.ts";
import type { Wire } from "../../src/format/wire.ts";
import { TestStream, testDepot } from "../sealing.ts";
import { chunked, whitelisted } from "../support.ts";
import { buildHouse, removeDirectory, type House } from "./house.ts";

const chunkBytes = 4096;
// 10.5 chunks: the last one is short, and the tree is not a power of two.
// No two chunks are alike: chunks in the wrong order must show.
const weights = Buffer.from(
  Array.from({ length: 10.5 * chunkBytes }, (_, i) => (i * 31 + Math.floor(i / 251)) & 0xff),
);
const { entry } = whitelisted("m", weights, chunkBytes);
const { chunks, tree } = chunked(weights, chunkBytes);
assert.equal(new Set(chunks.map((chunk) => chunk.toString("hex"))).size, chunks.length);

/** What a server got over its link, at each power-on. */
interface Boot {
  bytes: Buffer[];
  begun: boolean;
  complete: boolean;
}

function listeningServer(boots: Boot[]): (link: Wire) => void {
  return (link) => {
    const boot: Boot = { bytes: [], begun: false, complete: false };
    boots.push(boot);
    link.onFrame((frame) => {
      if (frame.type === frameType.loadBegin) {
        assert.equal(decodeLoadBegin(frame.payload).sizeBytes, BigInt(weights.length));
        boot.begun = true;
      }
      if (frame.type === frameType.loadChunk) boot.bytes.push(Buffer.from(frame.payload));
      if (frame.type === frameType.loadEnd) {
        boot.complete = true;
        link.send(frameType.loadReady, 0n);
      }
    });
  };
}

const file: WeightsFile = {
  modelId: "m",
  sizeBytes: weights.length,
  chunkBytes,
  root: tree.root,
  chunk: (index) =>
    Promise.resolve({ data: chunks[index] ?? Buffer.alloc(0), proof: tree.proof(index) }),
  close: () => Promise.resolve(),
};

function honestDepot(link: Wire): void {
  testDepot([file]).attachGateway(link);
}

/** A depot that offers the right model and then sends what `forge` makes of chunk `index`. */
function lyingDepot(forge: (index: number) => { index: number; data: Buffer } | null) {
  return (link: Wire): void => {
    link.onFrame((frame) => {
      const stream = TestStream.of(frame.payload);
      link.send(frameType.offer, 0n, stream.offer(weights.length, chunkBytes));
      for (let i = 0; i < chunks.length + 2; i++) {
        const forged = forge(i);
        if (forged === null) continue;
        const proof = tree.proof(Math.min(forged.index, chunks.length - 1));
        const sealed = stream.chunk(forged.index, i + 1 === chunks.length, proof, forged.data);
        link.send(frameType.chunk, BigInt(forged.index), sealed);
      }
    });
  };
}

async function withHouse(
  depot: (link: Wire) => void,
  story: (house: House, boots: Boot[]) => Promise<void>,
): Promise<void> {
  const boots: Boot[] = [];
  const house = await buildHouse({ entry, server: listeningServer(boots), depot });
  try {
    await story(house, boots);
  } finally {
    await house.stop();
    removeDirectory(house.dir);
  }
}

test("weights: an honest boot -> exactly S bits reach the server, then SERVING", async () => {
  await withHouse(honestDepot, async (house, boots) => {
    assert.ok(["OFF", "UPLOAD"].includes(house.gateway.status().mode));
    await house.until("serving", () => house.gateway.status().ready);
    const { mode, upload } = house.gateway.status();
    assert.equal(mode, "SERVING");
    assert.equal(upload.bitsForwarded, 8 * weights.length);
    assert.equal(upload.bitsForwarded, upload.bitsTotal);
    assert.deepEqual(Buffer.concat(boots[0]?.bytes ?? []), weights);
    assert.deepEqual(house.powerLog, ["on"]);
  });
});

test("weights: no inference passes before SERVING", async () => {
  // The depot takes the FETCH and then says nothing: the gateway stays in UPLOAD.
  await withHouse(
    (link) => {
      link.onFrame(() => undefined);
    },
    async (house) => {
      await house.until("upload", () => house.gateway.status().mode === "UPLOAD");
      const router = house.connectRouter();
      const answers: string[] = [];
      router.onFrame((frame) => {
        if (frame.type === frameType.refused) answers.push(decodeRefused(frame.payload).code);
      });
      const params = { maxTokens: 1, temperature: 1, topK: 1, topP: 1, stops: [] };
      const input = encodeInput({ modelId: "m", params, prompt: { kind: "text", text: "hi" } });
      router.send(frameType.input, 1n, input);
      await house.until("refused", () => answers.length > 0);
      assert.deepEqual(answers, ["not-serving"]);
    },
  );
});

/** Each lie, and how many chunks may reach the server before it is found out. */
const lies: readonly {
  what: string;
  reason: RegExp;
  passed: number;
  forge: (index: number) => { index: number; data: Buffer } | null;
}[] = [
  {
    what: "one bit of chunk 4 is flipped",
    reason: /bad-chunk: chunk 4/,
    passed: 4,
    forge: (index) => {
      const data = Buffer.from(chunks[index] ?? Buffer.alloc(1));
      if (index === 4) data[7] = (data[7] ?? 0) ^ 1;
      return { index, data };
    },
  },
  {
    what: "chunks 2 and 3 change places",
    reason: /upload.order/,
    passed: 2,
    forge: (index) => {
      const at = index === 2 ? 3 : index === 3 ? 2 : index;
      return { index: at, data: chunks[at] ?? Buffer.alloc(1) };
    },
  },
  {
    what: "chunk 1 is a byte too long",
    reason: /upload.length/,
    passed: 1,
    forge: (index) => {
      const data = chunks[index] ?? Buffer.alloc(1);
      return { index, data: index === 1 ? Buffer.concat([data, Buffer.of(0)]) : data };
    },
  },
  {
    what: "chunk 5 is sent twice",
    reason: /upload.order/,
    passed: 6,
    forge: (index) => {
      const at = index > 5 ? index - 1 : index;
      return { index: at, data: chunks[at] ?? Buffer.alloc(1) };
    },
  },
];

for (const lie of lies) {
  test(`weights: ${lie.what} -> power kill before it is forwarded, then UPLOAD again`, async () => {
    await withHouse(lyingDepot(lie.forge), async (house, boots) => {
      await house.until("a second boot", () => boots.length >= 2);
      assert.match(house.gateway.status().lastKillReason, lie.reason);
      assert.equal(boots[0]?.bytes.length, lie.passed);
      assert.equal(boots[0]?.complete, false);
      assert.deepEqual(house.powerLog.slice(0, 3), ["on", "kill", "on"]);
      assert.equal(house.gateway.status().ready, false);
    });
  });
}

test("weights: the depot ends early -> power kill at the stall deadline", async () => {
  const forge = (index: number) =>
    index < 5 ? { index, data: chunks[index] ?? Buffer.alloc(1) } : null;
  await withHouse(lyingDepot(forge), async (house, boots) => {
    await house.until("a second boot", () => boots.length >= 2);
    assert.match(house.gateway.status().lastKillReason, /upload.stall/);
    assert.equal(boots[0]?.complete, false);
  });
});

test("weights: bits beyond S -> never forwarded: the upload is over at bit S", async () => {
  const forge = (index: number) => ({ index, data: chunks[index] ?? Buffer.alloc(chunkBytes, 1) });
  await withHouse(lyingDepot(forge), async (house, boots) => {
    await house.until("serving", () => house.gateway.status().ready);
    assert.deepEqual(Buffer.concat(boots[0]?.bytes ?? []), weights);
    assert.equal(house.gateway.status().upload.bitsForwarded, 8 * weights.length);
  });
});

test("weights: a model that is not whitelisted -> the offer is refused, power is cut", async () => {
  const offerOther = (link: Wire): void => {
    link.onFrame((frame) => {
      link.send(frameType.offer, 0n, TestStream.of(frame.payload).offer(5, chunkBytes));
    });
  };
  await withHouse(offerOther, async (house, boots) => {
    await house.until("a second boot", () => boots.length >= 2);
    assert.match(house.gateway.status().lastKillReason, /upload.offer/);
    assert.deepEqual(boots[0]?.bytes, []);
  });
});

test("weights: the depot does not hold the model -> power is cut, and the reason says so", async () => {
  const none = (link: Wire): void => {
    testDepot([]).attachGateway(link);
  };
  await withHouse(none, async (house, boots) => {
    await house.until("a second boot", () => boots.length >= 2);
    assert.match(house.gateway.status().lastKillReason, /does not hold m/);
  });
});

test("weights: a server that speaks in UPLOAD -> power kill", async () => {
  let boots = 0;
  const chatty = (link: Wire): void => {
    boots++;
    link.onFrame(() => {
      link.send(frameType.tokens, 1n, Buffer.alloc(8));
    });
  };
  const house = await buildHouse({ entry, server: chatty, depot: honestDepot });
  await house.until("a second boot", () => boots >= 2);
  assert.match(house.gateway.status().lastKillReason, /spoke/);
  await house.stop();
  removeDirectory(house.dir);
});
