"""Plausible wrong answers to lab 06's exercises: for each, what it gets told."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from slmkit.survey.zoo import divisible


def tied(embedding, head, saved=None):
    head.weight = embedding.weight
    return embedding.weight.numel() if saved is None else saved(embedding.weight)


def copied(embedding, head):
    head.weight = nn.Parameter(embedding.weight.detach().clone())
    return head.weight.numel()


def copied_in_place(embedding, head):
    head.weight.data.copy_(embedding.weight.data)
    return head.weight.numel()


def one_memory(embedding, head):
    head.weight.data = embedding.weight.data
    return head.weight.numel()


def other_way(embedding, head):
    embedding.weight = head.weight
    return head.weight.numel()


def turned(embedding, head):
    head.weight = nn.Parameter(embedding.weight.T)
    return head.weight.numel()


def shared(blocks, kind, ffn=lambda blocks, i: blocks[0].ffn, pairs=lambda i, n: i - i % 2):
    if kind == "block_pairs":
        return nn.ModuleList(blocks[pairs(i, len(blocks))] for i in range(len(blocks)))
    given = list(blocks)
    ffns = [ffn(given, i) for i in range(len(given))]
    for block, one in zip(given, ffns):
        block.ffn = one
    return blocks


def whole_blocks(blocks, kind):
    return nn.ModuleList([blocks[0]] * len(blocks)) if kind == "ffn_all" else shared(blocks, kind)


def attention_too(blocks, kind):
    made = shared(blocks, kind)
    if kind == "ffn_all":
        for block in made:
            block.attention = made[0].attention
    return made


def copied_pairs(blocks, kind):
    if kind == "ffn_all":
        return shared(blocks, kind)
    return nn.ModuleList(copy.deepcopy(blocks[i - 1]) if i % 2 else blocks[i] for i in range(len(blocks)))


def ffns_of_pairs(blocks, kind):
    return shared(
        blocks, "ffn_all", lambda blocks, i: blocks[i - i % 2].ffn if kind == "block_pairs" else blocks[0].ffn
    )


def half(blocks, kind):
    return shared(blocks, kind) if kind == "ffn_all" else nn.ModuleList(blocks[i] for i in range(0, len(blocks), 2))


def gradient(x, w, outer=1.0, inner=1.0, mask=True, reads=torch.relu, back=lambda y, w: y @ w.T):
    before = x @ w
    y = before.relu() @ w
    through = back(y, w) * (before > 0) if mask else back(y, w)
    return outer * reads(before).T @ y + inner * x.T @ through


def weights(config, keys=2, ffn=3, width=None, once=True, layers=None, pairs=2, kv=None):
    layers = layers or [config.layer(i) for i in range(config.n_layers)]
    kept = [layer.n_kv_heads if kv is None else kv(layer) for layer in layers]
    head = width or config.head_dim
    attention = [config.d_model * head * (2 * layer.n_heads + keys * k) for layer, k in zip(layers, kept)]
    fed = [ffn * config.d_model * layer.d_ff for layer in layers]
    step = pairs if config.sharing == "block_pairs" else 1
    ffns = fed[:1] if config.sharing == "ffn_all" and once else fed[::step]
    return sum(attention[::step]) + sum(ffns), sum(attention) + sum(fed)


def all_as_one(config):
    held, used = weights(config)
    return (used // config.n_layers if config.sharing == "ffn_all" else held), used


def widths(
    d, n, head, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256, last=1, rounded=2, fit=divisible, of=None
):
    done = [i / (n - last) for i in range(n)]
    a, b = ([round(low + (high - low) * share, rounded) for share in done] for low, high in (alpha, beta))
    heads = tuple(int(fit(value * d, of or groups * head) // head) for value in a)
    return heads, tuple(int(fit(value * d, divisor)) for value in b)


def floor(value, by):
    return int(value) // by * by


def with_widths(change):
    """`widths` with arguments that `change` makes of alpha, beta and divisor."""

    def wrong(d, n, head, groups, alpha=(0.5, 1.0), beta=(0.5, 4.0), divisor=256):
        return widths(d, n, head, groups, *change(alpha, beta, divisor))

    return wrong


def series(x, a, b, one=lambda x, scale, shift: scale * F.silu(x + shift)):
    return sum(one(x, *pair) for pair in zip(a, b))


WRONG = {
    "06/tie": [
        (copied, "holds a copy"),
        (copied_in_place, "holds a copy"),
        (one_memory, "two parameters on one memory"),
        (other_way, "embedding's values changed"),
        (turned, "no turning needed"),
        (lambda e, h: tied(e, h, lambda w: 2 * w.numel()), "one of them stays"),
        (lambda e, h: tied(e, h, lambda w: w.shape[0]), "number of rows"),
        (lambda e, h: tied(e, h, lambda w: w.shape[1]), "that is the width"),
        (lambda e, h: tied(e, h, lambda w: 4 * w.numel()), "those are bytes"),
        (lambda e, h: tied(e, h, lambda w: 0), "what is left"),
        (lambda e, h: e.weight.numel(), "not the embedding's"),
        (lambda e, h: setattr(h, "weight", e.weight), "return"),
    ],
    "06/share": [
        (lambda b, k: shared(b, k, pairs=lambda i, n: i % (n // 2)), "repeats the whole stack"),
        (lambda b, k: shared(b, k, pairs=lambda i, n: min(i, n - 1 - i)), "goes back through the stack"),
        (lambda b, k: shared(b, k, pairs=lambda i, n: i // 2), "stays in its place"),
        (lambda b, k: shared(b, k, pairs=lambda i, n: i | 1), "the first serves both"),
        (lambda b, k: shared(b, k, pairs=lambda i, n: 0), "only neighbours share"),
        (ffns_of_pairs, "blocks themselves are not shared"),
        (copied_pairs, "second of a pair is a copy"),
        (half, "3 blocks come back"),
        (lambda b, k: shared(b, k, lambda blocks, i: copy.deepcopy(blocks[0].ffn)), "FFNs are copies"),
        (lambda b, k: shared(b, k, lambda blocks, i: blocks[i - i % 2].ffn), "not only neighbours"),
        (lambda b, k: shared(b, k, lambda blocks, i: blocks[-1].ffn), "is the first block's"),
        (whole_blocks, "stay what they are"),
        (attention_too, "keeps its own attention"),
        (lambda b, k: list(shared(b, k)), "nn.ModuleList"),
        (lambda b, k: shared(b, k) and None, "return"),
    ],
    "06/shared_gradient": [
        (lambda x, w: gradient(x, w, inner=0), "second use alone"),
        (lambda x, w: gradient(x, w, outer=0), "first use alone"),
        (lambda x, w: gradient(x, w, 0.5, 0.5), "gradients add up"),
        (lambda x, w: gradient(x, w, mask=False), "above 0"),
        (lambda x, w: gradient(x, w, back=lambda y, w: y), "comes back through the second"),
        (lambda x, w: gradient(x, w, back=lambda y, w: y @ w), "matrix is turned"),
        (lambda x, w: gradient(x, w, reads=lambda before: before), "reads what the ReLU gives"),
        (lambda x, w: gradient(x, w).T, "gradient is turned"),
        (lambda x, w: gradient(x, w, 2, 2), "the 2 goes"),
    ],
    "06/block_weights": [
        (lambda c: weights(c, keys=1), "values have one too"),
        (lambda c: weights(c, kv=lambda layer: layer.n_heads), "as query heads"),
        (lambda c: weights(c, keys=0), "not counted"),
        (lambda c: weights(c, width=c.d_model // 6), "head_dim wide"),
        (lambda c: weights(c, ffn=2), "three matrices"),
        (lambda c: weights(c, ffn=0), "FFNs are missing"),
        (lambda c: weights(c, layers=[c.layer(0)]), "one layer; count all"),
        (lambda c: tuple(2 * number for number in weights(c)), "FLOPs"),
        (lambda c: weights(c, once=False), "held once, for all blocks"),
        (lambda c: (weights(c)[0],) * 2, "still passes through every FFN"),
        (all_as_one, "attention stays each block's own"),
        (lambda c: weights(c)[::-1], "wrong way round"),
        (lambda c: weights(c, pairs=1), "half of the blocks"),
        (lambda c: (weights(c)[0], weights(c)[c.sharing != "block_pairs"]), "through every block"),
        (lambda c: weights(c, layers=[c.layer(0)] * c.n_layers), "the first layer's for all"),
        (lambda c: weights(c, layers=[c.layer(c.n_layers - 1)] * c.n_layers), "the last layer's for all"),
    ],
    "06/layer_widths": [
        (lambda *a, **k: widths(*a, **k, last=0), "does not reach alpha[1]"),
        (lambda d, n, h, g, *a, **k: widths(d, n, h, g, *a, **k, of=h), "shares one key head"),
        (lambda d, n, h, g, *a, **k: (tuple(h * one for one in widths(d, n, h, g, *a, **k)[0]), 0), "those are widths"),
        (lambda *a, **k: widths(*a, **k, fit=floor), "rounded down"),
        (with_widths(lambda alpha, beta, divisor: (beta, alpha, divisor)), "alpha is for the heads"),
        (with_widths(lambda alpha, beta, divisor: (alpha[::-1], beta[::-1], divisor)), "heads shrink"),
        (with_widths(lambda alpha, beta, divisor: (alpha, beta[::-1], divisor)), "FFNs shrink"),
        (with_widths(lambda alpha, beta, divisor: (alpha, alpha, divisor)), "beta is for the FFN"),
        (with_widths(lambda alpha, beta, divisor: (alpha, beta, 1)), "not made divisible"),
        (with_widths(lambda alpha, beta, divisor: (alpha, beta, 128 if divisor == 256 else 1)), "theirs is `divisor`"),
        (lambda *a, **k: widths(*a, **k, rounded=9), "rounded to 2 digits"),
        (lambda d, n, h, g, *a, **k: widths(d, n, h, g), "alpha is not used"),
        (with_widths(lambda alpha, beta, divisor: (alpha, (0.5, 4.0), divisor)), "beta is not used"),
        (lambda *a, **k: widths(*a, **k)[0], "two tuples"),
    ],
    "06/series": [
        (lambda x, a, b: series(x, a, b, lambda x, s, t: s * F.silu(x)), "shifts are missing"),
        (lambda x, a, b: series(x, a, b, lambda x, s, t: F.silu(x + t)), "scales are missing"),
        (lambda x, a, b: series(x, a, b, lambda x, s, t: s * F.silu(x) + t), "shift stands outside"),
        (lambda x, a, b: series(x, a, b, lambda x, s, t: F.silu(s * x + t)), "scale stands inside"),
        (lambda x, a, b: series(x, a, b) / len(a), "that is the mean"),
        (lambda x, a, b: series(x, a[-1:], b[-1:]), "last term alone"),
        (lambda x, a, b: series(x, a[:1], b[:1]), "first term alone"),
        (lambda x, a, b: F.silu(a.sum() * x + b.sum()), "inside one activation"),
        (lambda x, a, b: series(x, a, b, lambda x, s, t: s * F.relu(x + t)), "not ReLU"),
        (lambda x, a, b: series(x, a, b, lambda x, s, t: s * F.gelu(x + t)), "not GELU"),
        (lambda x, a, b: series(x, a.tolist(), b.tolist()), "no gradient reaches"),
        (lambda x, a, b: a * F.silu(x[..., None] + b), "shape"),
    ],
}
