"""Plausible wrong answers to lab 03's exercises: for each, what it gets told."""

import math

import torch
import torch.nn.functional as F


def hidden(n, offset=1):
    return torch.ones(n, n, dtype=torch.bool).triu(offset)


def attend(q, k, v, scale=None, axis=-1, offset=1, fill=-math.inf):
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.masked_fill(hidden(q.shape[2], offset), fill).softmax(axis) @ v


def late_mask(q, k, v):
    weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
    return weights.masked_fill(hidden(q.shape[2]), 0) @ v


def norm(x, w, size, eps=0.0):
    return w * x / (size + eps).sqrt()


WRONG = {
    "03/causal_mask": [
        (lambda n: torch.ones(n, n, dtype=torch.bool).tril(-1), "diagonal"),
        (lambda n: torch.ones(n, n, dtype=torch.bool).tril(1), "off by one"),
        (lambda n: torch.ones(n, n, dtype=torch.bool).triu(), "transposed"),
        (lambda n: torch.ones(n, n, dtype=torch.bool).triu(1), "upside down"),
        (lambda n: torch.ones(n, n, dtype=torch.bool), "future"),
        (lambda n: torch.ones(n, n).tril(), "bool"),
        (lambda n: torch.ones(n, dtype=torch.bool), "shape"),
        (lambda n: print(n), "return"),
    ],
    "03/attention": [
        (lambda q, k, v: attend(q, k, v, scale=1.0), "scale is missing"),
        (lambda q, k, v: attend(q, k, v, scale=1 / q.shape[-1]), "divided by d"),
        (lambda q, k, v: attend(q, k, v, scale=q.shape[-1] ** 0.5), "multiplied by √d"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v), "mask is missing"),
        (lambda q, k, v: attend(q, k, v, axis=-2), "over the keys"),
        (late_mask, "after the softmax"),
        (lambda q, k, v: attend(q, k, v, fill=0.0), "exp(0) = 1"),
        (lambda q, k, v: attend(q, k, v, offset=2), "one key too many"),
        (lambda q, k, v: attend(q, k, k), "not by k"),
        (lambda q, k, v: attend(q, k, v, offset=0), "NaN"),
    ],
    "03/rms_norm": [
        (lambda x, w, eps=1e-5: norm(x, w, x.square().mean(-2, keepdim=True), eps), "over the positions"),
        (lambda x, w, eps=1e-5: norm(x, w, x.square().mean(), eps), "each position has its own"),
        (lambda x, w, eps=1e-5: norm(x, w, x.square().sum(-1, keepdim=True), eps), "sum is not the mean"),
        (lambda x, w, eps=1e-5: norm(x, 1.0, x.square().mean(-1, keepdim=True), eps), "weight is missing"),
        (lambda x, w, eps=1e-5: w * x / (x.square().mean(-1, keepdim=True) + eps), "square root is missing"),
        (lambda x, w, eps=1e-5: w * x / (x.square().mean(-1, keepdim=True).sqrt() + eps), "under the root"),
        (lambda x, w, eps=1e-5: norm(x, w, x.square().mean(-1, keepdim=True)), "eps is missing"),
        (lambda x, w, eps=1e-5: F.layer_norm(x, x.shape[-1:], w, None, eps), "LayerNorm"),
        (lambda x, w, eps=0.5: norm(x, w, x.square().mean(-1, keepdim=True), eps), "default eps"),
    ],
    "03/gated_ffn": [
        (lambda x, gate, up, down: down(gate(x) * F.silu(up(x))), "changed places"),
        (lambda x, gate, up, down: down(gate(x) * up(x)), "activation is missing"),
        (lambda x, gate, up, down: down(gate(x).sigmoid() * up(x)), "sigmoid"),
        (lambda x, gate, up, down: down(gate(x).relu() * up(x)), "ReLU"),
        (lambda x, gate, up, down: down(F.gelu(gate(x)) * up(x)), "GELU"),
        (lambda x, gate, up, down: down(F.silu(gate(x)) + up(x)), "multiplies"),
        (lambda x, gate, up, down: down(F.silu(up(x))), "gate is not used"),
        (lambda x, gate, up, down: down(F.silu(gate(x))), "up is not used"),
        (lambda x, gate, up, down: down(F.silu(gate(x) * up(x))), "not on the product"),
        (lambda x, gate, up, down: x + down(F.silu(gate(x)) * up(x)), "block's part"),
        (lambda x, gate, up, down: F.silu(gate(x)) * up(x), "shape"),
    ],
    "03/bits_per_byte": [
        (lambda nats, tokens, size: nats * tokens / size, "nats per byte"),
        (lambda nats, tokens, size: nats * math.log(2) * tokens / size, "so divide"),
        (lambda nats, tokens, size: nats / math.log(2), "bits a token"),
        (lambda nats, tokens, size: nats / math.log(2) * size / tokens, "upside down"),
        (lambda nats, tokens, size: nats / math.log(2) * tokens, "whole text"),
        (lambda nats, tokens, size: nats / math.log10(2) * tokens / size, "log10"),
    ],
}
