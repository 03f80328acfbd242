#!/usr/bin/env python3
"""Writes leaf.json: one log entry of each kind, and the salt and digests of a pair.

Usage: python3 spec/vectors/leaf.py > spec/vectors/leaf.json

It shares no code with src/format/leaf.ts: Python's hashlib, hmac and struct.
"""
import hashlib
import hmac
import json
import struct


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def pair():
    epoch_key, tag = bytes([7]) * 32, 1 << 40 | 7
    salt = hmac.new(epoch_key, b"weir leaf salt/1" + struct.pack(">Q", tag), hashlib.sha256).digest()
    given_input, given_output = b"an encoded input", b"an encoded output"
    digests = sha256(b"i", salt, given_input), sha256(b"o", salt, given_output)
    head = b"WL\x02\x00" + struct.pack(">QQQ", tag, 1700000000000, 0x9A1F00000000002A)
    entry = head + bytes([0xE1]) * 32 + digests[0] + digests[1] + struct.pack(">I", 42)
    return {
        "epochKey": epoch_key.hex(),
        "tag": f"{tag:016x}",
        "salt": salt.hex(),
        "input": given_input.hex(),
        "output": given_output.hex(),
        "inputDigest": digests[0].hex(),
        "outputDigest": digests[1].hex(),
        "entry": entry.hex(),
        "leafHash": sha256(b"\0", entry).hex(),
    }


def rounds():
    number = struct.pack(">Q", 3)
    secrets = [bytes([byte]) * 32 for byte in (0x11, 0x22, 0x33)]
    commitments = [
        sha256(b"weir draw/1", letter, number, secret)
        for letter, secret in zip((b"g", b"a", b"b"), secrets)
    ]
    at = struct.pack(">Q", 1700000000000)
    threshold = struct.pack(">Q", int(0.25 * 2**53))
    opened = b"WR\x01\x00" + number + at + b"".join(commitments) + threshold + bytes(4)
    revealed = b"WV\x01\x00" + number + at + b"".join(secrets) + bytes(12)
    joint = bytes(a ^ b ^ c for a, b, c in zip(*secrets))
    coins = []
    for counter in range(1, 21):
        tag = struct.pack(">Q", 1 << 40 | counter)
        word = int.from_bytes(hmac.new(joint, tag, hashlib.sha256).digest()[:8], "big") >> 11
        coins.append({"tag": tag.hex(), "bits": f"{word:x}", "kept": word < int(0.25 * 2**53)})
    return {
        "secrets": [secret.hex() for secret in secrets],
        "commitments": [commitment.hex() for commitment in commitments],
        "open": opened.hex(),
        "reveal": revealed.hex(),
        "coins": coins,
    }


def boot():
    head = b"WB\x01\x00" + struct.pack(">QII", 1700000000000, 5, 2)
    return (head + bytes([0xD1]) * 32 + bytes([0xD2]) * 32 + bytes([0xD3]) * 32 + bytes(12)).hex()


print(json.dumps({"pair": pair(), "rounds": rounds(), "boot": boot()}, indent=1))
