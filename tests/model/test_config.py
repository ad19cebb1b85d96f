"""A configuration either builds a decoder or is refused with one line that says what to change."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slmkit import Decoder, ModelConfig, RopeScaling
from slmkit.config import (
    ACTIVATIONS,
    ATTENTIONS,
    BLOCKS,
    FFNS,
    NORM_PLACEMENTS,
    NORMS,
    POSITIONS,
    QK_NORMS,
    SHARINGS,
)
from slmkit.rope_scaling import ROPE_SCALINGS

BASE = dict(vocab_size=64, d_model=32, n_layers=2, n_heads=4)


def some(*values):
    return st.sampled_from(values)


def per_layer(one):
    return st.one_of(one, st.lists(one, min_size=1, max_size=4).map(tuple))


SIZE = st.one_of(st.integers(1, 40), some(8, 16, 32, -1, 0, None, True, 2.0, "8"))
NUMBER = st.one_of(st.floats(0.1, 4), some(0, -1.0, float("nan"), float("inf"), 1, "1", None))
PAIRS = some(None, None, (1.0, 2.0, 3.0, 4.0), [1.0, 1.5], (1.0, 0.0), 2.0)  # of factors, most of the wrong length
SCALING = st.builds(dict, kind=some(*ROPE_SCALINGS, "dynamic"), factor=some(1, 2.5, 0.5),
                    original_context=some(None, 8, 16, 0), low_freq_factor=some(1.0, 4.0),
                    attention_factor=some(None, 1.2, 0.0), short_factors=PAIRS, long_factors=PAIRS)  # fmt: skip
FIELDS = {
    "vocab_size": SIZE, "d_model": SIZE, "n_layers": st.one_of(st.integers(1, 4), some(0, None)),
    "n_heads": per_layer(st.one_of(st.integers(1, 6), some(0, None))), "n_kv_heads": per_layer(st.integers(0, 4)),
    "head_dim": SIZE, "d_ff": per_layer(SIZE), "attention": some(*ATTENTIONS, "linear"), "ffn": some(*FFNS, "moe"),
    "activation": some(*ACTIVATIONS, "tanh"), "norm": some(*NORMS, "batchnorm"), "positions": some(*POSITIONS, "sine"),
    "tied_embeddings": some(True, False, 1), "sharing": some(*SHARINGS, "all"), "block": some(*BLOCKS, None),
    "max_context": st.one_of(st.integers(8, 32), some(0)), "qkv_bias": st.booleans(), "out_bias": st.booleans(),
    "ffn_bias": st.booleans(), "norm_weight": st.booleans(), "norm_bias": some(True, False, None),
    "norm_unit_offset": st.booleans(), "norm_eps": NUMBER, "rope_theta": per_layer(st.one_of(NUMBER, some(1e4))),
    "rope_fraction": NUMBER, "rope_scaling": per_layer(st.one_of(st.none(), SCALING)),
    "norm_placement": some(*NORM_PLACEMENTS, "after"), "qk_norm": some(None, *QK_NORMS, True),
    "embedding_norm": some(True, False, None), "embedding_width": SIZE, "position_offset": some(0, 2, -1, None, True),
    "head_bias": st.booleans(), "residual_scale": NUMBER, "logit_scale": NUMBER, "score_cap": NUMBER,
    "logit_cap": NUMBER, "latent_norm_eps": NUMBER, "window": per_layer(some(1, 3, 8, None, 0)),
    "attention_scale": per_layer(NUMBER), "embedding_scale": NUMBER, "kv_lora_rank": SIZE, "q_lora_rank": SIZE,
    "qk_rope_head_dim": SIZE, "v_head_dim": SIZE,
}  # fmt: skip
MLA = {"attention": "mla", "head_dim": 12, "kv_lora_rank": 8, "qk_rope_head_dim": 4}


@st.composite
def dictionaries(draw):
    """A sound configuration with a few fields replaced by anything at all."""
    chosen = draw(st.lists(some(*FIELDS), max_size=5, unique=True))
    start = draw(some(BASE, BASE | MLA, BASE | {"n_layers": 4, "sharing": "block_pairs"}))
    return start | {name: draw(FIELDS[name]) for name in chosen}


@settings(max_examples=400)
@given(dictionaries())
@example(BASE | {"rope_scaling": {"kind": "yarn", "factor": 2.0, "original_context": 8}, "rope_theta": 1})
@example(BASE | {"rope_scaling": {"kind": "yarn", "factors": 2.0}})
@example(BASE | {"rope_scaling": [None, {"kind": "ntk", "factor": 2.0}], "rope_theta": [None, 100.0]})
@example(
    BASE
    | {
        "rope_scaling": {
            "kind": "longrope",
            "factor": 4.0,
            "original_context": 1,
            "short_factors": [1.0] * 4,
            "long_factors": [2.0] * 4,
        }
    }
)
@example(BASE | {"tied_embeddings": False, "head_bias": True, "embedding_width": 8, "logit_cap": 2.0})
@example(BASE | {"positions": "learned", "position_offset": 2, "norm_placement": "after_residual"})
@example(BASE | {"rope_theta": [None, None]})
@example(BASE | {"colour": "red"})
@example({"vocab_size": 8})
def test_any_dictionary_builds_a_model_or_is_refused_in_one_line(values):
    refusal, config = None, None
    try:
        config = ModelConfig.from_dict(values)
    except ValueError as error:
        refusal = str(error)
    if config is None:
        assert refusal
        assert "\n" not in refusal
        return
    assert ModelConfig.from_dict(config.to_dict()) == config
    with torch.device("meta"):
        model = Decoder(config)
        logits = model(torch.zeros(2, 5, dtype=torch.long))
    assert logits.shape == (2, 5, config.vocab_size)


def test_a_dictionary_is_ready_for_json():
    config = ModelConfig(**BASE | {"d_ff": (8, 16)}, rope_scaling=RopeScaling("linear", 2.0))
    assert config.to_dict()["d_ff"] == [8, 16]
    assert config.to_dict()["rope_scaling"]["kind"] == "linear"


def test_defaults():
    config = ModelConfig(**BASE)
    assert (config.head_dim, config.n_kv_heads, config.norm_bias, config.rope_dim) == (8, 4, False, 8)
    assert config.d_ff == 88  # 8/3 of 32 is 85.3, the next multiple of 8
    assert ModelConfig(**BASE, ffn="standard").d_ff == 128
    assert ModelConfig(**BASE, norm="layernorm").norm_bias is True
    assert ModelConfig(**BASE, norm="layernorm", norm_weight=False).norm_bias is False
    assert ModelConfig(**BASE, positions="alibi").rope_dim == 0
    assert ModelConfig(**BASE, rope_fraction=0.25).rope_dim == 2
    assert ModelConfig(**BASE | MLA).v_head_dim == 12
    assert ModelConfig(**BASE | MLA).rope_dim == 4


def test_one_layer_at_a_time():
    config = ModelConfig(**BASE | dict(n_heads=(2, 4)), head_dim=8, n_kv_heads=(1, 2), d_ff=(16, 24), window=(None, 4),
                         attention_scale=(0.5, 0.25))  # fmt: skip
    assert config.layer(0) == (2, 1, 16, None, 0.5)
    assert config.layer(1) == (4, 2, 24, 4, 0.25)
    assert ModelConfig(**BASE).layer(1).attention_scale == 8**-0.5
    assert config.unique_layers == (0, 1)
    two = ModelConfig(**BASE, rope_theta=(100.0, None), rope_scaling=(RopeScaling("linear", 2.0), None))
    assert two.rotation(0) == (100.0, RopeScaling("linear", 2.0))
    assert two.rotation(1) is None
    assert ModelConfig(**BASE).rotation(1) == (10000.0, None)
    assert ModelConfig(**BASE, positions="none").rotation(0) is None
    assert ModelConfig(**BASE | dict(n_layers=6), sharing="block_pairs").unique_layers == (0, 2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(n_heads=5), "n_heads = 5 does not divide d_model = 32; choose a divisor or give head_dim"),
        (dict(n_kv_heads=3), "n_kv_heads = 3 does not divide n_heads = 4"),
        (dict(n_heads=0), "n_heads is 0; it must be a whole number of at least 1"),
        (dict(d_ff=0), "d_ff is 0"),
        (dict(d_ff=(8, 8, 8)), "d_ff has 3 entries for 2 layers"),
        (dict(n_heads=(2, 4)), "head_dim must be given when n_heads differs"),
        (dict(norm="rms"), "norm is 'rms'; it must be one of layernorm, rmsnorm"),
        (dict(head_dim=7), "must be even"),
        (dict(rope_fraction=1.5), "rope_fraction is 1.5"),
        (dict(positions="alibi", rope_scaling=RopeScaling("linear", 2.0)), "rope_scaling stretches rotary positions"),
        (dict(norm_weight=False, norm_bias=True), "norm_bias needs norm_weight"),
        (dict(norm_weight=False, norm_unit_offset=True), "needs norm_weight"),
        (dict(sharing="ffn_all", d_ff=(8, 16)), "d_ff cannot differ"),
        (dict(n_layers=3, sharing="block_pairs"), "needs an even n_layers, not 3"),
        (dict(sharing="block_pairs", d_ff=(8, 16)), "layers 0 and 1 share a block"),
        (dict(kv_lora_rank=8), "kv_lora_rank belongs to latent attention"),
        (dict(attention="mla"), "needs kv_lora_rank and qk_rope_head_dim"),
        (MLA | dict(positions="alibi"), "takes positions 'rope' or 'none'"),
        (MLA | dict(qk_rope_head_dim=12), "must be even and below head_dim"),
        (MLA | dict(qk_rope_head_dim=3), "must be even and below head_dim"),
        (MLA | dict(n_kv_heads=2), "leave n_kv_heads out"),
        (MLA | dict(rope_fraction=0.5), "leave rope_fraction at 1"),
        (dict(tied_embeddings="no"), "tied_embeddings is 'no'; it must be True or False"),
        (dict(rope_theta=1), "rope_theta is 1; it must be a number above 1"),
        (dict(attention_scale=0.0), "attention_scale is 0.0; it must be a number above 0"),
        (dict(rope_scaling={"kind": "linear"}), "give a RopeScaling"),
        (dict(rope_scaling=(None, None, None)), "rope_scaling has 3 entries for 2 layers"),
        (dict(rope_theta=(1e4,)), "rope_theta has 1 entries for 2 layers"),
        (dict(rope_theta=(None, None)), "rope_theta is None for every layer; say positions = 'none' instead"),
        (dict(rope_theta=None), "rope_theta is None; it must be a number above 1"),
        (
            dict(rope_scaling=RopeScaling("longrope", 2.0, 8, short_factors=(1.0,), long_factors=(2.0,))),
            "rope_scaling has 1 factors for 4 rotating pairs",
        ),
        (dict(norm_placement="middle"), "norm_placement is 'middle'; it must be one of pre, post, both"),
        (dict(norm_placement="post", block="parallel"), "norm_placement must be 'pre', not 'post'"),
        (dict(qk_norm=True), "qk_norm is True; it must be one of None, head, head_plain, head_rotated, full"),
        (MLA | dict(qk_norm="head"), "leave qk_norm out"),
        (dict(head_bias=True), "set tied_embeddings = False"),
        (dict(embedding_width=0), "embedding_width is 0"),
        (dict(position_offset=2), "position_offset moves learned positions; positions is 'rope'"),
        (dict(position_offset=-1, positions="learned"), "position_offset is -1"),
        (dict(score_cap=0.0), "score_cap is 0.0; it must be a number above 0"),
        (dict(logit_cap=-1.0), "logit_cap is -1.0"),
        (dict(residual_scale=0.0), "residual_scale is 0.0"),
        (dict(latent_norm_eps=0.0), "latent_norm_eps is 0.0"),
    ],
)
def test_impossible_configurations_name_value_and_remedy(change, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared below)
        ModelConfig(**BASE | change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kind="dynamic", factor=2.0), "one of linear, ntk, llama3, yarn, longrope"),
        (dict(kind="longrope", factor=2.0, original_context=8), "needs short_factors"),
        (dict(kind="longrope", factor=2.0, original_context=8, short_factors=(1.0,)), "needs long_factors"),
        (dict(kind="linear", factor=2.0, long_factors=(1.0,)), "has no place for long_factors"),
        (
            dict(kind="longrope", factor=2.0, original_context=8, short_factors=2.0),
            "short_factors is 2.0; give a tuple",
        ),
        (dict(kind="longrope", factor=2.0, original_context=8, short_factors=(0.0,)), "short_factors is 0.0"),
        (dict(kind="linear", factor=0.5), "must be 1 or more"),
        (dict(kind="yarn", factor=2.0), "needs original_context"),
        (dict(kind="llama3", factor=2.0, original_context=8, low_freq_factor=4.0), "must be below high_freq_factor"),
        (dict(kind="yarn", factor=2.0, original_context=8, beta_slow=32.0), "must be below beta_fast"),
        (dict(kind="yarn", factor=2.0, original_context=8, attention_factor=0.0), "attention_factor is 0.0"),
    ],
)
def test_impossible_scalings(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        RopeScaling(**settings)
    assert message in str(caught.value)
