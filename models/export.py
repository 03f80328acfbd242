#!/usr/bin/env python3
"""Write a checkpoint of train.py as GGUF v3 for llama.cpp.

Usage: python3 export.py --dir WORK --size demo --out weir-demo.gguf
       python3 export.py --dir WORK --lora --out weir-demo-finetune.lora.gguf

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. No permutation of q and k is needed
because train.py already uses llama.cpp's interleaved rope.
"""
import argparse
import json
import pathlib
import struct

import numpy as np
import torch

U32, F32, BOOL, STR, ARR = 4, 6, 7, 8, 9
I32 = 5
ALIGN = 32
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STR:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def field(key, kind, v):
    if isinstance(kind, tuple):
        body = struct.pack("<IIQ", ARR, kind[1], len(v)) + b"".join(value(kind[1], x) for x in v)
    else:
        body = struct.pack("<I", kind) + value(kind, v)
    return string(key) + body


def gguf(meta, tensors):
    """tensors: (name, numpy array of float16 or float32); the GGUF order of dimensions is reversed."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)) + b"".join(field(*m) for m in meta)
    offset, data = 0, b""
    for name, a in tensors:
        dims = a.shape[::-1]
        out += string(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
        out += struct.pack("<IQ", 1 if a.dtype == np.float16 else 0, offset)
        raw = a.tobytes()
        raw += bytes(-len(raw) % ALIGN)
        data += raw
        offset += len(raw)
    return out + bytes(-len(out) % ALIGN) + data


def model_file(work, size):
    ck = torch.load(work / (size + ".pt"))
    c, voc = ck["config"], json.loads((work / "vocab.json").read_text())
    n = len(voc["tokens"])
    meta = [
        ("general.architecture", STR, "llama"),
        ("general.type", STR, "model"),
        ("general.name", STR, "weir-" + size),
        ("general.license", STR, "apache-2.0"),
        ("general.file_type", U32, 1),
        ("llama.block_count", U32, c["layers"]),
        ("llama.context_length", U32, c["ctx"]),
        ("llama.embedding_length", U32, c["dim"]),
        ("llama.feed_forward_length", U32, c["ff"]),
        ("llama.attention.head_count", U32, c["heads"]),
        ("llama.attention.head_count_kv", U32, c["heads"]),
        ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5),
        ("llama.rope.dimension_count", U32, c["dim"] // c["heads"]),
        ("llama.rope.freq_base", F32, 10000.0),
        ("llama.vocab_size", U32, n),
        ("tokenizer.ggml.model", STR, "gpt2"),
        ("tokenizer.ggml.pre", STR, "gpt-2"),
        ("tokenizer.ggml.tokens", (ARR, STR), voc["tokens"]),
        ("tokenizer.ggml.token_type", (ARR, I32), [3] * 3 + [1] * (n - 3)),
        ("tokenizer.ggml.merges", (ARR, STR), voc["merges"]),
        ("tokenizer.ggml.bos_token_id", U32, 0),
        ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.padding_token_id", U32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.chat_template", STR, TEMPLATE),
    ]
    tensors = []
    for name, p in ck["state"].items():
        a = p.float().numpy()
        tensors.append((name, a.astype(np.float16) if a.ndim == 2 else a.astype(np.float32)))
    return gguf(meta, tensors)


def lora_file(work):
    ck = torch.load(work / "lora.pt")
    meta = [
        ("general.architecture", STR, "llama"),
        ("general.type", STR, "adapter"),
        ("general.name", STR, "weir-demo-finetune"),
        ("general.license", STR, "apache-2.0"),
        ("general.file_type", U32, 0),
        ("adapter.type", STR, "lora"),
        ("adapter.lora.alpha", F32, ck["alpha"]),
    ]
    tensors = []
    for name, p in ck["state"].items():
        base, part = name.rsplit(".", 1)
        tensors.append((base + ".weight." + part, p.float().numpy()))
    return gguf(meta, tensors)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--dir", required=True)
    ap.add_argument("--size", default="demo")
    ap.add_argument("--lora", action="store_true")
    ap.add_argument("--out", required=True)
    args = ap.parse_args()
    work = pathlib.Path(args.dir)
    raw = lora_file(work) if args.lora else model_file(work, args.size)
    pathlib.Path(args.out).write_bytes(raw)
    print(args.out, len(raw), "bytes")


if __name__ == "__main__":
    main()
