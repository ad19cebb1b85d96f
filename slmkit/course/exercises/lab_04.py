"""Checkers of lab 04, attention and the KV cache."""

import math

import torch

from slmkit.config import ModelConfig
from slmkit.course.checking import Wrong, call, compare, exercise


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@exercise("04/grouped_attention")
def grouped_attention(answer):
    q, k, v = _draw(2, 6, 3, 4) * 2, _draw(2, 2, 5, 4), _draw(2, 2, 5, 4).roll(1, 2)

    def mixed(spread=lambda x: x.repeat_interleave(3, 1), scale=0.5, offset=2, values=v):
        visible = torch.ones(3, 5, dtype=torch.bool).tril(offset)
        scores = (q @ spread(k).transpose(-1, -2) * scale).masked_fill(~visible, -math.inf)
        return scores.softmax(-1) @ spread(values)

    compare(call(answer, q, k, v), mixed(), "6 query heads on 2 key/value heads, 3 queries at the end of 5 tokens", {
        "the heads are dealt out in turn; neighbours share a key/value head, so heads 0, 1, 2 read head 0":
            mixed(lambda x: x.repeat(1, 3, 1, 1)),
        "all query heads read the first key/value head; each group has its own":
            mixed(lambda x: x[:, :1].expand(-1, 6, -1, -1)),
        "the mask is aligned to the first key; the queries are the last tokens, so query i sees key i + S - T too":
            mixed(offset=0),
        "the mask is missing: the first queries see the tokens after them": mixed(offset=5),
        "the mask lets each query see one key too few: it does not see itself": mixed(offset=1),
        "the scale is missing: divide the products by √d": mixed(scale=1.0),
        "you divided by d; the scale is √d": mixed(scale=0.25),
        "the mean is taken over k; multiply the weights by v": mixed(values=k),
    })  # fmt: skip
    full = _draw(1, 2, 4, 4)
    right = torch.nn.functional.scaled_dot_product_attention(full, full + 1, full * 2, is_causal=True)
    compare(call(answer, full, full + 1, full * 2), right, "plain multi-head attention, as many keys as queries")
    return "one function for MHA, GQA and MQA"


@exercise("04/write")
def write(answer):
    store, new = torch.zeros(2, 3, 8, 4), _draw(2, 3, 2, 4)
    store[:, :, :3] = before = _draw(2, 3, 3, 4)
    store[:, :, 3:] = 7.0  # what an earlier text left there
    stored = store.clone()
    got = call(answer, store, 3, new)
    right = torch.cat((before, new), 2)
    over = torch.cat((new, stored[:, :, 2:5]), 2)
    stored[:, :, 3:5] = new
    compare(got, right, "what is read after 3 kept tokens and 2 new", {
        "the whole store comes back; slice it to the tokens so far": stored,
        "only the new tokens come back; attention reads all so far": new,
        "the new tokens are missing at the end: the slice ends at length + T": before,
        "the new tokens overwrote the first ones: write them behind `length`": over,
    })  # fmt: skip
    if not torch.equal(store, stored):
        raise Wrong("store itself is not as it should be; write into it in place, and only behind `length`")
    if got.untyped_storage().data_ptr() != store.untyped_storage().data_ptr():
        raise Wrong("a copy comes back; return a slice of store, which is a view")


@exercise("04/cache_bytes")
def cache_bytes(answer):
    plain = ModelConfig(vocab_size=9, d_model=60, n_layers=3, n_heads=6, n_kv_heads=2, head_dim=14)
    right = 4 * 3 * 2 * 2 * 14 * 5
    compare(call(answer, plain, 5, 4), right, "grouped attention, 3 layers, 5 tokens, 4 bytes a number", {
        "keys and values are two tensors: twice as much": right // 2,
        "that is one layer; every layer has its cache": right // 3,
        "those are numbers; each has bytes_per_number bytes": right // 4,
        "queries are not kept: count n_kv_heads, not n_heads": right * 3,
        "a head is head_dim wide, which need not be d_model / n_heads": right * 10 // 14,
        "the cache is as wide as the key/value heads, not as the model": right * 60 // 28,
        "that is one token": right // 5,
    })  # fmt: skip
    compare(call(answer, plain, 5), right // 2, "the same with 2 bytes a number, the default")
    latent = ModelConfig(vocab_size=9, d_model=60, n_layers=3, n_heads=6, head_dim=14, attention="mla",
                         kv_lora_rank=20, qk_rope_head_dim=4)  # fmt: skip
    right = 4 * 3 * 24 * 5
    compare(call(answer, latent, 5, 4), right, "latent attention, 3 layers, 5 tokens, 4 bytes a number", {
        "that is what full attention would keep; here it is a latent and a rotated key part": 4 * 3 * 2 * 6 * 14 * 5,
        "the rotated key part is kept too": 4 * 3 * 20 * 5,
        "the latent is one vector; keys and values are both rebuilt from it": 2 * right,
        "the rotated key part is one for keys only, not for values too": 4 * 3 * 28 * 5,
        "all heads share the rotated key part: it is kept once": 4 * 3 * (20 + 6 * 4) * 5,
        "all heads share the latent: it is kept once": 6 * right,
    })  # fmt: skip


def _latent(heads=3, tokens=5, plain=4, turning=2, rank=8, width=7):
    q_plain, q_rope = _draw(2, heads, 1, plain), _draw(2, heads, 1, turning)
    up = _draw(heads, plain, rank), _draw(heads, width, rank)
    return q_plain, q_rope, _draw(2, tokens, rank), _draw(2, tokens, turning), *up


def _attended(q_plain, q_rope, latent, k_rope, up_k, up_v, scale=6**-0.5, rope=1.0, axis=-1):
    k, v = torch.einsum("bsc,hpc->bhsp", latent, up_k), torch.einsum("bsc,hdc->bhsd", latent, up_v)
    scores = q_plain @ k.transpose(-1, -2) + rope * q_rope @ k_rope[:, None].transpose(-1, -2)
    return (scores * scale).softmax(axis) @ v


LATENT_MISTAKES = {
    "the rotated parts are missing from the scores": dict(rope=0.0),
    "the scale is missing: divide the scores by √(p + r)": dict(scale=1.0),
    "you divided by √p; a query is p + r wide": dict(scale=4**-0.5),
    "you divided by √c; a query is p + r wide, however wide the latent is": dict(scale=8**-0.5),
    "you divided by √r; a query is p + r wide": dict(scale=2**-0.5),
    "the softmax runs over the heads or the queries; it belongs over the tokens": dict(axis=1),
}


def _check_latent(answer):
    given = _latent()
    compare(call(answer, *given), _attended(*given), "one new token, 3 heads, 5 tokens kept",
            {message: _attended(*given, **changed) for message, changed in LATENT_MISTAKES.items()}
            | {"the values are rebuilt from the first head's matrix; each head has its own":
                   _attended(*given[:5], given[5][:1].expand_as(given[5])),
               "the keys are rebuilt from the first head's matrix; each head has its own":
                   _attended(*given[:4], given[4][:1].expand_as(given[4]), given[5])})  # fmt: skip


@exercise("04/rebuilt")
def rebuilt(answer):
    _check_latent(answer)


@exercise("04/absorbed")
def absorbed(answer):
    _check_latent(answer)
    # The lesson is what is not computed: with S tokens kept, nothing may be as large as their keys or values.
    given, largest = _latent(heads=8, tokens=40, plain=16, turning=2, rank=3, width=16), 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        call(answer, *given)
    if largest >= 2 * 8 * 40 * 16:
        raise Wrong("right, but keys or values of all tokens are still rebuilt; turn the query and the mean instead")
    return "nothing was rebuilt"


@exercise("04/merged_heads")
def merged_heads(answer):
    weight, heads, width = _draw(24, 5), 6, 4
    by_head = weight.view(heads, width, 5)

    def pooled(change=lambda x: x.mean(1)):
        return change(by_head.view(2, 3, width, 5)).flatten(0, 1)

    compare(call(answer, weight, 2, width), pooled(), "6 heads merged into 2", {
        "the heads of a group are neighbours; you took every second one":
            by_head.view(3, 2, width, 5).mean(0).flatten(0, 1),
        "that is the sum; take the mean": pooled(lambda x: x.sum(1)),
        "only the first head of each group is kept; take the mean": pooled(lambda x: x[:, 0]),
        "the mean runs over the rows inside heads; row i of a group is the mean of the heads' rows i":
            weight.view(8, 3, 5).mean(1),
        "all heads are merged into one and repeated; merge each group on its own":
            by_head.mean(0).repeat(2, 1),
    })  # fmt: skip
