#!/usr/bin/env python3
"""Writes log.json: notes, checkpoints, cosignatures, proofs and tile paths from an implementation of its own.

Usage: python3 spec/vectors/log.py > spec/vectors/log.json

It shares no code with src/: RFC 6962 by its recursive definition, Ed25519 of the `cryptography` package.
"""
import base64
import hashlib
import json
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64(data):
    return base64.b64encode(data).decode()


def root(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0", leaves[0])
    k = split(len(leaves))
    return sha(b"\1", root(leaves[:k]), root(leaves[k:]))


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def path(m, leaves):
    """RFC 9162 section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return path(m, leaves[:k]) + [root(leaves[k:])]
    return path(m - k, leaves[k:]) + [root(leaves[:k])]


def consistency(m, leaves, whole=True):
    """RFC 9162 section 2.1.4.1."""
    n = len(leaves)
    if m == n:
        return [] if whole else [root(leaves)]
    k = split(n)
    if m <= k:
        return consistency(m, leaves[:k], whole) + [root(leaves[k:])]
    return consistency(m - k, leaves[k:], False) + [root(leaves[:k])]


class Key:
    def __init__(self, name, kind, seed):
        self.name, self.kind = name, kind
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = sha(name.encode(), b"\n", bytes([kind]), self.public)[:4]

    def vkey(self):
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.kind]) + self.public)}"

    def line(self, signature):
        return f"\u2014 {self.name} {b64(self.id + signature)}\n"

    def sign(self, text):
        return self.line(self.private.sign(text.encode()))

    def cosign(self, text, time):
        message = f"cosignature/v1\ntime {time}\n{text}".encode()
        return self.line(struct.pack(">Q", time) + self.private.sign(message))


def tile_path(level, index, width):
    groups = []
    n = index
    while True:
        groups.insert(0, f"{n % 1000:03d}")
        n //= 1000
        if n == 0:
            break
    text = "/".join(["x" + g for g in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{text}" + ("" if width == 256 else f".p/{width}")


leaves = [f"entry {i}".encode() for i in range(13)]
log = Key("weir.local/g1/example", 1, 0x11)
a = Key("weir.local/witness/a", 4, 0xAA)
b = Key("weir.local/witness/b", 4, 0xBB)
text = f"{log.name}\n{len(leaves)}\n{b64(root(leaves))}\n"
signed = text + "\n" + log.sign(text)
cosigned = signed + a.cosign(text, 1700000000) + b.cosign(text, 1700000001)
index = 6
proof = "c2sp.org/tlog-proof@v1\n" + f"index {index}\n"
proof += "".join(b64(h) + "\n" for h in path(index, leaves)) + "\n" + cosigned
request = "old 5\n" + "".join(b64(h) + "\n" for h in consistency(5, leaves)) + "\n" + signed
tiles = [(0, 0, 256), (0, 273, 112), (1, 1234067, 256), ("entries", 1000, 7), (2, 999999, 256)]

print(
    json.dumps(
        {
            "leaves": [leaf.decode() for leaf in leaves],
            "seeds": {"log": 0x11, "a": 0xAA, "b": 0xBB},
            "vkeys": {"log": log.vkey(), "a": a.vkey(), "b": b.vkey()},
            "signed": signed,
            "cosigned": cosigned,
            "proof": proof,
            "request": request,
            "consistency": {
                f"{m}-{n}": [h.hex() for h in consistency(m, leaves[:n])]
                for n in range(1, 14)
                for m in range(1, n + 1)
            },
            "inclusion": {f"{m}/13": [h.hex() for h in path(m, leaves)] for m in range(13)},
            "roots": [root(leaves[:n]).hex() for n in range(14)],
            "tiles": [
                {"level": level, "index": i, "width": w, "path": tile_path(level, i, w)}
                for level, i, w in tiles
            ],
        },
        indent=1,
        ensure_ascii=True,
    )
)
