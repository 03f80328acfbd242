/** The proof of erasure, both sides, and the ways to cheat at it. */
import assert from "node:assert/strict";
import { createCipheriv, createHmac } from "node:crypto";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { systemRandom } from "../adapter/random.ts";
import { HoardingMemory } from "../adversary/hoard.ts";
import { InvalidError, UnavailableError } from "../base/assert.ts";
import { decodeEraseKey, eraseKeyBytes, erasePiece } from "../format/erase.ts";
import { frameType } from "../format/link.ts";
import type { Wire } from "../format/wire.ts";
import { runAgent, type AgentHooks } from "../server/agent.ts";
import { EraseMemory } from "../server/erase.ts";
import { FakeClock } from "../../tests/fake-recomputer.ts";
import { quiet, wirePair } from "../../tests/support.ts";
import { eraseDeadlineMs, ErasureProof, type Erasure } from "./erase.ts";

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;
const rate = 1_000_000;

/** A proof of `bytes` bytes towards `server`; what it came to. */
function prove(bytes: number, server: (link: Wire) => void) {
  const gateway = { role: "gateway", name: "g1" } as const;
  const { left, right } = wirePair({ role: "server", name: "g1" }, gateway);
  const clock = new FakeClock();
  const common = { server: left, random: systemRandom, clock, stallMs: 1000 };
  const proof = new ErasureProof({ ...common, bytes, bytesPerSecond: rate });
  left.onFrame((frame) => {
    proof.onFrame(frame);
  });
  server(right);
  const result: Promise<Erasure | Error> = proof.run().catch((error: unknown) => error as Error);
  return { result, clock, left, right };
}

/** The agent, as a site runs it, with these hooks. */
const agent =
  (hooks: AgentHooks = {}) =>
  (wire: Wire): void => {
    const never = (): Promise<never> =>
      Promise.reject(new UnavailableError("test", "nothing is loaded here", "none"));
    void runAgent({
      ...{ wire, logger: quiet, queueMax: 1, hooks },
      weights: { create: never },
      openEngine: never,
    });
  };

test("erasure: an agent that holds all of it, any size -> proved", async () => {
  for (const bytes of [1, erasePiece - 1, erasePiece, 3 * erasePiece + 17]) {
    const { result, left } = prove(bytes, agent());
    const erasure = await result;
    assert.ok(!(erasure instanceof Error));
    assert.equal(erasure.bytes, bytes);
    left.close("the test is over");
  }
});

test("erasure: an agent that keeps one byte or more back -> not proved", async () => {
  const bytes = 2 * erasePiece + 100;
  for (const back of [1, 100, erasePiece, bytes]) {
    const memory = (size: bigint): HoardingMemory => new HoardingMemory(size, BigInt(back));
    const { result, left } = prove(bytes, agent({ memory }));
    const error = await result;
    assert.ok(error instanceof InvalidError, `${back} bytes back`);
    assert.equal(error.code, "erase.mac");
    left.close("the test is over");
  }
});

test("erasure: the hoarder with nothing kept back -> proved, so that it is the hoard that is found", async () => {
  const memory = (size: bigint): HoardingMemory => new HoardingMemory(size, 0n);
  const { result, left } = prove(erasePiece + 5, agent({ memory }));
  assert.ok(!((await result) instanceof Error));
  left.close("the test is over");
});

/** Plays a server by hand; `answer` gets all data and then the key. */
function byHand(answer: (data: Buffer[], key: Buffer | null, link: Wire) => void) {
  return (link: Wire): void => {
    const data: Buffer[] = [];
    link.onFrame((frame) => {
      if (frame.type === frameType.eraseData) data.push(Buffer.from(frame.payload));
      const key = frame.type === frameType.eraseKey ? decodeEraseKey(frame.payload) : null;
      answer(data, key, link);
    });
  };
}

test("erasure: what fills the memory cannot be pressed into less, and is never the same twice", async () => {
  const seen: Buffer[] = [];
  for (let run = 0; run < 2; run++) {
    const { result, left } = prove(
      erasePiece,
      byHand((data, key, link) => {
        if (key === null) return;
        const all = Buffer.concat(data);
        seen.push(all);
        const mac = createHmac("sha256", key).update(all).digest();
        link.send(frameType.eraseMac, 0n, mac);
      }),
    );
    assert.ok(!((await result) instanceof Error));
    left.close("the test is over");
  }
  const [first, second] = seen;
  assert.ok(first !== undefined && second !== undefined);
  assert.ok(deflateRawSync(first).length >= first.length);
  assert.notDeepEqual(first, second);
});

test("without randomness: a server fills itself from one known byte and keeps the memory; the proof is worth nothing", async () => {
  // The countermeasure taken away: the "random" fill is the cipher of a seed that the server knows.
  const known = { fill: (target: Uint8Array) => target.fill(7) };
  const gateway = { role: "gateway", name: "g1" } as const;
  const { left, right } = wirePair({ role: "server", name: "g1" }, gateway);
  const clock = new FakeClock();
  const bytes = 2 * erasePiece;
  const given = { bytes, bytesPerSecond: rate, random: known, clock, stallMs: 1000 };
  const proof = new ErasureProof({ ...given, server: left });
  left.onFrame((frame) => {
    proof.onFrame(frame);
  });
  right.onFrame((frame) => {
    // Not one byte of the fill was kept.
    if (frame.type !== frameType.eraseKey) return;
    const again = createCipheriv("aes-256-ctr", Buffer.alloc(32, 7), Buffer.alloc(16));
    const mac = createHmac("sha256", decodeEraseKey(frame.payload));
    right.send(frameType.eraseMac, 0n, mac.update(again.update(Buffer.alloc(bytes))).digest());
  });
  assert.equal((await proof.run()).bytes, bytes);
  left.close("the test is over");
});

test("erasure: a MAC after the deadline -> late, though it would be right; at the deadline -> proved", async () => {
  const bytes = erasePiece;
  for (const early of [1, -1]) {
    let answer = (): void => undefined;
    const asked = Promise.withResolvers<undefined>();
    const { result, clock, left } = prove(
      bytes,
      byHand((data, key, link) => {
        if (key === null) return;
        answer = (): void => {
          const mac = createHmac("sha256", key).update(Buffer.concat(data)).digest();
          link.send(frameType.eraseMac, 0n, mac);
        };
        asked.resolve(undefined);
      }),
    );
    await asked.promise;
    const deadline = eraseDeadlineMs({ bytes, bytesPerSecond: rate });
    assert.equal(deadline, 2000 + Math.ceil((1000 * bytes) / rate));
    await clock.advance(deadline - early);
    answer();
    const outcome = await result;
    assert.equal(outcome instanceof Error ? codeOf(outcome) : "", early > 0 ? "" : "erase.late");
    left.close("the test is over");
  }
});

test("erasure: a server that stops taking -> stalled", async () => {
  const { result, clock, left, right } = prove(64 * erasePiece, (link) => {
    link.onFrame(() => undefined);
    link.pause();
  });
  for (let i = 0; i < 50; i++) await turn();
  await clock.advance(1001);
  assert.equal(codeOf(await result), "erase.stall");
  for (const wire of [left, right]) wire.close("the test is over");
});

test("erasure: the server is lost -> so the proof says", async () => {
  const { result, right } = prove(64 * erasePiece, (link) => {
    link.onFrame(() => undefined);
  });
  right.close("gone");
  assert.equal(codeOf(await result), "erase.lost");
});

test("erasure: a MAC before the key, or a frame of another kind -> refused", async () => {
  for (const type of [frameType.eraseMac, frameType.tokens, frameType.loadReady]) {
    const { result, left } = prove(
      64 * erasePiece,
      byHand((data, key, link) => {
        if (data.length > 0 || key !== null) return;
        // It takes nothing more: the key cannot be on its way.
        link.pause();
        link.send(type, 0n, Buffer.alloc(eraseKeyBytes));
      }),
    );
    assert.equal(codeOf(await result), "erase.frame");
    left.close("the test is over");
  }
});

test("erase memory: pieces in any sizes -> the HMAC of them all; out of order, too many or too few -> refused", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { minLength: 1, maxLength: 6 }),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (pieces, key) => {
        const all = Buffer.concat(pieces);
        const filled = (bytes: number): EraseMemory => {
          const memory = new EraseMemory(BigInt(bytes));
          pieces.forEach((piece, i) => {
            memory.piece(BigInt(i), piece);
          });
          return memory;
        };
        assert.deepEqual(
          filled(all.length).mac(key),
          createHmac("sha256", key).update(all).digest(),
        );
        assert.throws(() => filled(all.length - 1), InvalidError);
        assert.throws(() => filled(all.length + 1).mac(key), InvalidError);
        assert.throws(() => {
          new EraseMemory(BigInt(all.length)).piece(1n, all);
        }, InvalidError);
      },
    ),
  );
});

test("erasure: a gateway's memory for it does not grow with its size", async () => {
  let waiting = 0;
  let most = 0;
  const wire = {
    peer: { role: "server", name: "g1" },
    send: () => true,
    sendRaw: (bytes: Uint8Array, taken?: () => void) => {
      if (taken === undefined) return true;
      waiting += bytes.length;
      most = Math.max(most, waiting);
      setImmediate(() => {
        waiting -= bytes.length;
        taken();
      });
      return true;
    },
    onClose: () => undefined,
  } as unknown as Wire;
  const clock = new FakeClock();
  const given = { bytes: 40 * erasePiece, bytesPerSecond: rate, random: systemRandom };
  const proof = new ErasureProof({ ...given, clock, stallMs: 1000, server: wire });
  void proof.run().catch(() => undefined);
  for (let i = 0; i < 60; i++) await turn();
  assert.equal(waiting, 0);
  assert.ok(most <= 4 * erasePiece, `${most} bytes at one time`);
});
