"""transformers' families, each as tables: its names for our options, what it holds fixed, how it lays out matrices."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from slmkit.interop.layouts import Layout
from slmkit.interop.options import (
    ATTENTION_BIAS,
    COMMON,
    FFN,
    GROUPED,
    HEAD_DIM,
    LATENT,
    LAYERNORM_EPS,
    LLAMA,
    MLP_BIAS,
    RMS_EPS,
    Part,
)
from slmkit.interop.parts import (
    BLOOM,
    DENSE,
    EMBEDDING_TIMES_ROOT,
    EXAONE_WINDOWS,
    GPT2,
    GRANITE,
    LATENT_WIDTHS,
    LAYER_WINDOWS,
    LLAMA4,
    MINICPM,
    ONE_WINDOW,
    OPT,
    PHI,
    QUERY_SCALAR,
    SWITCHED_WINDOWS,
    parallel,
)
from slmkit.interop.rotary import (
    HUNYUAN_ROPE,
    PARTIAL_ROPE,
    PHI3_ROPE,
    ROPE,
    ROPE_BEFORE_NORM,
    ROPE_BY_LIST,
    ROPE_IN_WINDOWS,
    ROPE_ONLY_IN_WINDOWS,
    TWO_ROPES,
)

NOTHING = MappingProxyType({})


class Family(NamedTuple):
    """How one of transformers' families spells a decoder."""

    options: Mapping[str, str]  # ours to theirs, as plain values on both sides
    parts: Sequence[Part] = ()  # options that need more than a name
    fixed: Mapping[str, object] = NOTHING  # options of ours that the family always has at these values
    neutral: Mapping[str, object] = NOTHING  # fields of theirs that a Decoder knows at these values only
    layout: Layout = Layout()


RMS = LLAMA | ATTENTION_BIAS  # RMSNorm, grouped heads of a width of their own, one switch for attention's biases
LAYERNORM = {"norm": "layernorm"}
STANDARD = LAYERNORM | {"ffn": "standard"}
BIASED = {"qkv_bias": True, "out_bias": True, "ffn_bias": True}
GEMMA2 = RMS | {"activation": "hidden_activation", "logit_cap": "final_logit_softcapping"}
LATENT_FIXED = {"attention": "mla", "latent_norm_eps": 1e-6}
CAUSAL = {"use_bidirectional_attention": False}
INTERLEAVED = Layout(pairs="interleaved")

# The first family that can express a decoder is the one that it is written as.
FAMILIES = {
    "llama": Family(RMS | MLP_BIAS, [ROPE]),
    "gpt2": Family(
        COMMON | {"activation": "activation_function", "norm_eps": "layer_norm_epsilon"},
        [GPT2],
        STANDARD | BIASED | {"positions": "learned"},
        {"add_cross_attention": False},
        Layout(qkv="stacked", transposed=True),
    ),
    "gpt_neox": Family(
        COMMON | FFN | ATTENTION_BIAS | LAYERNORM_EPS,
        [PARTIAL_ROPE, parallel("parallel")],
        STANDARD | {"ffn_bias": True},
        {"is_decoder": False},
        Layout(qkv="by head"),
    ),
    "opt": Family(
        COMMON | {"d_ff": "ffn_dim", "activation": "activation_function"}
        | {"norm_weight": "layer_norm_elementwise_affine"}
        | dict.fromkeys(BIASED, "enable_bias"),
        [OPT],
        STANDARD | {"positions": "learned", "position_offset": 2, "norm_eps": 1e-5},
        {"_remove_final_layer_norm": False},
    ),
    "bloom": Family(
        {"vocab_size": "vocab_size", "d_model": "hidden_size", "n_layers": "n_layer", "n_heads": "n_head",
         "tied_embeddings": "tie_word_embeddings", "norm_eps": "layer_norm_epsilon"},
        [BLOOM],
        STANDARD | BIASED | {"positions": "alibi", "activation": "gelu_tanh", "embedding_norm": True},
        {"apply_residual_connection_post_layernorm": False, "slow_but_exact": False},
        Layout(qkv="by head"),
    ),
    "phi": Family(
        GROUPED | LAYERNORM_EPS,
        [PARTIAL_ROPE, PHI],
        STANDARD | BIASED | {"head_bias": True, "tied_embeddings": False, "block": "parallel_shared_norm"},
        {"tie_word_embeddings": False, "head_dim": None},
    ),
    "qwen2": Family(LLAMA, [ROPE, SWITCHED_WINDOWS], {"qkv_bias": True}),
    "gemma": Family(RMS, [ROPE, EMBEDDING_TIMES_ROOT], {"norm_unit_offset": True}, CAUSAL),
    "gemma2": Family(
        GEMMA2 | {"score_cap": "attn_logit_softcapping"},
        [ROPE, EMBEDDING_TIMES_ROOT, QUERY_SCALAR, LAYER_WINDOWS],
        {"norm_unit_offset": True, "norm_placement": "both"},
        CAUSAL,
    ),
    "mistral": Family(LLAMA, [ROPE, ONE_WINDOW]),
    "ministral": Family(LLAMA, [ROPE, LAYER_WINDOWS]),
    "phi3": Family(LLAMA, [PHI3_ROPE, ONE_WINDOW], layout=Layout(qkv="stacked", gate_up=True)),
    "stablelm": Family(
        GROUPED | LAYERNORM_EPS | {"qkv_bias": "use_qkv_bias"},
        [PARTIAL_ROPE, parallel("parallel_shared_norm")],
        LAYERNORM,
        {"qk_layernorm": False},
    ),
    "olmo": Family(
        GROUPED | HEAD_DIM | ATTENTION_BIAS,
        [ROPE],
        LAYERNORM | {"norm_weight": False, "norm_eps": 1e-5},
        {"clip_qkv": None},
    ),
    "qwen3": Family(RMS, [ROPE, SWITCHED_WINDOWS], {"qk_norm": "head"}),
    "smollm3": Family(RMS | MLP_BIAS, [ROPE_BY_LIST, SWITCHED_WINDOWS]),
    "olmo2": Family(RMS, [ROPE], {"norm_placement": "post", "qk_norm": "full"}),
    "olmo3": Family(RMS, [TWO_ROPES, LAYER_WINDOWS], {"norm_placement": "post", "qk_norm": "full"}),
    "granite": Family(
        RMS | MLP_BIAS | {"embedding_scale": "embedding_multiplier", "residual_scale": "residual_multiplier"},
        [ROPE, GRANITE],
    ),
    "cohere": Family(
        GROUPED | HEAD_DIM | ATTENTION_BIAS | LAYERNORM_EPS | {"logit_scale": "logit_scale"},
        [ROPE],
        LAYERNORM | {"norm_bias": False, "block": "parallel_shared_norm"},
        {"use_qk_norm": False},
        INTERLEAVED,
    ),
    "cohere2": Family(
        GROUPED | HEAD_DIM | ATTENTION_BIAS | LAYERNORM_EPS | {"logit_scale": "logit_scale"},
        [ROPE_ONLY_IN_WINDOWS, LAYER_WINDOWS],
        LAYERNORM | {"norm_bias": False, "block": "parallel_shared_norm"},
        layout=INTERLEAVED,
    ),
    "gemma3_text": Family(
        GEMMA2,
        [TWO_ROPES, EMBEDDING_TIMES_ROOT, QUERY_SCALAR, LAYER_WINDOWS],
        {"norm_unit_offset": True, "norm_placement": "both", "qk_norm": "head"},
        CAUSAL | {"attn_logit_softcapping": None},  # they declare it and do not compute it
    ),
    "exaone4": Family(LLAMA, [ROPE_IN_WINDOWS, EXAONE_WINDOWS], {"norm_placement": "post", "qk_norm": "head"}),
    "ernie4_5": Family(LLAMA | dict.fromkeys(BIASED, "use_bias"), [ROPE], layout=INTERLEAVED),
    "hunyuan_v1_dense": Family(RMS, [HUNYUAN_ROPE], {"qk_norm": "head_rotated"}),
    "llama4_text": Family(
        RMS | {"d_ff": "intermediate_size_mlp"},
        [ROPE_BEFORE_NORM, LLAMA4],
        layout=INTERLEAVED,
    ),
    "helium": Family(LLAMA | MLP_BIAS | {"qkv_bias": "attention_bias"}, [ROPE], layout=INTERLEAVED),
    "starcoder2": Family(
        GROUPED | HEAD_DIM | {"norm_eps": "norm_epsilon"} | dict.fromkeys(BIASED, "use_bias"),
        [ROPE, ONE_WINDOW],
        STANDARD,
    ),
    "nemotron": Family(
        GROUPED | HEAD_DIM | ATTENTION_BIAS | MLP_BIAS | {"norm_eps": "norm_eps"},
        [PARTIAL_ROPE],
        STANDARD | {"norm_unit_offset": True},
    ),
    "arcee": Family(RMS | MLP_BIAS, [ROPE], {"ffn": "standard"}),
    "nanochat": Family(
        RMS | {"logit_cap": "final_logit_softcapping"},
        [ROPE_BEFORE_NORM],
        {"ffn": "standard", "norm_weight": False, "qk_norm": "head_plain", "embedding_norm": True},
        layout=Layout(pairs="swapped"),
    ),
    "minicpm3": Family(
        GROUPED | RMS_EPS | ATTENTION_BIAS | MLP_BIAS | LATENT | {"embedding_scale": "scale_emb"},
        [ROPE, LATENT_WIDTHS, MINICPM],
        LATENT_FIXED,
    ),
    "youtu": Family(
        GROUPED | RMS_EPS | ATTENTION_BIAS | LATENT,
        [ROPE, LATENT_WIDTHS],
        LATENT_FIXED,
        {"rope_interleave": True},
        INTERLEAVED,
    ),
    "deepseek_v3": Family(
        GROUPED | RMS_EPS | ATTENTION_BIAS | LATENT,
        [ROPE, LATENT_WIDTHS, DENSE],
        LATENT_FIXED,
        {"rope_interleave": True},
        INTERLEAVED,
    ),
}  # fmt: skip


def find_family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"the family {name!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
