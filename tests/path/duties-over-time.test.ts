/**
 * What a gateway owes over time: broken links and silence are noticed, a flicker is not felt, deadlines
 * and ranges hold, a halt outlives restarts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { frameType, type Frame } from "../../src/format/link.ts";
import { sealOrder, type Order } from "../../src/format/order.ts";
import { encodeInput } from "../../src/format/pair.ts";
import { encodeHeartbeat } from "../../src/format/proof-request.ts";
import { decodeRefused } from "../../src/format/router-link.ts";
import type { Wire } from "../../src/format/wire.ts";
import { answer, depot, entry, hello, params, server, withHouse } from "./duties-house.ts";
import { buildHouse, orderKeys, removeDirectory, temporaryDirectory, type House } from "./house.ts";

test("duties: a link to the recomputer breaks -> unanswered pairs are sent again, answered ones never", async () => {
  await withHouse({ server: server(answer) }, async (house, router, seen) => {
    const first: bigint[] = [];
    const lossy = house.connectRecomputer();
    lossy.onFrame((frame) => {
      if (frame.type !== frameType.proofRequest) return;
      first.push(frame.id);
      // The first pair gets its verdict; then the link dies with the second unanswered.
      if (first.length === 1) lossy.send(frameType.verdict, frame.id, Buffer.from("pass"));
    });
    for (let i = 1n; i <= 2n; i++) router.send(frameType.input, i, hello);
    await house.until("both sent", () => first.length === 2);
    await house.until("one settled", () => house.gateway.status().outbox.waiting === 1);
    lossy.close("broken");
    const again: bigint[] = [];
    const second = house.connectRecomputer();
    second.onFrame((frame) => {
      if (frame.type !== frameType.proofRequest) return;
      again.push(frame.id);
      second.send(frameType.verdict, frame.id, Buffer.from("pass"));
    });
    await house.until("all settled", () => house.gateway.status().outbox.waiting === 0);
    assert.deepEqual(again, first.slice(1));
    assert.equal(seen.filter((word) => word === "final").length, 2);
  });
});

test("duties: the recomputer falls silent -> alarm; a heartbeat clears it", async () => {
  const overrides = { silentMs: 1 };
  await withHouse({ server: server(answer), overrides }, async (house) => {
    const silent = (): boolean =>
      house.gateway
        .status()
        .alarms.some((a) => a.kind === "recomputer.silent" && a.severity === "critical");
    await house.until("the alarm", silent);
    const recomputer = house.connectRecomputer();
    recomputer.onFrame(() => undefined);
    const beat = setInterval(() => {
      recomputer.send(frameType.heartbeat, 0n, encodeHeartbeat({ queued: 0, judged: 0n }));
    }, 1);
    await house.until("it clears", () => !silent());
    clearInterval(beat);
  });
});

test("duties: a flicker is due -> drained first, asked of the router, then a fresh boot", async () => {
  let finish: () => void = () => undefined;
  const slow = (link: Wire, frame: Frame): void => {
    finish = () => {
      answer(link, frame);
    };
  };
  await withHouse({ server: server(slow) }, async (house, router, seen) => {
    router.send(frameType.input, 1n, hello);
    await house.until("the pair is open", () => house.gateway.status().inflight === 1);
    const flicker = house.gateway.flicker();
    await house.until("the router is asked", () => seen.includes("drain-ask"));
    assert.equal(house.gateway.status().draining, false);
    router.send(frameType.drainGrant, 0n);
    await house.until("draining", () => house.gateway.status().draining);
    router.send(frameType.input, 2n, hello);
    await house.until("the refusal", () => seen.includes("refused:draining"));
    finish(); // the open pair still ends well
    await flicker;
    await house.until("a fresh boot", () => house.gateway.status().boots === 2);
    await house.until("serving again", () => house.gateway.status().ready);
    assert.ok(seen.includes("final"));
    assert.equal(
      seen.some((word) => word.startsWith("abort")),
      false,
    );
    assert.equal(house.gateway.status().pairs.cutOff, 0);
  });
});

test("duties: the flicker comes by itself after a number of pairs", async () => {
  const overrides = { flickerPairs: 2 };
  await withHouse({ server: server(answer), overrides }, async (house, router) => {
    router.send(frameType.input, 1n, hello);
    router.send(frameType.input, 2n, hello);
    router.onFrame((frame) => {
      if (frame.type === frameType.drainAsk) router.send(frameType.drainGrant, 0n);
    });
    await house.until("a fresh boot", () => house.gateway.status().boots === 2);
    assert.equal(house.gateway.status().lastKillReason, "flicker");
  });
});

test("duties: a pair that outlives its deadline -> aborted and logged", async () => {
  const overrides = { pairDeadlineMs: 20 };
  const mute = (): void => undefined;
  await withHouse({ server: server(mute), overrides }, async (house, router, seen) => {
    router.send(frameType.input, 1n, hello);
    await house.until("the abort", () => seen.includes("abort:deadline"));
    assert.equal(house.gateway.status().pairs.cutOff, 1);
    assert.equal(house.gateway.status().boots, 1);
  });
});

test("duties: a parameter outside the whitelist entry -> refused by name, not clamped", async () => {
  await withHouse({ server: server(answer) }, async (house, router) => {
    const details: string[] = [];
    router.onFrame((frame) => {
      if (frame.type === frameType.refused) details.push(decodeRefused(frame.payload).detail);
    });
    const bad = [{ temperature: 3 }, { topP: 0 }, { topK: 65 }, { topK: 0 }, { maxTokens: 5000 }];
    bad.forEach((change, i) => {
      const prompt = { kind: "text", text: "hi" } as const;
      const input = encodeInput({ modelId: "m", params: { ...params, ...change }, prompt });
      router.send(frameType.input, BigInt(i + 1), input);
    });
    await house.until("all refused", () => details.length === bad.length);
    assert.deepEqual(
      details.map((detail) => detail.split(" ")[0]),
      ["temperature", "top_p", "top_k", "top_k", "max_tokens"],
    );
  });
});

const shutdown: Order = {
  action: "shutdown",
  gateway: "g1",
  reason: "a test says so",
  issuedMs: 1,
  nonce: "ab".repeat(16),
};

/** Of a second halt: what differs from the first. */
const second = { reason: "so does another", nonce: "cd".repeat(16) };

/** Sends an order as a recomputer would; resolves with the gateway's answer. */
async function give(house: House, order: Order, key = orderKeys.recomputer): Promise<string> {
  const wire = house.connectRecomputer();
  let said = "";
  wire.onFrame((frame) => {
    if (frame.type === frameType.orderResult) said = frame.payload.toString();
  });
  wire.send(frameType.order, 1n, sealOrder(order, key));
  await house.until("an answer to the order", () => said !== "");
  return said;
}

test("duties: a signed shutdown -> power off, also after a restart, until its release", async () => {
  const dir = temporaryDirectory();
  try {
    await withHouse({ server: server(answer), dir }, async (house) => {
      assert.match(await give(house, shutdown, orderKeys.operator), /refused: nobody entitled/);
      assert.match(await give(house, { ...shutdown, gateway: "g2" }), /refused: .*gateway g2/);
      assert.equal(house.gateway.status().mode, "SERVING");
      assert.equal(await give(house, shutdown), "obeyed");
      await house.until("power off", () => house.gateway.status().mode === "KILLED");
      assert.equal(await give(house, shutdown), "already-halted");
      assert.equal(await give(house, { ...shutdown, ...second }), "obeyed");
    });
    // Another process, another day: the halt still stands, and the server never gets power.
    const house = await buildHouse({ entry, depot, server: server(answer), dir });
    await house.until("halted", () => house.gateway.status().mode === "KILLED");
    assert.deepEqual(house.powerLog, []);
    const halt = house.gateway.status().halted;
    assert.deepEqual([halt?.reason, halt?.standing], ["a test says so", 2]);
    const release = (nonce: string): Order => ({
      ...{ action: "release", gateway: "g1", reason: "looked into", issuedMs: 2, nonce },
      halt: house.gateway.status().halted?.digest ?? "",
    });
    const first = release("ef".repeat(16));
    assert.match(await give(house, first), /refused: nobody entitled/);
    assert.equal(await give(house, first, orderKeys.operator), "obeyed");
    // Whoever gave the second one need not agree with the first: power stays off for it alone.
    const left = house.gateway.status();
    assert.deepEqual([left.halted?.reason, left.halted?.standing], [second.reason, 1]);
    assert.ok(left.alarms.some(({ text }) => text === `halted by order: ${second.reason}`));
    assert.equal(
      await give(house, first, orderKeys.operator),
      "refused: the release names another halt",
    );
    assert.deepEqual([house.powerLog, left.mode], [[], "KILLED"]);
    assert.equal(await give(house, release("12".repeat(16)), orderKeys.operator), "obeyed");
    await house.until("serving", () => house.gateway.status().ready);
    assert.equal(house.gateway.status().halted, null);
    // The old orders, replayed, halt nothing again.
    assert.equal(await give(house, shutdown), "already-released");
    assert.equal(await give(house, { ...shutdown, ...second }), "already-released");
    assert.equal(house.gateway.status().mode, "SERVING");
    await house.stop();
  } finally {
    removeDirectory(dir);
  }
});
