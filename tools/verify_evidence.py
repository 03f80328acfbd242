#!/usr/bin/env python3
"""A second verifier of evidence bundles (spec/evidence.md), for Python 3.8 or newer and its standard library alone.

It shares no code with `weir audit`: it was written from the specifications, checks the same thirteen steps in the same order,
and gives the same code for the first thing that is wrong. It does not recompute pairs on a model.

    python3 verify_evidence.py BUNDLE --party-a A.keys --party-b B.keys [--log VKEY] [--epsilon-min E] [--json]

Exit codes: 0 sound, 1 unsound, 2 wrong usage. Public-key arithmetic here is not constant time; it handles no secret.
"""
import argparse
import base64
import hashlib
import hmac
import json
import math
import os
import re
import struct
import sys
from datetime import datetime, timezone

GRACE_MS, CRASH_PAIRS, CRASH_ENTRIES = 600_000, 4, 1024
SAFE = 2**53 - 1
TIME_MAX = 8_640_000_000_000_000


class Unsound(Exception):
    """The first thing that is wrong: a code, a place, words."""

    def __init__(self, code, where, why):
        super().__init__(why)
        self.code, self.where, self.why = code, where, why


class Bad(Exception):
    """Bytes that break their format."""


def unsound(code, where, why):
    raise Unsound(code, where, why)


def held(code, where, action):
    try:
        return action()
    except Bad as error:
        raise Unsound(code, where, str(error)) from None


def sha256(data):
    return hashlib.sha256(data).digest()


# --- Ed25519, RFC 8032 section 5.1 ------------------------------------------------------------------------------------
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def point_mul(s, p):
    q = (0, 1, 1, 0)
    while s > 0:
        if s & 1:
            q = point_add(q, p)
        p = point_add(p, p)
        s >>= 1
    return q


def point_equal(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P != 0:
        x = x * ROOT % P
    if (x * x - x2) % P != 0:
        return None
    return P - x if (x & 1) != sign else x


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BASE_Y, 0), BASE_Y, 1, recover_x(BASE_Y, 0) * BASE_Y % P)
BASE_POWERS = [BASE]
for _ in range(255):
    BASE_POWERS.append(point_add(BASE_POWERS[-1], BASE_POWERS[-1]))


def base_mul(s):
    q, i = (0, 1, 1, 0), 0
    while s > 0:
        if s & 1:
            q = point_add(q, BASE_POWERS[i])
        s >>= 1
        i += 1
    return q


def compress(p):
    inverse = pow(p[2], P - 2, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return int.to_bytes(y | ((x & 1) << 255), 32, "little")


def decompress(data):
    if len(data) != 32:
        return None
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def verify(public, message, signature):
    """S below the group order, and R byte for byte what [S]B - [h]A encodes to."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a = decompress(public)
    if a is None:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus_a = (P - a[0], a[1], 1, P - a[3])
    return compress(point_add(base_mul(s), point_mul(h, minus_a))) == signature[:32]


SOUND_KEYS = {}


def enrolled(text):
    """A key of prime order in its canonical encoding, from 64 hex digits."""
    raw = hex_bytes(text, 32)
    if text not in SOUND_KEYS:
        point = decompress(raw)
        identity = (0, 1, 1, 0)
        SOUND_KEYS[text] = (
            point is not None
            and not point_equal(point_mul(8, point), identity)
            and point_equal(point_mul(L, point), identity)
        )
    if not SOUND_KEYS[text]:
        raise Bad("the key %s cannot be enrolled" % text)
    return raw


# --- texts, JSON, numbers ---------------------------------------------------------------------------------------------
def text_of(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("text is not valid UTF-8") from None


def hex_bytes(text, length):
    if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{%d}" % (2 * length), text):
        raise Bad("expected %d bytes of lower-case hex" % length)
    return bytes.fromhex(text)


def base64_bytes(text):
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, UnicodeEncodeError):
        raise Bad("not canonical base64") from None
    if base64.b64encode(data).decode() != text:
        raise Bad("not canonical base64")
    return data


def lines_of(data):
    text = text_of(data)
    if text == "":
        return []
    if not text.endswith("\n"):
        raise Bad("the last line has no newline")
    return text[:-1].split("\n")


def well_formed(text):
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise Bad("a string holds a lone surrogate")


def check_json(value, depth=0):
    if depth > 32:
        raise Bad("too deeply nested")
    if isinstance(value, str):
        well_formed(value)
    elif isinstance(value, list):
        for item in value:
            check_json(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            well_formed(key)
            check_json(item, depth + 1)


def parse_json(text):
    """Strict: no key twice, no number that a double does not hold, bounded depth."""

    def pairs(items):
        found = dict(items)
        if len(found) != len(items):
            raise Bad("a key occurs twice")
        return found

    def number(token):
        value = float(token)
        if not math.isfinite(value):
            raise Bad("a number is too large")
        if value.is_integer():
            if abs(value) > SAFE:
                raise Bad("an integer exceeds 2^53")
            return int(value)
        return value

    def constant(_):
        raise Bad("no JSON number")

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=constant
        )
        check_json(value)
        return value
    except (ValueError, RecursionError) as error:
        raise Bad("JSON: %s" % error) from None


class Fields:
    """Reads an object of a closed schema."""

    def __init__(self, value):
        if not isinstance(value, dict):
            raise Bad("an object is wanted")
        self.object, self.seen = value, set()

    def get(self, key):
        self.seen.add(key)
        return self.object.get(key)

    def has(self, key):
        return key in self.object

    def text(self, key):
        value = self.get(key)
        if not isinstance(value, str):
            raise Bad("%s must be a string" % key)
        return value

    def number(self, key, low, high):
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise Bad("%s must be a number from %s to %s" % (key, low, high))
        return value

    def integer(self, key, low, high):
        value = self.number(key, low, high)
        if not isinstance(value, int):
            raise Bad("%s must be an integer" % key)
        return value

    def texts(self, key):
        value = self.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Bad("%s must be a list of strings" % key)
        return value

    def object_of(self, key):
        return Fields(self.get(key))

    def objects(self, key):
        value = self.get(key)
        if not isinstance(value, list):
            raise Bad("%s must be a list" % key)
        return [Fields(item) for item in value]

    def hex(self, key, length):
        text = self.text(key)
        hex_bytes(text, length)
        return text

    def end(self):
        for key in self.object:
            if key not in self.seen:
                raise Bad('there is an unknown field "%s"' % key)


class Reader:
    """Big-endian fields, length-prefixed texts."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        if count > len(self.data) - self.at:
            raise Bad("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def unsigned(self, count):
        return int.from_bytes(self.raw(count), "big")

    def blob(self, most):
        count = self.unsigned(4)
        if count > most:
            raise Bad("a part is too long")
        return self.raw(count)

    def text(self, most):
        return text_of(self.blob(most))

    def double(self):
        raw = self.raw(8)
        value = struct.unpack(">d", raw)[0]
        if not math.isfinite(value) or raw == b"\x80" + bytes(7):
            raise Bad("a number is not canonical")
        return value

    def ids(self, most):
        count = self.unsigned(4)
        if count > most:
            raise Bad("there are too many ids")
        self.raw(4 * count)
        return count

    def end(self):
        if self.at != len(self.data):
            raise Bad("there are bytes too many")


def put_text(text):
    data = text.encode("utf-8")
    return struct.pack(">I", len(data)) + data


# --- DSSE -------------------------------------------------------------------------------------------------------------
class Envelope:
    def __init__(self, data):
        value = parse_json(text_of(data))
        if not isinstance(value, dict) or set(value) - {"payloadType", "payload", "signatures"}:
            raise Bad("an envelope has payloadType, payload and signatures")
        self.type, payload, signatures = value.get("payloadType"), value.get("payload"), value.get("signatures")
        if not isinstance(self.type, str) or not isinstance(payload, str) or not isinstance(signatures, list):
            raise Bad("an envelope has payloadType, payload and signatures")
        if len(signatures) > 32:
            raise Bad("an envelope has at most 32 signatures")
        self.payload = base64_bytes(payload)
        self.signatures = []
        for entry in signatures:
            sig = entry.get("sig") if isinstance(entry, dict) else None
            if not isinstance(sig, str):
                raise Bad("sig is not a string")
            self.signatures.append(base64_bytes(sig))

    def signers(self, keys):
        head = self.type.encode("utf-8")
        message = b"DSSEv1 %d %s %d %s" % (len(head), head, len(self.payload), self.payload)
        return {
            key
            for key in set(keys)
            if any(verify(bytes.fromhex(key), message, sig) for sig in self.signatures)
        }


def envelope_of(code, where, data, wanted):
    envelope = held(code, where, lambda: Envelope(data))
    if envelope.type != wanted:
        unsound(code, where, "it is not of the type %s" % wanted)
    return envelope


# --- notes ------------------------------------------------------------------------------------------------------------
SPACES = set(" \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff") | {chr(c) for c in range(0x2000, 0x200B)}


def key_name(name):
    control = any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in name)
    if name == "" or len(name) > 256 or control or "+" in name or any(c in SPACES for c in name):
        raise Bad("not the name of a note key")
    return name


class NoteKey:
    def __init__(self, vkey):
        parts = vkey.split("+")
        if len(parts) < 3:
            raise Bad("a verifier key is NAME+KEYID+BASE64")
        material = base64_bytes("+".join(parts[2:]))
        if len(material) != 33 or material[0] not in (1, 4):
            raise Bad("a verifier key of another type than Ed25519")
        self.name, self.type, self.public = key_name(parts[0]), material[0], material[1:]
        enrolled(self.public.hex())
        self.id = sha256(self.name.encode() + b"\n" + material)[:4]
        if self.id.hex() != parts[1]:
            raise Bad("the key ID is not that of the name and the key")


class Note:
    def __init__(self, data):
        if len(data) > 16_384:
            raise Bad("the note is too long")
        whole = text_of(data)
        if any(ord(c) < 0x20 and c != "\n" for c in whole):
            raise Bad("the note has control characters")
        at = whole.rfind("\n\n")
        if at < 0:
            raise Bad("no empty line separates text and signatures")
        self.text, block = whole[: at + 1], whole[at + 2 :]
        if not block.endswith("\n"):
            raise Bad("the last signature has no newline")
        lines = block[:-1].split("\n")
        if len(lines) > 64:
            raise Bad("too many signatures")
        self.signatures = []
        for line in lines:
            parts = line.split(" ")
            if len(parts) != 3 or parts[0] != "\u2014":
                raise Bad("a line after the text is not a signature")
            data = base64_bytes(parts[2])
            if len(data) < 5:
                raise Bad("a signature is too short")
            self.signatures.append((key_name(parts[1]), data[:4], data[4:]))

    def of(self, key):
        return [data for name, ident, data in self.signatures if name == key.name and ident == key.id]


def decimal(text):
    if not re.fullmatch("0|[1-9][0-9]{0,15}", text) or int(text) > SAFE:
        raise Bad("not a decimal number")
    return int(text)


def checkpoint_of(text):
    lines = text.split("\n")
    if len(lines) != 4 or lines[0] == "" or lines[3] != "":
        raise Bad("a checkpoint has three lines")
    root = base64_bytes(lines[2])
    if len(root) != 32:
        raise Bad("the root is not 32 bytes")
    return lines[0], decimal(lines[1]), root


def cosigned(note, key):
    found = False
    for data in note.of(key):
        seconds = int.from_bytes(data[:8], "big")
        message = b"cosignature/v1\ntime %d\n" % seconds + note.text.encode()
        if len(data) < 8 or not 0 < seconds <= SAFE or not verify(key.public, message, data[8:]):
            raise Bad("a cosignature of %s does not verify" % key.name)
        found = True
    return found


# --- party keys -------------------------------------------------------------------------------------------------------
class PartyKeys:
    def __init__(self, data):
        lines = lines_of(data)
        if len(lines) < 2 or lines[0] != "weir party keys/1" or lines[1] not in ("party a", "party b"):
            raise Bad("this is no key file of a party")
        self.party = lines[1][-1]
        found = {duty: [] for duty in ("root", "witness", "draw", "boot", "recomputer", "operator")}
        for line in lines[2:]:
            parts = line.split(" ")
            if len(parts) != 2 or parts[0] not in found:
                raise Bad('"%s" is no line of a duty and a key' % line)
            if parts[0] != "witness":
                enrolled(parts[1])
            found[parts[0]].append(parts[1])
        self.witness = [NoteKey(text) for text in found.pop("witness")]
        if any(key.type != 4 for key in self.witness):
            raise Bad("a witness has a key of type 4")
        self.root, self.draw, self.boot = found["root"], found["draw"], found["boot"]
        self.recomputer, self.operator = found["recomputer"], found["operator"]
        if not self.root or not self.witness:
            raise Bad("a party has at least one root key and one witness key")

    def own(self):
        return set(self.root + self.draw + self.boot + [key.public.hex() for key in self.witness])


# --- steps 1 to 4: manifest, trust root, whitelists, device -----------------------------------------------------------
FIXED = {
    "trust/root.jsonl", "boot/ceremony.json", "boot/chain.json", "log/key", "log/checkpoint", "log/entries",
    "draw/commits.jsonl", "recomputer/record.json", "recomputer/orders.jsonl", "pairs.jsonl",
}  # fmt: skip
WHITELIST = re.compile(r"trust/whitelist-[1-9][0-9]{0,8}\.json")
BOOT_MANIFEST = re.compile(r"boot/manifest-[1-9][0-9]{0,8}\.json")
EARLIER = re.compile(r"log/earlier-[1-9][0-9]{0,8}")


def numbered(pattern, files):
    return [path for path in files if pattern.fullmatch(path)]


def parse_manifest(data):
    top = Fields(parse_json(text_of(data)))
    if top.text("format") != "weir evidence/1":
        raise Bad("this is no bundle of this form")
    gateway = top.text("gateway")
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,30}", gateway):
        raise Bad("the gateway's name is none")
    top.integer("createdMs", 0, TIME_MAX)
    files = []
    for item in top.objects("files"):
        path = item.text("path")
        if path not in FIXED and not any(p.fullmatch(path) for p in (WHITELIST, BOOT_MANIFEST, EARLIER)):
            raise Bad('a bundle has no file "%s"' % path)
        files.append((path, item.integer("bytes", 0, SAFE), item.hex("sha256", 32)))
        item.end()
    top.end()
    if len(files) > 4096 or len({path for path, _, _ in files}) != len(files):
        raise Bad("too many files, or one named twice")
    return gateway, files


def check_manifest(files):
    if "manifest.json" not in files:
        unsound("manifest.missing", "manifest.json", "the bundle does not hold it")
    gateway, listed = held("manifest.format", "manifest.json", lambda: parse_manifest(files["manifest.json"]))
    paths = [path for path, _, _ in listed]
    for path in ("trust/root.jsonl", "log/key", "log/checkpoint", "log/entries"):
        if path not in paths:
            unsound("manifest.missing", path, "the manifest does not name it")
    if not numbered(WHITELIST, paths):
        unsound("manifest.missing", "trust/whitelist-1.json", "the manifest does not name it")
    for path, size, digest in listed:
        if path not in files:
            unsound("manifest.missing", path, "the bundle does not hold it")
        if len(files[path]) != size:
            unsound("manifest.size", path, "it has %d bytes, the manifest says %d" % (len(files[path]), size))
        if sha256(files[path]).hex() != digest:
            unsound("manifest.digest", path, "it is not the file that the manifest names")
    for path in sorted(files):
        if path != "manifest.json" and path not in paths:
            unsound("manifest.unlisted", path, "the manifest does not name it")
    return gateway, paths


def parse_root(payload):
    top = Fields(parse_json(text_of(payload)))
    root = {"version": top.integer("version", 1, 1024), "expires": top.integer("expiresMs", 1, TIME_MAX)}
    for party in "ab":
        item = top.object_of(party)
        name = item.text("name")
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", name):
            raise Bad("no name of a party")
        keys = item.texts("keys")
        for key in keys:
            enrolled(key)
        if not 1 <= len(keys) <= 8:
            raise Bad("a party has 1 to 8 keys")
        bounds = item.object_of("thresholds")
        thresholds = {duty: bounds.integer(duty, 1, len(keys)) for duty in ("whitelist", "root")}
        bounds.end()
        operators = item.texts("operators")
        for key in operators:
            enrolled(key)
        if len(operators) > 8:
            raise Bad("a party has at most 8 operators")
        item.end()
        root[party] = {"name": name, "keys": keys, "thresholds": thresholds, "operators": operators}
    top.end()
    if root["a"]["name"] == root["b"]["name"]:
        raise Bad("both parties have one name")
    everyone = [key for party in "ab" for key in root[party]["keys"] + root[party]["operators"]]
    if len(set(everyone)) != len(everyone):
        raise Bad("a key stands in two places")
    return root


ROOT_TYPE = "application/vnd.weir.trust-root+json;v=1"
WHITELIST_TYPE = "application/vnd.weir.whitelist+json;v=2"


def quorum(envelope, root, duty):
    signers = envelope.signers(root["a"]["keys"] + root["b"]["keys"])
    return all(len(signers & set(root[p]["keys"])) >= root[p]["thresholds"][duty] for p in "ab")


def check_roots(files, parties):
    path, roots = "trust/root.jsonl", []
    for i, line in enumerate(held("root.format", path, lambda: lines_of(files[path]))):
        where = "%s, line %d" % (path, i + 1)
        envelope = envelope_of("root.format", where, line.encode(), ROOT_TYPE)
        if roots:
            if not quorum(envelope, roots[-1], "root"):
                unsound("root.signature", where, "too few signatures under version %d" % roots[-1]["version"])
            root = held("root.format", where, lambda: parse_root(envelope.payload))
        else:
            signers = envelope.signers(parties["a"].root + parties["b"].root)
            for party in "ab":
                if not signers & set(parties[party].root):
                    unsound("root.signature", where, "no key of party %s signed it" % party.upper())
            root = held("root.format", where, lambda: parse_root(envelope.payload))
            for party in "ab":
                if set(root[party]["keys"]) - set(parties[party].root):
                    unsound("root.party", where, "party %s has a key that is none of its own" % party.upper())
        if root["version"] != len(roots) + 1:
            unsound("root.version", where, "version %d stands where %d must" % (root["version"], len(roots) + 1))
        if not quorum(envelope, root, "root"):
            unsound("root.signature", where, "too few signatures under itself")
        roots.append(root)
    if not roots:
        unsound("root.format", path, "it is empty")
    return roots


def js_number(value):
    """A double as JavaScript writes it."""
    if float(value).is_integer() and abs(value) < 1e21:
        return str(int(value))
    sign, digits = ("-" if value < 0 else ""), repr(abs(float(value)))
    mantissa, _, exponent = digits.partition("e")
    whole, _, part = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    text = (whole + part).lstrip("0")
    point -= len(whole + part) - len(text)
    text = text.rstrip("0")
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + text
    if 0 < point <= 21:
        return sign + (text[:point] + "." + text[point:] if point < len(text) else text + "0" * (point - len(text)))
    power = "e%+d" % (point - 1)
    return sign + text[0] + ("." + text[1:] if len(text) > 1 else "") + power


def js_string(text):
    return json.dumps(text, ensure_ascii=False)


def parse_entry(item):
    """The digest and the model id of a whitelist entry: SHA-256 of its fields, written again in their order."""
    model = item.text("modelId")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._:/-]*", model) or len(model) > 128:
        raise Bad("no model id")
    weights = item.object_of("weights")
    size, chunk = weights.integer("sizeBytes", 1, SAFE), weights.integer("chunkBytes", 4096, 1_048_576)
    root = weights.hex("root", 32)
    weights.end()
    if -(-size // chunk) > 1_048_576:
        raise Bad("the weights have too many chunks")
    tokenizer, template = item.hex("tokenizerDigest", 32), item.hex("templateDigest", 32)
    engine, build, law = item.text("engine"), item.hex("engineBuild", 32), item.text("noiseLaw")
    policy = item.object_of("generation")
    temperature, top_p = policy.number("temperatureMax", 0, 100), policy.number("topPMin", 0, 1)
    top_k = policy.integer("topKMax", 1, 4096)
    tokens, context = policy.integer("maxTokens", 1, 131_072), policy.integer("contextTokens", 2, 131_072)
    policy.end()
    profile = item.hex("profile", 32)
    item.end()
    text = (
        '{"modelId":%s,"weights":{"sizeBytes":%d,"chunkBytes":%d,"root":"%s"},"tokenizerDigest":"%s",'
        '"templateDigest":"%s","engine":%s,"engineBuild":"%s","noiseLaw":%s,"generation":{"temperatureMax":%s,'
        '"topPMin":%s,"topKMax":%d,"maxTokens":%d,"contextTokens":%d},"profile":"%s"}'
        % (js_string(model), size, chunk, root, tokenizer, template, js_string(engine), build, js_string(law),
           js_number(temperature), js_number(top_p), top_k, tokens, context, profile)
    )  # fmt: skip
    return sha256(text.encode()), model


def parse_whitelist(payload):
    top = Fields(parse_json(text_of(payload)))
    version, root = top.integer("version", 1, SAFE), top.integer("rootVersion", 1, 1024)
    expires = top.integer("expiresMs", 1, TIME_MAX)
    items = top.objects("entries")
    if len(items) > 256:
        raise Bad("more than 256 entries")
    entries = [parse_entry(item) for item in items]
    top.end()
    if len({model for _, model in entries}) != len(entries):
        raise Bad("a model id occurs twice")
    return {"version": version, "root": root, "expires": expires, "entries": dict(entries)}


def check_whitelists(files, paths, roots):
    lists = []
    for path in numbered(WHITELIST, paths):
        envelope = envelope_of("whitelist.format", path, files[path], WHITELIST_TYPE)
        met = {root["version"]: root for root in roots if quorum(envelope, root, "whitelist")}
        if not met:
            unsound("whitelist.signature", path, "it lacks signatures of a party")
        one = held("whitelist.format", path, lambda: parse_whitelist(envelope.payload))
        if one["root"] not in met:
            unsound("whitelist.root", path, "it is not signed under the root version %d" % one["root"])
        if any(other["version"] == one["version"] for other in lists):
            unsound("whitelist.version", path, "version %d stands in another file too" % one["version"])
        one["over"] = min(one["expires"], met[one["root"]]["expires"])
        one["path"], one["digest"] = path, sha256(files[path])
        lists.append(one)
    return lists


def parse_ceremony(data):
    top = Fields(parse_json(text_of(data)))
    top.integer("format", 1, 1)
    fields = top.object_of("proposal")
    kind, gateway = fields.text("kind"), fields.text("gateway")
    if kind not in ("puf", "tpm") or not re.fullmatch("[a-z0-9][a-z0-9.-]{0,62}", gateway):
        raise Bad("the proposal is of no known kind, or of no gateway")
    proposal = {key: fields.hex(key, 32) for key in ("helper", "a", "b", "nonce", "sealTo")}
    proposal["kind"], proposal["gateway"] = kind, gateway
    fields.end()
    if proposal["a"] == proposal["b"]:
        raise Bad("both parties have the same key")
    contributions, endorsements, result = {}, {}, None
    for party in "ab":
        if top.has("contribution-" + party):
            one = top.object_of("contribution-" + party)
            sealed = one.text("sealed")
            if not re.fullmatch("([0-9a-f]{2}){1,512}", sealed):
                raise Bad("sealed entropy is not hex")
            contributions[party] = (one.hex("commitment", 32), sealed, one.hex("signature", 64))
            one.end()
        if top.has("endorsement-" + party):
            endorsements[party] = top.hex("endorsement-" + party, 64)
    if top.has("result"):
        one = top.object_of("result")
        result = {key: one.hex(key, 32) for key in ("identity", "device", "log")}
        result["signature"] = one.hex("signature", 64)
        one.end()
    top.end()
    return proposal, contributions, result, endorsements


def check_ceremony(files, gateway, parties):
    path = "boot/ceremony.json"
    if path not in files:
        return None
    proposal, contributions, result, endorsements = held("ceremony.format", path, lambda: parse_ceremony(files[path]))
    for party in "ab":
        if proposal[party] not in parties[party].boot:
            unsound("ceremony.party", path, "it was held with another key of party %s" % party.upper())

    def check(key, message, signature):
        if not verify(bytes.fromhex(key), message, bytes.fromhex(signature)):
            unsound("ceremony.signature", path, "a signature of the ceremony does not hold")

    head = put_text("weir ceremony proposal/1") + put_text(proposal["gateway"]) + put_text(proposal["kind"])
    digest = sha256(head + b"".join(bytes.fromhex(proposal[key]) for key in ("helper", "a", "b", "nonce", "sealTo")))
    messages = {}
    for party, (commitment, sealed, signature) in contributions.items():
        blob = bytes.fromhex(sealed)
        messages[party] = (
            put_text("weir ceremony contribution/1") + digest + put_text(party) + bytes.fromhex(commitment)
            + struct.pack(">I", len(blob)) + blob
        )  # fmt: skip
        check(proposal[party], messages[party], signature)
    if result is None or set(messages) != {"a", "b"} or set(endorsements) != {"a", "b"}:
        unsound("ceremony.signature", path, "the ceremony is not finished")
    keys = b"".join(bytes.fromhex(result[key]) for key in ("identity", "device", "log"))
    made = sha256(put_text("weir ceremony result/1") + digest + messages["a"] + messages["b"] + keys)
    check(result["identity"], b"weir ceremony device/1" + made, result["signature"])
    for party in "ab":
        check(proposal[party], b"weir ceremony endorsement/1" + made, endorsements[party])
    if proposal["gateway"] != gateway:
        unsound("ceremony.gateway", path, "it made the device of %s" % proposal["gateway"])
    for key in ("log", "device"):
        held("ceremony.key", path, lambda: enrolled(result[key]))
    return result


def check_device(files, gateway, parties, given):
    device, path = check_ceremony(files, gateway, parties), "log/key"
    lines = held("log.key", path, lambda: lines_of(files[path]))
    if len(lines) > 1:
        unsound("log.key", path, "it has more than one line")
    log = held("log.key", path, lambda: NoteKey(lines[0] if lines else ""))
    if log.type != 1 or log.name != "weir.local/%s/%s" % (gateway, log.public.hex()[:12]):
        unsound("log.key", path, "it is no key of a log of %s" % gateway)
    if device is not None and device["log"] != log.public.hex():
        unsound("log.key", path, "the ceremony made another log key")
    if given is not None and (given.public, given.name) != (log.public, log.name):
        unsound("log.key", path, "it is another key than the one that was named")
    return device, log


# --- steps 5 to 8: checkpoint, log, entries, rounds -------------------------------------------------------------------
def read_checkpoint(files, path, log):
    note = held("checkpoint.format", path, lambda: Note(files[path]))
    origin, size, root = held("checkpoint.format", path, lambda: checkpoint_of(note.text))
    if origin != log.name:
        unsound("checkpoint.origin", path, "it is of the log %s" % origin)
    own = note.of(log)
    if not own or not all(verify(log.public, note.text.encode(), data) for data in own):
        unsound("checkpoint.signature", path, "the log's key did not sign it")
    return note, size, root


class Tree:
    """RFC 6962: the right edge of a growing tree, as (level, hash)."""

    def __init__(self):
        self.edge = []

    def append(self, leaf):
        level, node = 0, sha256(b"\x00" + leaf)
        while self.edge and self.edge[-1][0] == level:
            node = sha256(b"\x01" + self.edge.pop()[1] + node)
            level += 1
        self.edge.append((level, node))

    def root(self):
        if not self.edge:
            return sha256(b"")
        node = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            node = sha256(b"\x01" + left + node)
        return node


PAIR = struct.Struct(">3sBQQQ32s32s32sI")
ROUND = struct.Struct(">3sBQQ32s32s32s")
BOOT = struct.Struct(">3sBQII32s32s32s")


class Log:
    """What the entries say; `fault` keeps the first breach of each rule."""

    def __init__(self, lists, epsilon_min):
        self.lists, self.epsilon_min = lists, epsilon_min
        self.known = {digest: model for one in lists for digest, model in one["entries"].items()}
        self.models, self.list = self.known, None
        self.faults, self.boots, self.pairs, self.unlisted = {}, [], [], 0
        self.open, self.opens, self.last, self.waiting, self.kept = [], {}, 0, [], []
        self.outside, self.revealed = None, 0

    def fault(self, code, index, why):
        self.faults.setdefault(code, (index, why))

    def entry(self, data, index):
        kind = data[:3]
        if kind == b"WL\x02":
            self.pair(PAIR.unpack(data), index)
        elif kind in (b"WR\x01", b"WV\x01", b"WB\x01"):
            if data[3] != 0:
                raise Bad("the fourth byte is not zero")
            if kind == b"WB\x01":
                self.boot(data, index)
            else:
                self.round(kind, data, index)
        else:
            raise Bad("not a log entry of a known kind")

    def pair(self, fields, index):
        _, finish, tag, completed, _, model, given, taken, tokens = fields
        if finish > 2:
            raise Bad("unknown finish reason")
        if tag >> 40 == 0 or tag & (2**40 - 1) == 0:
            raise Bad("a tag has an epoch and a counter, both from 1")
        if not self.boots:
            self.fault("entry.boot", index, "a pair stands before any start")
        elif tag >> 40 != self.boots[-1]["epoch"]:
            self.fault("entry.boot", index, "a pair of epoch %d stands in another" % (tag >> 40))
        if model not in self.models:
            self.fault("entry.model", index, "the pair's model entry is on no whitelist")
        if self.boots and self.list is not None and self.boots[-1]["at"] >= self.list["over"]:
            self.fault("entry.expired", index, "a pair was served after a start for which the whitelist was over")
        self.pairs.append((tag, index, completed))
        if self.open:
            self.waiting.append((tag, index))
        elif self.outside is None:
            self.outside = index

    def boot(self, data, index):
        _, _, at, epoch, _, device, measurement, whitelist = BOOT.unpack(data[:116])
        if any(data[116:]):
            raise Bad("the bytes after the last field are not zero")
        if self.boots and epoch <= self.boots[-1]["epoch"]:
            self.fault("entry.boot", index, "epoch %d begins after epoch %d" % (epoch, self.boots[-1]["epoch"]))
        self.list = next((one for one in self.lists if one["digest"] == whitelist), None)
        self.models = self.known if self.list is None else self.list["entries"]
        self.unlisted += self.list is None
        self.boots.append({"at": at, "epoch": epoch, "index": index, "device": device, "measurement": measurement})

    def round(self, kind, data, index):
        _, _, number, at, g, a, b = ROUND.unpack(data[:116])
        if number == 0:
            raise Bad("rounds are counted from 1")
        if kind == b"WR\x01":
            threshold = int.from_bytes(data[116:124], "big")
            if threshold > 2**53:
                raise Bad("epsilon is above 1")
            if any(data[124:]):
                raise Bad("the bytes after the last field are not zero")
            self.opened(number, (g, a, b), threshold, index)
        else:
            if any(data[116:]):
                raise Bad("the bytes after the last field are not zero")
            self.reveal(number, at, (g, a, b), index)

    def opened(self, number, commitments, threshold, index):
        if number != self.last + 1:
            self.fault("round.order", index, "round %d is opened after round %d" % (number, self.last))
        if len(self.open) > 1:
            self.fault("round.order", index, "round %d is opened while two others are open" % number)
        if threshold / 2**53 < self.epsilon_min:
            self.fault("round.epsilon", index, "the epsilon of round %d is below what was agreed" % number)
        self.last = max(self.last, number)
        self.opens[number] = commitments
        self.open.append((number, commitments, threshold))

    def reveal(self, number, at, secrets, index):
        if not self.open or self.open[0][0] != number:
            self.fault("round.order", index, "round %d is revealed out of turn" % number)
            return
        _, commitments, threshold = self.open.pop(0)
        waiting, self.waiting = self.waiting, []
        if not self.open:
            self.fault("round.order", index, "round %d is revealed before another was agreed" % number)
        for letter, secret, commitment in zip(b"gab", secrets, commitments):
            if sha256(b"weir draw/1" + bytes([letter]) + number.to_bytes(8, "big") + secret) != commitment:
                self.fault("round.secret", index, "a secret of round %d is not the one committed to" % number)
                return
        self.revealed += 1
        key = bytes(x ^ y ^ z for x, y, z in zip(*secrets))
        for tag, where in waiting:
            coin = int.from_bytes(hmac.digest(key, tag.to_bytes(8, "big"), "sha256")[:8], "big") >> 11
            if coin < threshold:
                self.kept.append((where, tag, at))

    def end(self):
        seen = set()
        for tag, index, _ in self.pairs:
            if tag in seen:
                self.fault("entry.tag", index, "the tag %016x stands here a second time" % tag)
                break
            seen.add(tag)
        if self.last > 0 and self.outside is not None:
            self.fault("round.outside", self.outside, "a pair stands outside any round")
        for code in ("entry.format", "entry.boot", "entry.tag", "entry.model", "entry.expired",
                     "round.order", "round.outside", "round.epsilon", "round.secret"):  # fmt: skip
            if code in self.faults:
                index, why = self.faults[code]
                unsound(code, "log/entries, entry %d" % index, why)


def check_log(files, paths, log_key, parties, lists, epsilon_min):
    note, size, root = read_checkpoint(files, "log/checkpoint", log_key)
    for party in "ab":
        keys = parties[party].witness
        found = held("checkpoint.cosignature", "log/checkpoint", lambda: [cosigned(note, key) for key in keys])
        if not any(found):
            unsound("checkpoint.cosignature", "log/checkpoint", "the witness of party %s did not cosign it" % party.upper())
    earlier = [(path, *read_checkpoint(files, path, log_key)[1:]) for path in numbered(EARLIER, paths)]
    entries = files["log/entries"]
    if len(entries) % 128 != 0:
        unsound("log.size", "log/entries", "it does not end with an entry")
    if len(entries) // 128 < size:
        unsound("log.size", "log/entries", "it has %d entries, the checkpoint %d" % (len(entries) // 128, size))
    demands = {}
    for path, before, wanted in earlier:
        if before > size:
            unsound("log.earlier", path, "it has more entries than log/checkpoint")
        demands.setdefault(before, []).append((path, wanted))
    tree, log, readable = Tree(), Log(lists, epsilon_min), True
    for index in range(size + 1):
        for path, wanted in demands.get(index, ()):
            if tree.root() != wanted:
                unsound("log.earlier", path, "the gateway signed another root over the first %d entries" % index)
        if index == size:
            break
        data = entries[128 * index : 128 * index + 128]
        tree.append(data)
        if readable:
            try:
                log.entry(data, index)
            except Bad as error:
                log.fault("entry.format", index, str(error))
                readable = False
    if tree.root() != root:
        unsound("log.root", "log/entries", "the entries do not hash to the root of the checkpoint")
    log.end()
    log.size, log.entries, log.tail = size, entries, len(entries) // 128 - size
    return log


# --- steps 9 to 13: boots, pairs, commitments, record, orders ---------------------------------------------------------
BOOT_TYPE = "application/vnd.weir.boot-manifest; v=1"


def check_boots(files, paths, gateway, parties, log, device):
    manifests = set()
    for path in numbered(BOOT_MANIFEST, paths):
        envelope = envelope_of("boot.manifest", path, files[path], BOOT_TYPE)
        signers = envelope.signers(parties["a"].boot + parties["b"].boot)
        for party in "ab":
            if not signers & set(parties[party].boot):
                unsound("boot.manifest", path, "party %s did not sign it" % party.upper())
        manifests.add(sha256(envelope.payload).hex())
    wanted = None
    if device is not None:
        wanted = bytes.fromhex(device["device"])
    elif log.boots:
        wanted = log.boots[0]["device"]
    unmeasured = unknown = 0
    for boot in log.boots:
        if boot["device"] != wanted:
            unsound("boot.device", "log/entries, entry %d" % boot["index"], "the device key is another")
        if not any(boot["measurement"]):
            unmeasured += 1
        elif boot["measurement"].hex() not in manifests:
            unknown += 1
    return unmeasured, unknown, check_chain(files, gateway, manifests, log, device)


def check_chain(files, gateway, manifests, log, device):
    path = "boot/chain.json"
    if path not in files or device is None:
        return False

    def parse():
        fields = Fields(parse_json(text_of(files[path])))
        found = {key: fields.hex(key, 32) for key in ("device", "identity", "measurement", "subject", "log")}
        found.update({key: fields.hex(key, 64) for key in ("certificate", "attestation")})
        fields.end()
        return found

    shown = held("boot.chain", path, parse)
    certificate = "weir boot certificate/1\n%s\n%s\n%s\n" % (gateway, shown["measurement"], shown["subject"])
    attested = "weir boot attestation/1\n%s\n%s\n%s\n%s\n" % (
        gateway, shown["measurement"], shown["device"], shown["log"]
    )  # fmt: skip
    holds = (
        shown["identity"] == device["identity"]
        and verify(bytes.fromhex(shown["identity"]), certificate.encode(), bytes.fromhex(shown["certificate"]))
        and verify(bytes.fromhex(shown["subject"]), attested.encode(), bytes.fromhex(shown["attestation"]))
        and (shown["device"], shown["log"]) == (device["device"], device["log"])
        and shown["measurement"] in manifests
        and any(boot["measurement"].hex() == shown["measurement"] for boot in log.boots)
    )
    if not holds:
        unsound("boot.chain", path, "the chain does not lead from the ceremony to a start in the log")
    return True


def read_input(data):
    """Checks an encoded input; the model that it asks for."""
    if len(data) > 524_288 + 4096:
        raise Bad("the input is too long")
    reader = Reader(data)
    model = reader.text(128)
    reader.unsigned(4)
    reader.double()
    reader.unsigned(4)
    reader.double()
    stops = reader.unsigned(1)
    if stops > 4 or any(reader.text(128) == "" for _ in range(stops)):
        raise Bad("the stop strings are wrong")
    kind = reader.unsigned(1)
    if kind == 0:
        reader.text(524_288)
    elif kind == 1:
        count = reader.unsigned(4)
        if not 1 <= count <= 1024:
            raise Bad("the messages are too many, or none")
        for _ in range(count):
            if reader.unsigned(1) > 2:
                raise Bad("unknown chat role")
            reader.text(524_288)
    else:
        raise Bad("unknown prompt kind")
    reader.end()
    return model


def read_output(data):
    reader = Reader(data)
    finish = reader.unsigned(1)
    if finish > 2:
        raise Bad("unknown finish reason")
    reader.ids(131_072)
    tokens = reader.ids(131_072)
    reader.text(1_048_576)
    reader.end()
    return finish, tokens


def check_pairs(files, log):
    path, pairs, seen = "pairs.jsonl", [], set()
    for i, line in enumerate(held("pair.format", path, lambda: lines_of(files.get(path, b"")))):
        where = "%s, line %d" % (path, i + 1)

        def parse():
            fields = Fields(parse_json(line))
            index, salt = fields.integer("index", 0, SAFE), bytes.fromhex(fields.hex("salt", 32))
            given, taken = base64_bytes(fields.text("input")), base64_bytes(fields.text("output"))
            fields.end()
            return index, salt, given, taken

        index, salt, given, taken = held("pair.format", where, parse)
        if index in seen:
            unsound("pair.twice", where, "entry %d is disclosed twice" % index)
        seen.add(index)
        data = log.entries[128 * index : 128 * index + 128] if index < log.size else b""
        if data[:3] != b"WL\x02":
            unsound("pair.index", where, "entry %d is no pair of this log" % index)
        _, finish, _, _, _, model, in_digest, out_digest, tokens = PAIR.unpack(data)
        if sha256(b"i" + salt + given) != in_digest or sha256(b"o" + salt + taken) != out_digest:
            unsound("pair.digest", where, "input or output are not what entry %d commits to" % index)
        asked, got = held("pair.content", where, lambda: (read_input(given), read_output(taken)))
        if got != (finish, tokens) or log.known.get(model, asked) != asked:
            unsound("pair.content", where, "the texts say other things than the leaf")
        pairs.append((where, index, data, given, taken))
    return pairs


def check_commits(files, gateway, parties, log):
    path, signed = "draw/commits.jsonl", {}
    for i, line in enumerate(held("draw.format", path, lambda: lines_of(files.get(path, b"")))):
        where = "%s, line %d" % (path, i + 1)

        def parse():
            fields = Fields(parse_json(line))
            data = base64_bytes(fields.text("commit"))
            fields.end()
            reader = Reader(data)
            reader.text(64)
            reader.unsigned(8)
            party = reader.unsigned(1)
            if party > 1:
                raise Bad("a party is a or b")
            return data, "ab"[party]

        data, party = held("draw.format", where, parse)
        body, signature = data[:-64], data[-64:]
        message = b"weir draw commit/1\n" + body
        if not any(verify(bytes.fromhex(key), message, signature) for key in parties[party].draw):
            unsound("draw.signature", where, "party %s's draw key did not sign it" % party.upper())

        def parse_body():
            reader = Reader(body)
            name, number = reader.text(64), reader.unsigned(8)
            reader.raw(1)
            found = name, number, reader.raw(32), reader.raw(32)
            reader.end()
            if number == 0:
                raise Bad("rounds are counted from 1")
            return found

        name, number, answers, commitment = held("draw.signature", where, parse_body)
        if name != gateway or number not in log.opens:
            unsound("draw.commitment", where, "it is for a round that this log does not open")
        if answers != log.opens[number][0] or commitment != log.opens[number]["gab".index(party)]:
            unsound("draw.commitment", where, "the log has another commitment in round %d" % number)
        signed.setdefault(number, set()).add(party)
    return sum(len(found) == 2 for found in signed.values())


RECORD_TYPE = "application/vnd.weir.recomputer-record+json;v=1"
ORDER_TYPE = "application/vnd.weir.order+json;v=1"


def parse_record(payload):
    top = Fields(parse_json(text_of(payload)))
    record = {"gateway": top.text("gateway"), "origin": top.text("origin"), "at": top.integer("atMs", 0, TIME_MAX)}
    record["verdicts"] = []
    for item in top.objects("verdicts"):
        one = {"tag": item.hex("tag", 8), "index": item.integer("index", 0, SAFE), "kind": item.text("kind")}
        if one["kind"] not in ("pass", "fail"):
            raise Bad("a verdict is pass or fail")
        one["at"], one["request"] = item.integer("atMs", 0, TIME_MAX), item.hex("request", 32)
        item.texts("findings")
        item.end()
        record["verdicts"].append(one)
    record["orders"] = {}
    for item in top.objects("orders"):
        digest = item.hex("digest", 32)
        record["orders"].setdefault(digest, item.integer("settledMs", 0, TIME_MAX))
        item.end()
    record["releases"] = top.texts("releases")
    top.end()
    for digest in record["releases"]:
        hex_bytes(digest, 32)
    return record


def check_record(files, gateway, origin, parties, log, pairs):
    path = "recomputer/record.json"
    if path not in files:
        return None
    envelope = envelope_of("record.format", path, files[path], RECORD_TYPE)
    if not envelope.signers(parties["a"].recomputer + parties["b"].recomputer):
        unsound("record.signature", path, "no recomputer that a party names signed it")
    record = held("record.format", path, lambda: parse_record(envelope.payload))
    if (record["gateway"], record["origin"]) != (gateway, origin):
        unsound("record.gateway", path, "it is about another gateway or log")
    judged, record["fails"], record["beyond"] = {}, [], 0
    for i, verdict in enumerate(record["verdicts"]):
        where, index = "%s, verdict %d" % (path, i + 1), verdict["index"]
        if index in judged:
            unsound("verdict.twice", where, "entry %d has a second verdict" % index)
        judged[index] = verdict["request"]
        if index >= log.size:
            record["beyond"] += 1
            continue
        data = log.entries[128 * index : 128 * index + 128]
        if data[:3] != b"WL\x02" or data[4:12].hex() != verdict["tag"]:
            unsound("verdict.pair", where, "entry %d is not the pair %s" % (index, verdict["tag"]))
        if verdict["kind"] == "fail":
            record["fails"].append((index, int.from_bytes(data[12:20], "big"), verdict["at"]))
    for where, index, leaf, given, taken in pairs:
        rest = leaf + struct.pack(">I", len(given)) + given + struct.pack(">I", len(taken)) + taken
        digests = [sha256(struct.pack(">Q", index | bit) + rest).hex() for bit in (0, 1 << 63)]
        if index in judged and judged[index] not in digests:
            unsound("verdict.request", where, "entry %d was judged by another proof request" % index)
    record["pending"], record["excused"] = check_kept(log, record["at"], judged)
    return record


def check_kept(log, at, judged):
    pending, excused, lost = 0, 0, {}
    for index, tag, revealed in log.kept:
        if index in judged:
            continue
        if revealed > at - GRACE_MS:
            pending += 1
            continue
        start = next((boot["index"] for boot in log.boots if boot["index"] > index), None)
        if start is not None and start - index <= CRASH_ENTRIES:
            lost[start] = lost.get(start, 0) + 1
            if lost[start] <= CRASH_PAIRS:
                excused += 1
                continue
        unsound("verdict.missing", "log/entries, entry %d" % index, "its coin kept the pair %016x, and it has no verdict" % tag)
    return pending, excused


def parse_order(payload):
    fields = Fields(parse_json(text_of(payload)))
    order = {"action": fields.text("action"), "gateway": fields.text("gateway")}
    reason, order["issued"] = fields.text("reason"), fields.integer("issuedMs", 0, SAFE)
    fields.hex("nonce", 16)
    if len(reason.encode("utf-16-le")) // 2 > 2000:
        raise Bad("the reason is too long")
    if order["action"] == "sample":
        if fields.number("epsilon", 0, 1) <= 0:
            raise Bad("epsilon must be above 0")
    elif order["action"] == "release":
        order["halt"] = fields.hex("halt", 32)
    elif order["action"] not in ("shutdown", "recheck", "quarantine"):
        raise Bad("unknown action")
    fields.end()
    return order


def check_orders(files, gateway, parties, log, record):
    path, orders = "recomputer/orders.jsonl", []
    recomputers = parties["a"].recomputer + parties["b"].recomputer
    operators = parties["a"].operator + parties["b"].operator
    for i, line in enumerate(held("order.format", path, lambda: lines_of(files.get(path, b"")))):
        where, data = "%s, line %d" % (path, i + 1), line.encode()
        envelope = envelope_of("order.format", where, data, ORDER_TYPE)
        signers = envelope.signers(recomputers + operators)
        if not signers:
            unsound("order.signature", where, "nobody whom a party names signed it")
        if len(data) > 65_536:
            unsound("order.entitled", where, "the order is too long")
        order = held("order.entitled", where, lambda: parse_order(envelope.payload))
        if not signers & set(operators if order["action"] == "release" else recomputers):
            unsound("order.entitled", where, "its signer may not give it")
        if order["gateway"] != gateway:
            unsound("order.gateway", where, "it is for the gateway %s" % order["gateway"])
        order["where"], order["digest"] = where, sha256(envelope.payload).hex()
        orders.append(order)
    digests = {order["digest"] for order in orders}
    for order in orders:
        if order["action"] == "release" and order["halt"] not in digests:
            unsound("order.release", order["where"], "it releases an order that is not here")
    if record is None:
        return orders
    for digest in list(record["orders"]) + record["releases"]:
        if digest not in digests:
            unsound("order.absent", path, "the record names the order %s, which is not here" % digest)
    settled = record["orders"]
    for index, completed, at in record["fails"]:
        if at > record["at"] - GRACE_MS:
            continue
        if not any(
            order["action"] == "shutdown"
            and order["issued"] <= at + GRACE_MS
            and (settled.get(order["digest"], 0) == 0 or completed <= settled[order["digest"]] + GRACE_MS)
            for order in orders
        ):
            unsound("order.missing", "recomputer/record.json", "the pair at entry %d failed, and no order followed" % index)
    for order in orders:
        since = settled.get(order["digest"], 0)
        if order["action"] != "shutdown" or since == 0:
            continue
        until = min(
            [one["issued"] - GRACE_MS for one in orders if one["action"] == "release" and one["halt"] == order["digest"]],
            default=math.inf,
        )
        for _, index, completed in log.pairs:
            if since + GRACE_MS < completed < until:
                unsound("order.ignored", order["where"], "the pair at entry %d was completed after it" % index)
    return orders


# --- the whole --------------------------------------------------------------------------------------------------------
def audit(files, parties, given, epsilon_min):
    """Raises Unsound, or gives figures and what could not be checked."""
    gateway, paths = check_manifest(files)
    roots = check_roots(files, parties)
    lists = check_whitelists(files, paths, roots)
    device, log_key = check_device(files, gateway, parties, given)
    log = check_log(files, paths, log_key, parties, lists, epsilon_min)
    unmeasured, unknown, chain = check_boots(files, paths, gateway, parties, log, device)
    pairs = check_pairs(files, log)
    signed = check_commits(files, gateway, parties, log)
    record = check_record(files, gateway, log_key.name, parties, log, pairs)
    orders = check_orders(files, gateway, parties, log, record)
    unchecked = [
        (log.tail, "entries behind the checkpoint: not cosigned"),
        (log.unlisted, "starts whose whitelist is not named, or not in the bundle"),
        (int(log.last == 0 and bool(log.pairs)), "the coins: this log has no rounds"),
        (len(log.waiting) if log.last else 0, "pairs of a round that is not revealed yet"),
        (int(log.last > 0 and epsilon_min == 0), "whether epsilon is what was agreed"),
        (int(device is None), "that the log's key is this gateway's: no ceremony"),
        (unmeasured, "starts that were not measured"),
        (unknown, "starts whose boot manifest is not in the bundle"),
        (int(not chain), "the boot chain of the newest start: not in the bundle"),
        (len(log.opens) - signed, "rounds without the parties' own signatures on their commitments"),
        (int(record is None), "verdicts: no record of a recomputer"),
        (record["pending"] if record else 0, "kept pairs too new to have a verdict"),
        (record["beyond"] if record else 0, "verdicts about entries behind the checkpoint"),
        (record["excused"] if record else 0, "kept pairs lost in crashes"),
        (len(pairs), "disclosed pairs that were not recomputed: this verifier has no model"),
    ]
    figures = {
        "gateway": gateway, "entries": log.size, "pairs": len(log.pairs), "rounds": log.revealed,
        "kept": len(log.kept), "verdicts": len(record["verdicts"]) if record else 0,
        "fails": len(record["fails"]) if record else 0, "orders": len(orders),
    }  # fmt: skip
    return figures, ["%d %s" % item for item in unchecked if item[0] > 0]


def read_bundle(folder):
    files = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, folder).replace(os.sep, "/")
            with open(path, "rb") as file:
                files[relative] = file.read()
    return files


def read_keys(path):
    try:
        with open(path, "rb") as file:
            return PartyKeys(file.read())
    except (OSError, Bad) as error:
        print("verify_evidence: %s: %s" % (path, error), file=sys.stderr)
        sys.exit(2)


def main():
    parser = argparse.ArgumentParser(description="Verifies an evidence bundle (spec/evidence.md).")
    parser.add_argument("bundle")
    parser.add_argument("--party-a", required=True)
    parser.add_argument("--party-b", required=True)
    parser.add_argument("--log")
    parser.add_argument("--epsilon-min", type=float, default=0.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parties = {"a": read_keys(options.party_a), "b": read_keys(options.party_b)}
    if parties["a"].party != "a" or parties["b"].party != "b" or parties["a"].own() & parties["b"].own():
        parser.error("the key files are not of two parties, A and B")
    if not os.path.isdir(options.bundle):
        parser.error("%s is no folder" % options.bundle)
    try:
        given = None if options.log is None else NoteKey(options.log)
    except Bad as error:
        parser.error("--log: %s" % error)
    began = datetime.now(timezone.utc)
    try:
        figures, unchecked = audit(read_bundle(options.bundle), parties, given, options.epsilon_min)
    except Unsound as found:
        if options.json:
            print(json.dumps({"sound": False, "code": found.code, "where": found.where, "why": found.why}))
        else:
            print("UNSOUND  %s\n  where  %s\n  why    %s" % (found.code, found.where, found.why))
        return 1
    if options.json:
        print(json.dumps({"sound": True, "figures": figures, "unchecked": unchecked}))
    else:
        seconds = (datetime.now(timezone.utc) - began).total_seconds()
        print("SOUND  %s, in %.1f s" % (", ".join("%s %s" % item for item in figures.items()), seconds))
        for line in unchecked:
            print("  not checked: %s" % line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
