"""Checkers of lab 03, build a decoder."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from slmkit.course.checking import Wrong, call, compare, exercise


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@exercise("03/causal_mask")
def causal_mask(answer):
    right = torch.ones(5, 5, dtype=torch.bool).tril()
    compare(call(answer, 5), right, "the mask of 5 tokens", {
        "a token may see itself: the diagonal belongs to the mask": right.tril(-1),
        "off by one: query i would see key i + 1, the very token it has to predict": right | right.roll(1, 1).tril(1),
        "transposed: row i is the query, column j the key, and j ≤ i is visible": right.T,
        "upside down: True means visible, and you marked what is hidden": ~right,
        "everything is visible; the future has to be hidden": torch.ones(5, 5, dtype=torch.bool),
    })  # fmt: skip


@exercise("03/attention")
def attention(answer):
    q, k, v = _draw(2, 3, 6, 8), _draw(2, 3, 6, 8).flip(0) * 1.5, _draw(2, 3, 6, 8).roll(1, 2)
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    products = q @ k.transpose(-1, -2)

    def mixed(scores, hidden=hidden, axis=-1):
        return scores.masked_fill(hidden, -math.inf).softmax(axis) @ v

    scores = products / math.sqrt(8)
    late = scores.softmax(-1).masked_fill(hidden, 0) @ v
    compare(call(answer, q, k, v), mixed(scores), "the attention of 6 tokens", {
        "the scale is missing: divide the products by √d": mixed(products),
        "you divided by d; the scale is √d": mixed(products / 8),
        "you multiplied by √d; divide by it": mixed(products * math.sqrt(8)),
        "the mask is missing: each token sees the future": scores.softmax(-1) @ v,
        "the softmax runs over the queries; each query's weights must sum to one over the keys": mixed(scores, axis=-2),
        "hidden keys were set to 0 after the softmax, so the weights no longer sum to one; set scores to -inf before":
            late,
        "hidden scores were set to 0, and exp(0) = 1 is a weight; set them to -inf":
            scores.masked_fill(hidden, 0).softmax(-1) @ v,
        "the mask lets each query see one key too many, the next token": mixed(scores, hidden.triu(2)),
        "the mean over the keys is not taken: multiply the weights by v, not by k":
            scores.masked_fill(hidden, -math.inf).softmax(-1) @ k,
    })  # fmt: skip


@exercise("03/rms_norm")
def rms_norm(answer):
    x, weight, eps = _draw(2, 5, 5) * 3 + 1, _draw(5) + 2, 0.5
    square = x.square()

    def normed(size):
        return weight * x / (size + eps).sqrt()

    right = normed(square.mean(-1, keepdim=True))
    compare(call(answer, x, weight, eps), right, "the norm with eps = 0.5", {
        "the mean runs over the positions; take it over the last axis": normed(square.mean(-2, keepdim=True)),
        "the mean runs over everything; each position has its own": normed(square.mean()),
        "the sum is not the mean: divide by the width": normed(square.sum(-1, keepdim=True)),
        "the weight is missing": right / weight,
        "the square root is missing": weight * x / (square.mean(-1, keepdim=True) + eps),
        "eps belongs under the root, added to the mean square":
            weight * x / (square.mean(-1, keepdim=True).sqrt() + eps),
        "eps is missing": weight * x / square.mean(-1, keepdim=True).sqrt(),
        "that is LayerNorm: RMSNorm does not subtract the mean": F.layer_norm(x, (5,), weight, None, eps),
    })  # fmt: skip
    compare(
        call(answer, x, weight), normed(square.mean(-1, keepdim=True) + 1e-5 - eps), "the norm with its default eps"
    )


@exercise("03/gated_ffn")
def gated_ffn(answer):
    torch.manual_seed(3)
    gate, up, down = nn.Linear(4, 6, bias=False), nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False)
    x = _draw(2, 3, 4) * 2
    with torch.no_grad():
        g, u = gate(x), up(x)
        compare(call(answer, x, gate, up, down), down(F.silu(g) * u), "the FFN of 3 tokens", {
            "gate and up have changed places: SiLU goes on the gate": down(g * F.silu(u)),
            "the activation is missing": down(g * u),
            "that is the sigmoid; SiLU is x · sigmoid(x)": down(g.sigmoid() * u),
            "that is ReLU on the gate; here it is SiLU": down(g.relu() * u),
            "that is GELU on the gate; here it is SiLU": down(F.gelu(g) * u),
            "gate and up are added; the gate multiplies": down(F.silu(g) + u),
            "the gate is not used: that is a standard FFN": down(F.silu(u)),
            "up is not used: that is a standard FFN": down(F.silu(g)),
            "the activation belongs on the gate alone, not on the product": down(F.silu(g * u)),
            "the residual is the block's part; return only the FFN's result": x + down(F.silu(g) * u),
        })  # fmt: skip


@exercise("03/bits_per_byte")
def bits_per_byte(answer):
    nats, tokens, size = 4.2, 250.0, 1000.0
    bits = nats / math.log(2)
    got = call(answer, nats, tokens, size)
    if isinstance(got, torch.Tensor) and got.dim():
        raise Wrong("one number is expected, for the whole text")
    compare(got, bits * tokens / size, "4.2 nats a token, 250 tokens in 1000 bytes", {
        "those are nats per byte; a bit is ln 2 nats": nats * tokens / size,
        "you multiplied by ln 2; a nat is 1 / ln 2 = 1.44 bits, so divide": nats * math.log(2) * tokens / size,
        "those are bits a token; multiply by the tokens and divide by the bytes": bits,
        "upside down: a token is several bytes, so bits per byte are fewer than bits per token": bits * size / tokens,
        "those are the bits of the whole text; divide by its bytes": bits * tokens,
        "log10 is another base; the loss is in natural logarithms": nats / math.log10(2) * tokens / size,
    })  # fmt: skip
    return "this is how models with different tokenizers are compared"
