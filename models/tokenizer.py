#!/usr/bin/env python3
"""Byte-level BPE with GPT-2's byte alphabet and pre-tokeniser (llama.cpp: tokenizer.ggml.pre = "gpt-2").

Usage: python3 tokenizer.py --corpus corpus.txt --vocab 4096 --out vocab.json
"""
import argparse
import collections
import heapq
import json
import pathlib
import re
import sys
import unicodedata

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _char_class(prefix):
    out, start = [], None
    for cp in range(0x110000):
        hit = unicodedata.category(chr(cp))[0] == prefix
        if hit and start is None:
            start = cp
        elif not hit and start is not None:
            out.append("\\U%08x-\\U%08x" % (start, cp - 1))
            start = None
    return "".join(out)


def pattern():
    """GPT-2's regular expression; \\p{L} and \\p{N} are spelled out since `re` has no Unicode properties."""
    l, n = _char_class("L"), _char_class("N")
    return re.compile(
        r"'s|'t|'re|'ve|'m|'ll|'d| ?[%s]+| ?[%s]+| ?[^\s%s%s]+|\s+(?!\S)|\s+" % (l, n, l, n)
    )


def byte_alphabet():
    """GPT-2's reversible byte to printable-character table."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


def train(text, vocab_size):
    """Return the token list: specials, the 256 byte tokens, then one token per merge; and the merges."""
    alpha, pat = byte_alphabet(), pattern()
    counts = collections.Counter()
    for part in re.split("|".join(map(re.escape, SPECIALS)), text):
        counts.update(pat.findall(part))
    seqs, freq = [], []
    for w, c in counts.items():
        seqs.append([alpha[b] for b in w.encode()])
        freq.append(c)
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, s in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += freq[i]
            where[p].add(i)
    tokens = SPECIALS + [alpha[b] for b in range(256)]
    known, merges = set(tokens), []
    heap = [(-c, p) for p, c in pairs.items()]
    heapq.heapify(heap)
    while len(tokens) < vocab_size and heap:
        negc, p = heapq.heappop(heap)
        if pairs.get(p, 0) != -negc or negc == 0:
            continue
        new = p[0] + p[1]
        merges.append(p)
        if new not in known:
            known.add(new)
            tokens.append(new)
        touched = set()
        for i in where.pop(p):
            s = seqs[i]
            for q in zip(s, s[1:]):
                pairs[q] -= freq[i]
                touched.add(q)
            out, j = [], 0
            while j < len(s):
                if j + 1 < len(s) and s[j] == p[0] and s[j + 1] == p[1]:
                    out.append(new)
                    j += 2
                else:
                    out.append(s[j])
                    j += 1
            seqs[i] = out
            for q in zip(out, out[1:]):
                pairs[q] += freq[i]
                where[q].add(i)
                touched.add(q)
        for q in touched:
            if pairs[q] > 0:
                heapq.heappush(heap, (-pairs[q], q))
    return tokens, merges


class Tokenizer:
    def __init__(self, tokens, merges):
        self.tokens, self.merges = tokens, [tuple(m) for m in merges]
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.alpha, self.pat = byte_alphabet(), pattern()
        self.unalpha = {c: b for b, c in self.alpha.items()}
        self.cache = {}
        self.split = re.compile("(" + "|".join(map(re.escape, SPECIALS)) + ")")

    @staticmethod
    def load(path):
        d = json.loads(pathlib.Path(path).read_text())
        return Tokenizer(d["tokens"], [m.split(" ") for m in d["merges"]])

    def _word(self, w):
        hit = self.cache.get(w)
        if hit is not None:
            return hit
        s = [self.alpha[b] for b in w.encode()]
        while len(s) > 1:
            r, j = min((self.rank.get(p, 1 << 30), i) for i, p in enumerate(zip(s, s[1:])))
            if r == 1 << 30:
                break
            s[j : j + 2] = [s[j] + s[j + 1]]
        self.cache[w] = ids = [self.ids[t] for t in s]
        return ids

    def encode(self, text):
        out = []
        for part in self.split.split(text):
            if part in SPECIALS:
                out.append(self.ids[part])
            else:
                for w in self.pat.findall(part):
                    out.extend(self._word(w))
        return out

    def decode(self, ids):
        out = bytearray()
        for i in ids:
            t = self.tokens[i]
            out += t.encode() if i < len(SPECIALS) else bytes(self.unalpha[c] for c in t)
        return out.decode("utf-8", "replace")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--corpus", default="corpus.txt")
    ap.add_argument("--vocab", type=int, default=4096)
    ap.add_argument("--out", default="vocab.json")
    args = ap.parse_args()
    text = pathlib.Path(args.corpus).read_text()
    tokens, merges = train(text, args.vocab)
    pathlib.Path(args.out).write_text(json.dumps({"tokens": tokens, "merges": [" ".join(m) for m in merges]}))
    print("tokens", len(tokens), "merges", len(merges), file=sys.stderr)


if __name__ == "__main__":
    main()
