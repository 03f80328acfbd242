#!/usr/bin/env python3
"""Writes noise-laws.json: vectors of the noise laws of other engines (spec/noise-laws.md).

Usage: python3 spec/vectors/noise-laws.py > spec/vectors/noise-laws.json

It shares no code with src/verification/laws: whole Python integers, with each engine's widths put in
by hand, as its source writes them.
"""
import json
import math
import struct

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def i64(x):
    x &= M64
    return x - (1 << 64) if x >> 63 else x


def i32(x):
    x &= M32
    return x - (1 << 32) if x >> 31 else x


def philox(counter, key):
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(b >> 32) ^ x[1] ^ k[0], b & M32, (a >> 32) ^ x[3] ^ k[1], a & M32]
        k = [(k[0] + 0x9E3779B9) & M32, (k[1] + 0xBB67AE85) & M32]
    return x


class Mt19937:
    """Matsumoto and Nishimura's mt19937ar.c with init_genrand, which std::mt19937's constructor is."""

    def __init__(self, seed):
        self.mt = [seed & M32]
        for i in range(1, 624):
            self.mt.append((1812433253 * (self.mt[-1] ^ (self.mt[-1] >> 30)) + i) & M32)
        self.at = 624

    def word(self):
        if self.at == 624:
            for k in range(624):
                y = (self.mt[k] & 0x80000000) | (self.mt[(k + 1) % 624] & 0x7FFFFFFF)
                self.mt[k] = self.mt[(k + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
            self.at = 0
        y = self.mt[self.at]
        self.at += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680
        y ^= (y << 15) & 0xEFC60000
        return y ^ (y >> 18)


# ISO C++ [rand.predef]: the 10000th word of a default-constructed mt19937 (seed 5489).
generator = Mt19937(5489)
assert [generator.word() for _ in range(10000)][-1] == 4123659995


def llama():
    for seed in [0, 1, 42, 5489, 0xFFFFFFFE]:
        generator = Mt19937(seed)
        for position in range(1000):
            low, high = generator.word(), generator.word()
            u = (float(low) + float(high) * 2.0**32) / 2.0**64
            if position in (0, 1, 2, 311, 312, 313, 999):
                yield {"seed": f"{seed:016x}", "position": position, "value": u}
    # Only the low 32 bits of a seed count.
    generator = Mt19937(7)
    yield {"seed": "000000ff00000007", "position": 0, "value": (generator.word() + generator.word() * 2.0**32) / 2.0**64}


def vllm(seed, position, token):
    word = philox([position & M32, position >> 32, 0, 0], [seed & M32, seed >> 32])[0]
    x = i32(philox([token, 0, 0, 0], [word, 0])[0])
    x = -x - 1 if x < 0 else x
    u = max(f32(f32(float(x)) * f32(4.6566127342e-10)), f32(4.6566127342e-10))
    return u, -f32(math.log(-f32(math.log1p(-u))))


def sglang_old(seed, position, column):
    # seed is an int32 tensor, positions and columns are int64.
    step = i64(i32(i32(seed) * 19349663) ^ i64(position * 73856093))
    hashed = i64(i64(step * 8589934591) ^ i64(column * 479001599))
    u = f32(hashed % 2**24 / 2**24)
    inner = f32(math.log(f32(u + f32(1e-9))))
    return -f32(math.log(f32(-inner + f32(1e-9))))


def murmur3(blocks):
    h = 0
    for k in blocks:
        k = (k * 0xCC9E2D51) & M32
        k = ((k << 15) | (k >> 17)) & M32
        h ^= (k * 0x1B873593) & M32
        h = ((h << 13) | (h >> 19)) & M32
        h = (h * 5 + 0xE6546B64) & M32
    h ^= 16
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & M32
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & M32
    return h ^ (h >> 16)


def sglang_new(seed, position, column):
    hashed = murmur3([seed & M32, seed >> 32, position & M32, column])
    log = math.log(hashed / M32) if hashed else -math.inf
    return -math.log(-max(-1.7976931348623157e308, min(-(2.0**-32), log)))


SEEDS = [0, 1, 42, 0x7FFFFFFF, 0x0123456789ABCDEF, M64]
PLACES = [(0, 0), (0, 1), (7, 2), (63, 31_999), (4095, 128_255), (131_071, 262_143)]


def gumbel(noise):
    for seed in SEEDS:
        for position, token in PLACES:
            yield {"seed": f"{seed:016x}", "position": position, "token": token, "value": noise(seed, position, token)}


def hashes():
    for seed in SEEDS:
        for position, token in PLACES:
            blocks = [seed & M32, seed >> 32, position, token]
            yield {"blocks": blocks, "hash": murmur3(blocks)}


def uniforms():
    for seed in [0, 1, 42, M64, 0x0123456789ABCDEF]:
        for position in [0, 7, 4095, 2**31]:
            for token in [0, 1, 31_999, 262_143]:
                yield {"seed": f"{seed:016x}", "position": position, "token": token, "u": vllm(seed, position, token)[0]}


def lines(name, rows):
    return f'"{name}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]"


print("{")
print(lines("llama-mt19937/1", llama()) + ",")
print(lines("vllm-philox/1", gumbel(lambda *a: vllm(*a)[1])) + ",")
print(lines("tl.rand", uniforms()) + ",")
print(lines("sglang-hash/1", gumbel(sglang_old)) + ",")
print(lines("sglang-murmur/1", gumbel(sglang_new)) + ",")
print(lines("murmur3", hashes()) + "\n}")
