"""Attention against the formula written out with loops over heads, gradients included."""

import math

import pytest
import torch

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.model.attention import Attention, LatentAttention, Reading, attend, attention_mask, written_out
from slmkit.model.cache import KVCache
from slmkit.model.positions import alibi_slopes, rope_tables

BASE = dict(vocab_size=32, d_model=24, n_layers=2, n_heads=4, max_context=16)
MLA = dict(attention="mla", head_dim=10, kv_lora_rank=6, qk_rope_head_dim=4, v_head_dim=8)


def visible(i, j, start, window):
    """Whether the query at position i may see the key at j, when the row's real tokens begin at `start`."""
    return i == j or (start <= j <= i and (window is None or i - j < window))


def plain_attention(q, k, v, scale, window=None, slopes=None, padding=None, cap=None):
    """softmax(q·k scale - slope × distance) v, one head and one query at a time. q [B, H, T, D] -> [B, T, H D]."""
    batch, heads, time, _ = q.shape
    tokens, group = k.shape[2], heads // k.shape[1]
    rows = []
    for b in range(batch):
        for t in range(time):
            position = tokens - time + t
            for h in range(heads):
                seen = [j for j in range(tokens) if visible(position, j, padding[b] if padding else 0, window)]
                scores = torch.stack([(q[b, h, t] * k[b, h // group, j]).sum() * scale for j in seen])
                if cap is not None:
                    scores = cap * torch.tanh(scores / cap)
                if slopes is not None:
                    scores = scores - slopes[h] * torch.tensor([position - j for j in seen], dtype=scores.dtype)
                weights = scores.exp() / scores.exp().sum()
                rows.append(sum(w * v[b, h // group, j] for w, j in zip(weights, seen, strict=True)))
    return torch.stack(rows).view(batch, time, -1)


def qkv(time, tokens, heads=4, kv_heads=2, width=6, value=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(time * 100 + tokens)
    shapes = ((heads, time, width), (kv_heads, tokens, width), (kv_heads, tokens, value))
    return [torch.randn(2, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("time", "tokens"), [(7, 7), (1, 7), (3, 7), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"window": 3}, {"window": 1}, {"slopes": True}, {"padding": [0, 2]},
                                     {"window": 2, "slopes": True, "padding": [4, 1]}, {"cap": 0.5},
                                     {"cap": 0.5, "window": 3, "padding": [0, 2]}])  # fmt: skip
def test_attention_and_its_gradients_equal_the_formula(kv_heads, time, tokens, options):
    if options.get("padding") and tokens == 1:
        options = {**options, "padding": [0, 0]}
    slopes = alibi_slopes(4).double() if options.get("slopes") else None
    padding = options.get("padding")
    inputs = qkv(time, tokens, kv_heads=kv_heads)
    expected = plain_attention(*inputs, 0.37, options.get("window"), slopes, padding, options.get("cap"))
    padded = None if padding is None else torch.tensor(padding)
    mixed = attend(*inputs, 0.37, options.get("window"), slopes, padded, options.get("cap"))
    # The rows of padding mean nothing; compare the others.
    real = torch.tensor([[tokens - time + t >= (padding[b] if padding else 0) for t in range(time)] for b in range(2)])
    torch.testing.assert_close(mixed[real], expected[real])
    upstream = torch.randn(mixed[real].shape, dtype=torch.float64)
    gradients = torch.autograd.grad((mixed[real] * upstream).sum(), inputs)
    references = torch.autograd.grad((expected[real] * upstream).sum(), inputs)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_value_heads_may_have_another_width():
    inputs = qkv(5, 5, kv_heads=4, width=6, value=10)
    torch.testing.assert_close(attend(*inputs, 0.5), plain_attention(*inputs, 0.5))


def test_the_plain_case_needs_no_mask():
    like = torch.zeros(1)
    assert attention_mask(5, 5, None, None, None, like) is None
    assert attention_mask(1, 5, None, None, None, like) is None
    assert attention_mask(5, 5, 5, None, None, like) is None  # a window as wide as the text hides nothing
    assert attention_mask(5, 5, 4, None, None, like) is not None
    assert attention_mask(2, 5, None, None, None, like).tolist() == [[True] * 4 + [False], [True] * 5]


@pytest.mark.parametrize("options", [{}, {"window": 3}, {"padding": torch.tensor([0, 2])}, {"slopes": alibi_slopes(4)}])
@pytest.mark.parametrize("time", [7, 2, 1])
def test_the_formula_for_compilers_is_the_same(time, options):
    q, k, v = qkv(time, 7, dtype=torch.float32)
    mask = attention_mask(time, 7, options.get("window"), options.get("slopes"), options.get("padding"), q)
    mixed = written_out(q, k, v, 0.4, mask).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mixed, attend(q, k, v, 0.4, **options))


def test_bfloat16_is_computed_in_fp32_and_rounded_once():
    inputs = [x.detach() for x in qkv(6, 6, dtype=torch.bfloat16)]
    exact = plain_attention(*(x.double() for x in inputs), 0.4)
    mixed = attend(*inputs, 0.4)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.double(), exact, rtol=2**-8, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):  # a training run's setting must not lower it either
        assert torch.equal(attend(*inputs, 0.4), mixed)


def module_and_input(kind, **options):
    torch.manual_seed(0)
    config = ModelConfig(**BASE | options)
    module = kind(config, 1).double()
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.4)
    return config, module, torch.randn(2, 6, 24, dtype=torch.float64)


def rotated(x, theta, start=0):
    """Pairs (j, j + half) of x [T, D] turned by t · theta^(-2j/D), one number at a time."""
    width, out = x.shape[-1], x.clone()
    for t in range(x.shape[0]):
        for j in range(width // 2):
            angle = (start + t) * theta ** (-2 * j / width)
            a, b = x[t, j], x[t, j + width // 2]
            out[t, j] = a * math.cos(angle) - b * math.sin(angle)
            out[t, j + width // 2] = b * math.cos(angle) + a * math.sin(angle)
    return out


def linear(layer, x):
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_the_whole_module_projects_rotates_mixes_and_projects(kv_heads):
    config, module, x = module_and_input(Attention, n_kv_heads=kv_heads, qkv_bias=True, out_bias=True, rope_theta=50.0,
                                         attention_scale=0.3)  # fmt: skip
    rope = tuple(table[:6].double() for table in rope_tables(config))
    q, k, v = (linear(layer, x).view(2, 6, -1, 6).transpose(1, 2) for layer in (module.q, module.k, module.v))
    q, k = (torch.stack([torch.stack([rotated(head, 50.0) for head in row]) for row in part]) for part in (q, k))
    expected = linear(module.out, plain_attention(q, k, v, 0.3))
    torch.testing.assert_close(module(x, Reading(rope, None, None), 1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("q_lora_rank", [None, 5])
def test_latent_attention_equals_its_equations(q_lora_rank):
    """DeepSeek-V2, equations 9 to 19: what is rebuilt from the latent first, what rotates last."""
    config, module, x = module_and_input(
        LatentAttention, **MLA, q_lora_rank=q_lora_rank, qkv_bias=True, rope_theta=50.0
    )
    rope = tuple(table[:6].double() for table in rope_tables(config))

    def rms(norm, y):
        return y / (y.square().mean(-1, keepdim=True) + config.norm_eps).sqrt() * norm.weight

    q = linear(module.q, x if q_lora_rank is None else rms(module.q_norm, linear(module.q_down, x))).view(2, 6, 4, 10)
    down = linear(module.kv_down, x)
    latent, k_rope = rms(module.kv_norm, down[..., :6]), down[..., 6:]
    up = linear(module.kv_up, latent).view(2, 6, 4, 6 + 8)
    heads_q, heads_k = [], []
    for h in range(4):
        turned_q = torch.stack([rotated(row, 50.0) for row in q[:, :, h, 6:]])
        turned_k = torch.stack([rotated(row, 50.0) for row in k_rope])
        heads_q.append(torch.cat((q[:, :, h, :6], turned_q), dim=-1))
        heads_k.append(torch.cat((up[:, :, h, :6], turned_k), dim=-1))
    mixed = plain_attention(torch.stack(heads_q, 1), torch.stack(heads_k, 1), up[..., 6:].transpose(1, 2), 10**-0.5)
    expected = linear(module.out, mixed)
    torch.testing.assert_close(module(x, Reading(rope, None, None), 1), expected, rtol=1e-6, atol=1e-6)


CACHED = {
    "MHA": {}, "GQA": {"n_kv_heads": 2}, "MQA": {"n_kv_heads": 1}, "MLA": MLA, "MLA without positions":
    MLA | {"positions": "none"}, "window": {"window": (3, None)}, "ALiBi": {"positions": "alibi"},
    "learned": {"positions": "learned"}, "partial": {"rope_fraction": 2 / 3}, "none": {"positions": "none"},
    "shared blocks": {"sharing": "block_pairs"}, "shared FFN": {"sharing": "ffn_all"},
    "parallel": {"block": "parallel"},
    "yarn": {"rope_scaling": RopeScaling("yarn", 2.0, 8)}, "layer-wise": {"n_heads": (2, 4), "head_dim": 6},
    "MLA window": MLA | {"window": 3}, "capped": {"score_cap": 2.0, "logit_cap": 3.0},
    "MLA capped": MLA | {"score_cap": 2.0}, "capped ALiBi": {"score_cap": 2.0, "positions": "alibi"},
    "norms on heads": {"qk_norm": "head"}, "norms on rotated heads": {"qk_norm": "head_rotated"},
    "plain norms on heads": {"qk_norm": "head_plain", "n_kv_heads": 2},
    "full norms": {"qk_norm": "full", "n_kv_heads": 2, "n_heads": (2, 4), "head_dim": 6},
    "Gemma-3": {"norm_placement": "both", "rope_theta": (100.0, 1e4), "window": (3, None), "qk_norm": "head",
                "rope_scaling": (None, RopeScaling("linear", 2.0)), "norm_unit_offset": True},
    "no positions in one layer": {"rope_theta": (100.0, None)}, "scaled": {"residual_scale": 0.3, "logit_scale": 0.5},
    "OPT-350M": {"positions": "learned", "position_offset": 2, "embedding_width": 10,
                 "norm_placement": "after_residual", "norm": "layernorm"},
    "norm on the embedding": {"embedding_norm": True}, "OLMo-2": {"norm_placement": "post", "qk_norm": "full"},
    "longrope": {"rope_scaling": RopeScaling("longrope", 2.0, 8, short_factors=(1.0, 1.1, 1.2),
                                             long_factors=(1.0, 2.0, 3.0))},
}  # fmt: skip


@pytest.mark.parametrize("padding", [None, [0, 3]])
@pytest.mark.parametrize("name", CACHED)
def test_reading_piece_by_piece_equals_reading_at_once(name, padding):
    torch.manual_seed(1)
    model = Decoder(ModelConfig(**BASE | CACHED[name])).double()
    ids = torch.randint(0, 32, (2, 11))
    padding = None if padding is None else torch.tensor(padding)
    with torch.no_grad():
        whole = model(ids, padding=padding)
        cache, pieces = KVCache(model.config, 2, 11, dtype=torch.float64), []
        for start, end in ((0, 4), (4, 5), (5, 8), (8, 9), (9, 11)):
            pieces.append(model(ids[:, start:end], cache, padding))
            assert cache.length == end
    pieces, real = torch.cat(pieces, dim=1), torch.ones(2, 11, dtype=torch.bool)
    if padding is not None:
        real = torch.arange(11) >= padding[:, None]
    torch.testing.assert_close(pieces[real], whole[real], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CACHED)
def test_a_row_padded_at_the_left_reads_like_the_row_alone(name):
    torch.manual_seed(2)
    model = Decoder(ModelConfig(**BASE | CACHED[name])).double()
    row = torch.randint(0, 32, (1, 6))
    padded = torch.cat((torch.full((1, 4), 9), row), dim=1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded, padding=torch.tensor([4]))[:, 4:], model(row), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("places", [[], [0, 1, 2], [1], [0, 1, 3, 4], [2, 4]])
def test_a_cache_keeps_what_it_is_told_to(places):
    torch.manual_seed(3)
    cache = KVCache(ModelConfig(**BASE), 2, 5)
    cache.advance(5)
    for store in (store for pair in cache.layers for store in pair):
        store.normal_()
    before = [[store.clone() for store in pair] for pair in cache.layers]
    cache.keep(torch.tensor(places, dtype=torch.long))
    assert cache.length == len(places)
    for stores, olds in zip(cache.layers, before, strict=True):
        for store, old in zip(stores, olds, strict=True):
            assert torch.equal(store[:, :, : len(places)], old[:, :, places])


def test_a_full_cache_says_so():
    config = ModelConfig(**BASE)
    with pytest.raises(ValueError, match="a cache for 17 tokens is longer than the model's max_context of 16"):
        KVCache(config, 1, 17)
    model, cache = Decoder(config), KVCache(config, 1, 4)
    with pytest.raises(ValueError, match="the cache holds 4 tokens and 5 are needed"):
        model(torch.zeros(1, 5, dtype=torch.long), cache)
    with pytest.raises(ValueError, match="the cache is for a batch of 1, not 2"):
        model(torch.zeros(2, 3, dtype=torch.long), cache)
