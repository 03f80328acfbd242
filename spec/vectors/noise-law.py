#!/usr/bin/env python3
"""Writes noise-law.json: vectors of gumbel-philox/1 from an implementation of its own.

Usage: python3 spec/vectors/noise-law.py > spec/vectors/noise-law.json

It shares no code with src/format/noise.ts: Python integers, Python's hmac and math.
"""
import hashlib
import hmac
import json
import math

M = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10, Salmon et al., SC 2011."""
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k[0], b & M, (a >> 32) ^ x[3] ^ k[1], a & M]
        k = [(k[0] + 0x9E3779B9) & M, (k[1] + 0xBB67AE85) & M]
    return x


assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([M] * 4, [M] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def gumbel(seed, position, token):
    word = philox([position, token >> 2, 0, 0], [seed >> 32, seed & M])[token & 3]
    return -math.log(-math.log((word + 0.5) / 2**32))


def support(log_probs, temperature, top_k, top_p):
    kept = log_probs[:top_k]
    if temperature == 0:
        return 1
    if top_p >= 1:
        return len(kept)
    weights = [math.exp((l - kept[0]) / temperature) for l in kept]
    total, reached = sum(weights), 0.0
    for i, w in enumerate(weights):
        reached += w
        if reached >= top_p * total:
            return i + 1
    return len(kept)


def draw(seed, position, ids, log_probs, temperature, top_k, top_p):
    kept = support(log_probs, temperature, top_k, top_p)
    if temperature == 0:
        return kept, ids[0]
    scores = [((log_probs[i] - log_probs[0]) / temperature + gumbel(seed, position, ids[i]), -ids[i]) for i in range(kept)]
    return kept, -max(scores)[1]


def seeds():
    for key, epoch, counter in [(bytes(32), 1, 1), (bytes(range(32)), 3, 70_000), (b"\xff" * 32, 2**24 - 1, 2**40 - 1)]:
        tag = ((epoch << 40) | counter).to_bytes(8, "big")
        seed = hmac.new(key, tag, hashlib.sha256).digest()[:8]
        yield {"epochKey": key.hex(), "epoch": epoch, "counter": counter, "seed": seed.hex()}


def gumbels():
    for seed in [0, 1, 0x0123456789ABCDEF, 2**64 - 1]:
        for position, token in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (4095, 31_999), (131_071, 262_143)]:
            yield {"seed": f"{seed:016x}", "position": position, "token": token, "value": gumbel(seed, position, token)}


def draws():
    ids = [17, 3, 250, 4, 5, 99, 1023, 0]
    log_probs = [-0.7, -1.5, -2.0, -2.0, -2.7, -3.5, -4.0, -6.0]
    ids[2:4] = [4, 250]
    for n, (temperature, top_k, top_p) in enumerate(
        [(1, 8, 1), (1, 8, 1), (0.7, 8, 0.9), (1.3, 4, 1), (1, 3, 0.5), (0, 8, 1), (2, 8, 0.99), (0.05, 8, 1),
         (1e-311, 8, 1)]
    ):
        seed, position = 0xA5A5A5A5_00000000 + 7919 * n, 13 * n
        kept, token = draw(seed, position, ids, log_probs, temperature, top_k, top_p)
        yield {
            "seed": f"{seed:016x}", "position": position, "temperature": temperature, "topK": top_k, "topP": top_p,
            "ids": ids, "logProbs": log_probs, "support": kept, "token": token,
        }


def lines(name, rows):
    return f'"{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]"


print('{\n"law": "gumbel-philox/1",')
print(lines("seeds", seeds()) + ",")
print(lines("gumbel", gumbels()) + ",")
print(lines("draws", draws()) + "\n}")
