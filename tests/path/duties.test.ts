/**
 * What a gateway owes for each pair: nothing leaves before it is durable, nothing kept is dropped, a
 * server that breaks protocol loses power, receipts can be checked.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { verifyInclusion } from "../../src/base/merkle.ts";
import { frameType, type Frame } from "../../src/format/link.ts";
import { encodeInput } from "../../src/format/pair.ts";
import { decodeProofRequest } from "../../src/format/proof-request.ts";
import { encodeFailed, encodePrompt, encodeTokens } from "../../src/format/server-link.ts";
import type { Wire } from "../../src/format/wire.ts";
import type { GatewayStore } from "../../src/gateway/store.port.ts";
import { answer, hello, params, server, withHouse } from "./duties-house.ts";
import { removeDirectory, temporaryDirectory } from "./house.ts";

test("duties: the ring is not yet durable -> not one byte leaves", async () => {
  let open: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (open = resolve));
  let held = 0;
  const wrapStore = (store: GatewayStore): GatewayStore => ({
    ...store,
    ring: {
      get pending() {
        return store.ring.pending;
      },
      add: (kind, tag, payload) => {
        store.ring.add(kind, tag, payload);
      },
      commit: async () => {
        if (store.ring.pending > 0) held++;
        await gate;
        await store.ring.commit();
      },
      read: () => store.ring.read(),
      status: () => store.ring.status(),
      close: () => store.ring.close(),
    },
  });
  // The gate stands in front of every commit, so recovery at start must not wait for it.
  const gatedLater = (store: GatewayStore): GatewayStore => {
    const gated = wrapStore(store);
    let first = true;
    const commit = async (): Promise<void> => {
      if (first) {
        first = false;
        await store.ring.commit();
      } else await gated.ring.commit();
    };
    return { ...gated, ring: { ...gated.ring, commit } };
  };
  await withHouse(
    { server: server(answer), wrapStore: gatedLater },
    async (house, router, seen) => {
      router.send(frameType.input, 1n, hello);
      await house.until("a commit that waits", () => held > 0);
      await new Promise((resolve) => setTimeout(resolve, 50)); // ten ticks
      assert.equal(seen.length, 0);
      open();
      await house.until("the reply", () => seen.includes("final"));
      assert.equal(seen.join(" "), "output:hello you final");
    },
  );
});

test("duties: storage fails -> nothing leaves, and the gateway gives up", async () => {
  const failures: string[] = [];
  let commits = 0;
  const wrapStore = (store: GatewayStore): GatewayStore => {
    const commit = (): Promise<void> => {
      commits++;
      // The first commit is recovery's; the second is the pair's; the last ones are the stop's.
      return commits === 2 ? Promise.reject(new Error("EIO")) : store.ring.commit();
    };
    const { ring } = store;
    const add = (...args: Parameters<typeof ring.add>): void => {
      ring.add(...args);
    };
    return {
      ...store,
      ring: {
        add,
        commit,
        get pending() {
          return ring.pending;
        },
        read: () => ring.read(),
        status: () => ring.status(),
        close: () => ring.close(),
      },
    };
  };
  const overrides = { onFatal: (error: Error): void => void failures.push(error.message) };
  await withHouse({ server: server(answer), wrapStore, overrides }, async (house, router, seen) => {
    router.send(frameType.input, 1n, hello);
    await house.until("the failure", () => failures.length > 0);
    assert.deepEqual(failures, ["EIO"]);
    assert.equal(seen.length, 0);
  });
});

/** Ways to break the link protocol; each must cost the server its power. */
const breaches: readonly [string, (link: Wire, frame: Frame) => void][] = [
  [
    "tokens before the prompt",
    (link, f) => link.send(frameType.tokens, f.id, encodeTokens([1], "x")),
  ],
  [
    "two prompts",
    (link, f) => {
      link.send(frameType.prompt, f.id, encodePrompt([1]));
      link.send(frameType.prompt, f.id, encodePrompt([1]));
    },
  ],
  [
    "more tokens than asked for",
    (link, f) => {
      link.send(frameType.prompt, f.id, encodePrompt([1]));
      link.send(frameType.tokens, f.id, encodeTokens([1, 2, 3, 4, 5, 6], "x"));
    },
  ],
  [
    "text without ids",
    (link, f) => {
      link.send(frameType.prompt, f.id, encodePrompt([1]));
      link.send(frameType.tokens, f.id, encodeTokens([], "x"));
    },
  ],
  [
    "a prompt longer than the context",
    (link, f) =>
      link.send(frameType.prompt, f.id, encodePrompt(Array.from({ length: 4097 }, () => 1))),
  ],
  [
    "text that is not UTF-8",
    (link, f) => {
      link.send(frameType.prompt, f.id, encodePrompt([1]));
      link.send(frameType.tokens, f.id, Buffer.from("00000001000000010000000280ff", "hex"));
    },
  ],
  [
    "a frame for a pair that is not open",
    (link) => link.send(frameType.prompt, (9n << 40n) + 7n, encodePrompt([1])),
  ],
  [
    "a frame type that is not a server's",
    (link, f) => link.send(frameType.order, f.id, Buffer.of(0)),
  ],
  [
    "an answer that ends as cut off",
    (link, f) => {
      link.send(frameType.prompt, f.id, encodePrompt([1]));
      link.send(frameType.end, f.id, Buffer.of(2));
    },
  ],
];

for (const [what, breach] of breaches) {
  test(`duties: a server sends ${what} -> power is cut, the pair is logged as cut off`, async () => {
    await withHouse({ server: server(breach) }, async (house, router, seen) => {
      router.send(frameType.input, 1n, hello);
      await house.until("a second boot", () => house.gateway.status().boots === 2);
      await house.until("the abort", () => seen.length > 0);
      assert.deepEqual(seen, ["abort:server-lost"]);
      const { pairs, alarms } = house.gateway.status();
      assert.equal(pairs.cutOff, 1);
      assert.ok(alarms.some((alarm) => alarm.kind === "server.misbehaved"));
    });
  });
}

test("duties: no recomputer and a full outbox -> serving stops, nothing is dropped; then it goes on", async () => {
  await withHouse({ server: server(answer), outboxPairs: 3 }, async (house, router, seen) => {
    for (let i = 1n; i <= 3n; i++) {
      router.send(frameType.input, i, hello);
      await house.until(
        "a reply",
        () => seen.filter((word) => word === "final").length === Number(i),
      );
    }
    await house.until("full", () => house.gateway.status().outbox.waiting === 3);
    router.send(frameType.input, 4n, hello);
    await house.until("the refusal", () => seen.at(-1) === "refused:full");

    const recomputer = house.connectRecomputer();
    const judged: bigint[] = [];
    recomputer.onFrame((frame) => {
      if (frame.type !== frameType.proofRequest) return;
      decodeProofRequest(frame.payload);
      judged.push(frame.id);
      recomputer.send(frameType.verdict, frame.id, Buffer.from("pass"));
    });
    await house.until("verdicts", () => house.gateway.status().outbox.waiting === 0);
    assert.equal(judged.length, 3);
    router.send(frameType.input, 5n, hello);
    await house.until("service again", () => seen.filter((word) => word === "final").length === 4);
  });
});

/** A store whose leaf log waits, in commits with leaves of pairs in them, for as long as `held()` says. */
function slowLog(held: () => Promise<void>): (store: GatewayStore) => GatewayStore {
  return (store) => {
    const { log } = store;
    let { pairs } = log;
    const commit = async (): Promise<void> => {
      const grew = log.pairs > pairs;
      pairs = log.pairs;
      if (grew) await held();
      await log.commit();
    };
    return {
      ...store,
      log: {
        get size() {
          return log.size;
        },
        get pairs() {
          return log.pairs;
        },
        get marks() {
          return log.marks;
        },
        append: (leaf) => log.append(leaf),
        commit,
        root: () => log.root(),
        find: (tag) => log.find(tag),
        read: (index) => log.read(index),
        get durable() {
          return log.durable;
        },
        rootAt: (size) => log.rootAt(size),
        prove: (index, size) => log.prove(index, size),
        entries: (from, count) => log.entries(from, count),
        close: () => log.close(),
      },
    };
  };
}

test("duties: pairs that are released but have no coin yet -> they count towards a full outbox", async () => {
  const gate = Promise.withResolvers<undefined>();
  const wrapStore = slowLog(() => gate.promise);
  const failures: string[] = [];
  const overrides = { onFatal: (error: Error): void => void failures.push(error.message) };
  const options = { server: server(answer), outboxPairs: 2, wrapStore, overrides };
  await withHouse(options, async (house, router, seen) => {
    const finals = (): number => seen.filter((word) => word === "final").length;
    router.send(frameType.input, 1n, hello);
    router.send(frameType.input, 2n, hello);
    await house.until("two replies", () => finals() === 2);
    // Their leaves are on the way to the disk; both coins will say: keep.
    router.send(frameType.input, 3n, hello);
    await house.until("the refusal", () => seen.includes("refused:full") || finals() === 3);
    gate.resolve(undefined); // in any case, or the gateway cannot stop
    assert.equal(seen.at(-1), "refused:full");
    await house.until("both kept", () => house.gateway.status().outbox.waiting === 2);
    assert.deepEqual(failures, []);
  });
});

test("duties: a crash before the outbox had its pairs, and a smaller outbox since -> it starts, full", async () => {
  const dir = temporaryDirectory();
  try {
    // Kept by their coins, but nothing reaches the outbox: as a crash in that moment leaves it.
    const wrapStore = (store: GatewayStore): GatewayStore => {
      const { outbox } = store;
      return {
        ...store,
        outbox: {
          capacity: outbox.capacity,
          get waiting() {
            return outbox.waiting;
          },
          roomFor: (pairs, bytes) => outbox.roomFor(pairs, bytes),
          put: () => undefined,
          knows: (tag) => outbox.knows(tag),
          find: (tag) => outbox.find(tag),
          list: (after, max) => outbox.list(after, max),
          settle: (verdicts) => {
            outbox.settle(verdicts);
          },
          verdictOf: (tag) => outbox.verdictOf(tag),
          close: () => {
            outbox.close();
          },
        },
      };
    };
    await withHouse({ server: server(answer), dir, wrapStore }, async (house, router, seen) => {
      for (let i = 1n; i <= 3n; i++) router.send(frameType.input, i, hello);
      await house.until("replies", () => seen.filter((word) => word === "final").length === 3);
      await house.until("coins", () => house.gateway.status().pairs.sampled === 3);
    });
    await withHouse(
      { server: server(answer), dir, outboxPairs: 1 },
      async (house, router, seen) => {
        assert.equal(house.gateway.status().outbox.waiting, 3);
        router.send(frameType.input, 1n, hello);
        await house.until("the refusal", () => seen.includes("refused:full"));
      },
    );
  } finally {
    removeDirectory(dir);
  }
});

test("duties: more inputs between two ticks than the ring can take -> refused as full, nothing breaks", async () => {
  const prompt = { kind: "text", text: "x".repeat(500_000) } as const;
  const huge = encodeInput({ modelId: "m", params, prompt });
  await withHouse({ server: server(answer) }, async (house, router, seen) => {
    for (let i = 1n; i <= 30n; i++) router.send(frameType.input, i, huge);
    const count = (word: string): number => seen.filter((one) => one === word).length;
    await house.until("all answered", () => count("final") + count("refused:full") === 30);
    assert.ok(count("final") >= 4 && count("refused:full") >= 1, seen.join(" "));
    router.send(frameType.input, 31n, hello);
    await house.until("service", () => count("final") + count("refused:full") === 31);
  });
});

test("duties: a server floods the gateway between two ticks -> it loses power, the gateway lives", async () => {
  const text = "y".repeat(1_000_000);
  const flood = (link: Wire, frame: Frame): void => {
    link.send(frameType.prompt, frame.id, encodePrompt([1]));
    link.send(frameType.tokens, frame.id, encodeTokens([4], text));
  };
  await withHouse({ server: server(flood) }, async (house, router, seen) => {
    for (let i = 1n; i <= 12n; i++) router.send(frameType.input, i, hello);
    await house.until("a second boot", () => house.gateway.status().boots === 2);
    await house.until("aborts", () => seen.filter((w) => w === "abort:server-lost").length === 12);
    assert.ok(house.gateway.status().alarms.some((a) => a.kind === "server.misbehaved"));
  });
});

test("duties: the last pairs mostly failed by the server -> alarmed on; it clears when they end well", async () => {
  let failing = true;
  const unwilling = (link: Wire, frame: Frame): void => {
    if (failing) link.send(frameType.failed, frame.id, encodeFailed("internal"));
    else answer(link, frame);
  };
  await withHouse({ server: server(unwilling) }, async (house, router, seen) => {
    const alarmed = (): boolean =>
      house.gateway
        .status()
        .alarms.some((a) => a.kind === "server.failing" && !a.text.endsWith("(over)"));
    for (let i = 1n; i <= 20n; i++) router.send(frameType.input, i, hello);
    await house.until("the alarm", alarmed);
    failing = false;
    for (let i = 21n; i <= 40n; i++) router.send(frameType.input, i, hello);
    await house.until("replies", () => seen.filter((word) => word === "final").length === 20);
    await house.until("it clears", () => !alarmed());
  });
});

test("duties: a receipt asked for the moment a reply is there -> its leaf, and that it was kept", async () => {
  await withHouse({ server: server(answer) }, async (house, router, seen) => {
    router.send(frameType.input, 1n, hello);
    await house.until("the reply", () => seen.includes("final"));
    const receipt = await house.gateway.receipt(Buffer.from("g1.0000010000000001"));
    assert.equal(receipt.state, "kept");
    assert.equal(receipt.leafHex?.length, 256);
  });
});

test("duties: pairs end while a receipt is made -> its proof still gives its root", async () => {
  const gate = Promise.withResolvers<undefined>();
  const reading = Promise.withResolvers<undefined>();
  const wrapStore = (store: GatewayStore): GatewayStore => {
    const slow = slowLog(() => Promise.resolve())(store);
    const read = async (index: bigint): ReturnType<typeof store.log.read> => {
      reading.resolve(undefined);
      await gate.promise;
      return store.log.read(index);
    };
    return {
      ...slow,
      log: Object.create(slow.log, { read: { value: read } }) as GatewayStore["log"],
    };
  };
  await withHouse({ server: server(answer), wrapStore }, async (house, router) => {
    const logged = (count: number): boolean => house.gateway.status().outbox.waiting === count;
    router.send(frameType.input, 1n, hello);
    await house.until("a leaf", () => logged(1));
    const receipt = house.gateway.receipt(Buffer.from("g1.0000010000000001"));
    await reading.promise;
    for (let i = 2n; i <= 4n; i++) router.send(frameType.input, i, hello);
    await house.until("more leaves", () => logged(4));
    gate.resolve(undefined);
    const { leafHash: hash, leafIndex, logSize, logRoot, proof } = await receipt;
    verifyInclusion(
      Buffer.from(hash ?? "", "hex"),
      leafIndex ?? -1,
      logSize,
      proof.map((step) => Buffer.from(step, "hex")),
      Buffer.from(logRoot, "hex"),
    );
  });
});
