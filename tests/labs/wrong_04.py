"""Plausible wrong answers to lab 04's exercises: for each, what it gets told."""

import math

import torch
import torch.nn.functional as F


def grouped(q, k, v, spread=None, scale=None, offset=None):
    spread = spread or (lambda x: x.repeat_interleave(q.shape[1] // x.shape[1], 1))
    time, tokens = q.shape[2], k.shape[2]
    scores = q @ spread(k).transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    visible = torch.ones(time, tokens, dtype=torch.bool).tril(tokens - time if offset is None else offset)
    return scores.masked_fill(~visible, -math.inf).softmax(-1) @ spread(v)


def write_back(store, length, new, read=slice(None), at=None):
    at = length if at is None else at
    store[:, :, at : at + new.shape[2]] = new
    return store[:, :, read]


def fresh(store, length, new):
    return torch.cat((store[:, :, :length], new), 2)


def written_and_copied(store, length, new):
    return write_back(store, length, new, slice(0, length + new.shape[2])).clone()


def cleaned(store, length, new):
    store[:, :, length:] = 0
    return write_back(store, length, new, slice(0, length + new.shape[2]))


def size(config, tokens, width=4, full=None, latent=None):
    if config.attention == "mla":
        per_layer = config.kv_lora_rank + config.qk_rope_head_dim if latent is None else latent(config)
    else:
        per_layer = 2 * config.n_kv_heads * config.head_dim if full is None else full(config)
    return width * config.n_layers * per_layer * tokens


def latent(q_plain, q_rope, c, k_rope, up_k, up_v, scale=None, rope=1.0, axis=-1):
    k, v = torch.einsum("bsc,hpc->bhsp", c, up_k), torch.einsum("bsc,hdc->bhsd", c, up_v)
    scores = q_plain @ k.transpose(-1, -2) + rope * q_rope @ k_rope[:, None].transpose(-1, -2)
    return (scores * (scale or (q_plain.shape[-1] + q_rope.shape[-1]) ** -0.5)).softmax(axis) @ v


LATENT = [
    (lambda *a: latent(*a, rope=0.0), "rotated parts are missing"),
    (lambda *a: latent(*a, scale=1.0), "scale is missing"),
    (lambda *a: latent(*a, scale=a[0].shape[-1] ** -0.5), "divided by √p"),
    (lambda *a: latent(*a, scale=a[1].shape[-1] ** -0.5), "divided by √r"),
    (lambda *a: latent(*a, scale=a[2].shape[-1] ** -0.5), "divided by √c"),
    (lambda *a: latent(*a, axis=1), "over the tokens"),
    (lambda *a: latent(*a[:5], a[5][:1].expand_as(a[5])), "values are rebuilt from the first"),
    (lambda *a: latent(*a[:4], a[4][:1].expand_as(a[4]), a[5]), "keys are rebuilt from the first"),
    (lambda *a: latent(*a).flatten(1), "shape"),
]

WRONG = {
    "04/grouped_attention": [
        (lambda q, k, v: grouped(q, k, v, lambda x: x.repeat(1, q.shape[1] // x.shape[1], 1, 1)), "dealt out in turn"),
        (lambda q, k, v: grouped(q, k, v, lambda x: x[:, :1].expand(-1, q.shape[1], -1, -1)), "each group has its own"),
        (lambda q, k, v: grouped(q, k, v, offset=0), "aligned to the first key"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), "mask is missing"),
        (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), "aligned"),
        (lambda q, k, v: grouped(q, k, v, offset=k.shape[2] - q.shape[2] - 1), "one key too few"),
        (lambda q, k, v: grouped(q, k, v, scale=1.0), "scale is missing"),
        (lambda q, k, v: grouped(q, k, v, scale=1 / q.shape[-1]), "divided by d"),
        (lambda q, k, v: grouped(q, k, k), "multiply the weights by v"),
    ],
    "04/write": [
        (write_back, "slice it to the tokens so far"),
        (lambda s, n, new: write_back(s, n, new, slice(n, n + new.shape[2])), "only the new tokens"),
        (lambda s, n, new: write_back(s, n, new, slice(0, n)), "ends at length + T"),
        (lambda s, n, new: write_back(s, n, new, slice(0, n + new.shape[2]), at=0), "overwrote the first"),
        (fresh, "write into it in place"),
        (written_and_copied, "a copy comes back"),
        (cleaned, "only behind `length`"),
        (lambda s, n, new: None, "return"),
    ],
    "04/cache_bytes": [
        (lambda c, n, b=2: size(c, n, b, lambda c: c.n_kv_heads * c.head_dim), "two tensors"),
        (lambda c, n, b=2: size(c, n, b) // c.n_layers, "every layer"),
        (lambda c, n, b=2: size(c, n, 1), "those are numbers"),
        (lambda c, n, b=2: size(c, n, b, lambda c: 2 * c.n_heads * c.head_dim), "queries are not kept"),
        (lambda c, n, b=2: size(c, n, b, lambda c: 2 * c.n_kv_heads * c.d_model // c.n_heads), "head_dim wide"),
        (lambda c, n, b=2: size(c, n, b, lambda c: 2 * c.d_model), "not as the model"),
        (lambda c, n, b=2: size(c, 1, b), "one token"),
        (lambda c, n, b=4: size(c, n, b), "default"),
        (lambda c, n, b=2: size(c, n, b, latent=lambda c: 2 * c.n_heads * c.head_dim), "full attention would keep"),
        (lambda c, n, b=2: size(c, n, b, latent=lambda c: c.kv_lora_rank), "rotated key part is kept too"),
        (lambda c, n, b=2: size(c, n, b, latent=lambda c: 2 * (c.kv_lora_rank + c.qk_rope_head_dim)), "one vector"),
        (lambda c, n, b=2: size(c, n, b, latent=lambda c: c.kv_lora_rank + 2 * c.qk_rope_head_dim), "keys only"),
    ],
    "04/rebuilt": LATENT,
    "04/absorbed": [*LATENT, (latent, "still rebuilt")],
    "04/merged_heads": [
        (lambda w, k, d: w.view(-1, k, d, w.shape[1]).mean(0).flatten(0, 1), "neighbours"),
        (lambda w, k, d: w.view(k, -1, d, w.shape[1]).sum(1).flatten(0, 1), "the sum"),
        (lambda w, k, d: w.view(k, -1, d, w.shape[1])[:, 0].flatten(0, 1), "first head"),
        (lambda w, k, d: w.view(k * d, -1, w.shape[1]).mean(1), "inside heads"),
        (lambda w, k, d: w.view(-1, d, w.shape[1]).mean(0).repeat(k, 1), "merged into one"),
        (lambda w, k, d: w.view(k, -1, d, w.shape[1]).mean(1), "shape"),
    ],
}
