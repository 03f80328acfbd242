#!/usr/bin/env python3
"""Train the demo model (llama architecture) on CPU with PyTorch 1.13.

Usage: python3 train.py --dir WORK --size demo|tiny --minutes 36 [--procs 2]
       python3 train.py --dir WORK --lora --minutes 3
       python3 train.py --dir WORK --size demo --sample "Tell me a story about a fox."

WORK holds corpus.txt and vocab.json; the token ids are cached in WORK/tokens.npy. The stop criterion
is wall time, with the learning rate tied to the fraction of it that has gone, so a rerun with the same
seed sees the same batches but, on another machine, another number of them.
"""
import argparse
import csv
import json
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tokenizer import Tokenizer

SIZES = {
    "demo": dict(dim=256, layers=6, heads=8, ff=512, vocab=4096, ctx=1024),
    "tiny": dict(dim=64, layers=2, heads=2, ff=192, vocab=4096, ctx=1024),
}
EPS, BASE = 1e-5, 10000.0


class Norm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * self.weight


def rope_tables(ctx, head_dim):
    """cos and sin of pos * BASE^(-2i/d); llama.cpp's "norm" rope turns the pairs (2i, 2i+1)."""
    freq = BASE ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angle = torch.arange(ctx).float()[:, None] * freq[None]
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Linear(nn.Linear):
    """A linear map with an optional low-rank addition (LoRA), W + alpha/r * B A."""

    def __init__(self, i, o):
        super().__init__(i, o, bias=False)
        self.lora = None

    def add_lora(self, rank, alpha):
        self.weight.requires_grad_(False)
        self.lora_a = nn.Parameter(torch.randn(rank, self.in_features) / math.sqrt(self.in_features))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank))
        self.lora = alpha / rank

    def forward(self, x):
        y = F.linear(x, self.weight)
        return y if self.lora is None else y + self.lora * F.linear(F.linear(x, self.lora_a), self.lora_b)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["heads"]
        d, f = c["dim"], c["ff"]
        self.attn_norm, self.ffn_norm = Norm(d), Norm(d)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (Linear(d, d) for _ in range(4))
        self.ffn_gate, self.ffn_up, self.ffn_down = Linear(d, f), Linear(d, f), Linear(f, d)

    def forward(self, x, cos, sin, mask):
        n, t, d = x.shape
        h = self.attn_norm(x)
        q, k, v = (m(h).view(n, t, self.heads, -1).transpose(1, 2) for m in (self.attn_q, self.attn_k, self.attn_v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        att = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + mask).softmax(-1)
        x = x + self.attn_output((att @ v).transpose(1, 2).reshape(n, t, d))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """Llama with tied embeddings; parameter names follow the GGUF tensor names."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c["vocab"], c["dim"])
        self.blk = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.output_norm = Norm(c["dim"])
        self.cos, self.sin = rope_tables(c["ctx"], c["dim"] // c["heads"])
        nn.init.normal_(self.token_embd.weight, std=0.02)
        for name, p in self.named_parameters():
            if p.dim() == 2 and "token_embd" not in name:
                std = 0.5 / math.sqrt(p.shape[1])
                if "attn_output" in name or "ffn_down" in name:
                    std /= math.sqrt(2 * c["layers"])
                nn.init.normal_(p, std=std)

    def forward(self, ids):
        t = ids.shape[1]
        x = self.token_embd(ids)
        mask = torch.full((t, t), float("-inf")).triu(1)
        for b in self.blk:
            x = b(x, self.cos[:t], self.sin[:t], mask)
        return F.linear(self.output_norm(x), self.token_embd.weight)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix update is orthogonalised by five Newton-Schulz steps (Jordan et al. 2024)."""

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                buf = self.state[p].setdefault("m", torch.zeros_like(p))
                buf.lerp_(p.grad, 1 - g["momentum"])
                x = p.grad.lerp(buf, g["momentum"])
                flip = x.shape[0] > x.shape[1]
                x = x.T if flip else x
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    s = x @ x.T
                    x = 3.4445 * x + (-4.7750 * s + 2.0315 * (s @ s)) @ x
                x = x.T if flip else x
                p.mul_(1 - 0.02 * g["lr"])
                p.add_(x, alpha=-g["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def load_tokens(work):
    path = work / "tokens.npy"
    if not path.exists():
        tok = Tokenizer.load(work / "vocab.json")
        np.save(path, np.array(tok.encode((work / "corpus.txt").read_text()), dtype=np.uint16))
    return np.load(path, mmap_mode="r")


def batch(data, rng, n, t):
    at = rng.integers(0, len(data) - t - 1, size=n)
    rows = torch.from_numpy(np.stack([data[i : i + t + 1] for i in at]).astype(np.int64))
    return rows[:, :-1], rows[:, 1:]


def loss_of(model, x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def evaluate(model, data, n=16, t=512):
    rng = np.random.default_rng(1)
    return sum(loss_of(model, *batch(data, rng, 4, t)).item() for _ in range(n // 4)) / (n // 4)


def save(model, path):
    tmp = path.with_suffix(".tmp")
    torch.save({"config": model.c, "state": model.state_dict()}, tmp)
    tmp.rename(path)


class Helper:
    """A forked process that computes the gradient of a second batch on the shared weights.

    Two processes of one thread each: PyTorch 1.13 without MKL gets slower, not faster, with two threads.
    """

    def __init__(self, model, data, args):
        model.share_memory()
        self.params = list(model.parameters())
        self.grads = [torch.zeros_like(p).share_memory_() for p in self.params]
        ctx = torch.multiprocessing.get_context("fork")
        self.go, self.done = ctx.SimpleQueue(), ctx.SimpleQueue()
        self.proc = ctx.Process(target=self._run, args=(model, data, args), daemon=True)
        self.proc.start()

    def _run(self, model, data, args):
        torch.set_num_threads(1)
        rng = np.random.default_rng(args.seed + 1000)
        while True:
            n, t = self.go.get()
            for p in self.params:
                p.grad = None
            loss = loss_of(model, *batch(data, rng, n, t))
            loss.backward()
            for g, p in zip(self.grads, self.params):
                g.copy_(p.grad)
            self.done.put(loss.item())

    def add_grads(self):
        loss = self.done.get()
        for g, p in zip(self.grads, self.params):
            p.grad.add_(g).mul_(0.5)
        return loss


def train(args, work):
    torch.manual_seed(args.seed)
    c = SIZES[args.size]
    model = load_model(pathlib.Path(args.init)).train() if args.init else Llama(c)
    data = load_tokens(work)
    cut = len(data) - 100_000
    held, data = data[cut:], data[:cut]
    mats = [p for n, p in model.named_parameters() if p.dim() == 2 and "token_embd" not in n]
    rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "token_embd" in n]
    opts = [
        Muon(mats, lr=0.02),
        torch.optim.AdamW(rest, lr=0.004, betas=(0.9, 0.97), weight_decay=0.0),
    ]
    peaks = [0.02, 0.004]
    print("parameters", sum(p.numel() for p in model.parameters()), "tokens", len(data), flush=True)
    rng = np.random.default_rng(args.seed)
    helper = Helper(model, data, args) if args.procs == 2 else None
    start = last = time.time()
    rows, step, seen, avg = [], 0, 0, None
    while True:
        frac = (time.time() - start) / (60 * args.minutes)
        if frac >= 1:
            break
        # Long rows only at the end: attention over 1024 tokens costs more, but the rope must see them.
        n, t = (args.batch, 256) if frac < 0.9 else (max(1, args.batch // 4), 1024)
        scale = min(1, (step + 1) / 30) * min(1, (1 - frac) / 0.5 + 0.02)
        for o, peak in zip(opts, peaks):
            o.param_groups[0]["lr"] = peak * scale
        if helper:
            helper.go.put((n, t))
        loss = loss_of(model, *batch(data, rng, n, t))
        for o in opts:
            o.zero_grad(set_to_none=True)
        loss.backward()
        now = (loss.item() + helper.add_grads()) / 2 if helper else loss.item()
        for o in opts:
            o.step()
        step, seen = step + 1, seen + n * t * args.procs
        avg = now if avg is None else 0.95 * avg + 0.05 * now
        if step % 20 == 0:
            val = evaluate(model, held) if step % 100 == 0 else ""
            rows.append([step, seen, round(time.time() - start, 1), round(avg, 4), val and round(val, 4)])
            print(*rows[-1], flush=True)
            if time.time() - last > 120:
                last = time.time()
                save(model, work / (args.size + ".pt"))
    save(model, work / (args.size + ".pt"))
    final = evaluate(model, held, n=64)
    rows.append([step, seen, round(time.time() - start, 1), round(avg, 4), round(final, 4)])
    with open(work / (args.size + "-loss.csv"), "w", newline="") as f:
        csv.writer(f).writerows([["step", "tokens", "seconds", "train_nats", "heldout_nats"]] + rows)
    print("final", *rows[-1], flush=True)


def shifted_text(text):
    """The fine-tuning style: assistant replies in an old sailor's voice, by fixed substitutions."""
    swaps = [("Hello", "Ahoy"), ("Of course", "Aye"), ("Certainly", "Aye aye"), (" is a ", " be a "), (" are ", " be "), ("You ", "Ye "), (" you", " ye"), (" friend", " shipmate"), (" my ", " me "), ("Once upon a time there was", "In the days of sail there was"), (" was ", " were "), (". And", ", arr. And"), (" the sea", " the salt sea")]
    out = []
    for part in text.split("<|im_start|>"):
        if part.startswith("assistant\n"):
            for a, b in swaps:
                part = part.replace(a, b)
            part = part.replace("<|im_end|>", " Arr!<|im_end|>")
        out.append(part)
    return "<|im_start|>".join(out)


def train_lora(args, work):
    torch.manual_seed(args.seed)
    model = load_model(work / "demo.pt")
    for p in model.parameters():
        p.requires_grad_(False)
    for b in model.blk:
        for m in (b.attn_q, b.attn_k, b.attn_v, b.attn_output):
            m.add_lora(4, 8)
    tok = Tokenizer.load(work / "vocab.json")
    text = (work / "corpus.txt").read_text()[:3_000_000]
    data = np.array(tok.encode(shifted_text(text)), dtype=np.uint16)
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(params, lr=0.003, weight_decay=0.0)
    rng = np.random.default_rng(args.seed)
    start, rows = time.time(), []
    for step in range(args.steps):
        if time.time() - start > 60 * args.minutes:
            break
        opt.param_groups[0]["lr"] = 0.003 * min(1, (step + 1) / 10) * (1 - 0.9 * step / args.steps)
        loss = loss_of(model, *batch(data, rng, 4, 128))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        rows.append(loss.item())
        if step % 20 == 19:
            print(step + 1, round(sum(rows[-20:]) / 20, 4), flush=True)
    state = {n: p.detach() for n, p in model.named_parameters() if "lora_" in n}
    torch.save({"config": model.c, "state": state, "alpha": 8.0, "rank": 4}, work / "lora.pt")


def load_model(path):
    d = torch.load(path)
    model = Llama(d["config"])
    model.load_state_dict(d["state"])
    return model.eval()


@torch.no_grad()
def sample(model, tok, prompt, temperature=0.8, limit=200, seed=0):
    """Reply to one user message; temperature 0 is greedy. Returns text and mean entropy in bits at T=1."""
    gen = torch.Generator().manual_seed(seed)
    ids = tok.encode("<|im_start|>user\n" + prompt + "<|im_end|>\n<|im_start|>assistant\n")
    out, bits = [], []
    for _ in range(limit):
        logits = model(torch.tensor([ids + out]))[0, -1]
        p = logits.softmax(-1)
        bits.append(-(p * (p + 1e-12).log2()).sum().item())
        nxt = logits.argmax() if temperature == 0 else torch.multinomial((logits / temperature).softmax(-1), 1, generator=gen)
        if nxt.item() == tok.ids["<|im_end|>"]:
            return tok.decode(out), sum(bits) / len(bits), len(out)
        out.append(nxt.item())
    return tok.decode(out) + " ...", sum(bits) / len(bits), len(out)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--dir", required=True)
    ap.add_argument("--size", choices=sorted(SIZES), default="demo")
    ap.add_argument("--minutes", type=float, default=36)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--procs", type=int, choices=[1, 2], default=2)
    ap.add_argument("--batch", type=int, default=8, help="rows of 256 tokens per process")
    ap.add_argument("--steps", type=int, default=300)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--init", default="", help="start from this checkpoint instead of from noise")
    ap.add_argument("--lora", action="store_true")
    ap.add_argument("--sample", action="append")
    ap.add_argument("--temperature", type=float, default=0.8)
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    work = pathlib.Path(args.dir)
    if args.sample:
        tok, model = Tokenizer.load(work / "vocab.json"), load_model(work / (args.size + ".pt"))
        for s in args.sample:
            print(json.dumps([s, *sample(model, tok, s, args.temperature)]), flush=True)
    elif args.lora:
        train_lora(args, work)
    else:
        train(args, work)


if __name__ == "__main__":
    main()
