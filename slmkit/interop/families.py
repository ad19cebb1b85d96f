"""What transformers calls our options, family by family: names, what a family holds fixed, how it packs matrices."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from slmkit.config import ModelConfig, RopeScaling
from slmkit.interop.names import GPT2_NAMES, LLAMA_NAMES, NEOX_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# -- names of options: as plain values on both sides

COMMON = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads", "max_context": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
}  # fmt: skip
ROTARY_RMS = COMMON | {
    "n_kv_heads": "num_key_value_heads", "head_dim": "head_dim", "d_ff": "intermediate_size",
    "activation": "hidden_act", "norm_eps": "rms_norm_eps",
}  # fmt: skip
ATTENTION_BIAS = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}  # one switch for all four matrices

ACTIVATIONS = {  # theirs to ours; of several names for one function, the first is written
    "relu": "relu", "gelu": "gelu", "gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh", "silu": "silu", "swish": "silu",
}  # fmt: skip

# What each kind of rotary scaling reads beside its factor.
SCALING = {
    "linear": {},
    "llama3": {"original_context": "original_max_position_embeddings", "low_freq_factor": "low_freq_factor",
               "high_freq_factor": "high_freq_factor"},
    "yarn": {"original_context": "original_max_position_embeddings", "beta_fast": "beta_fast", "beta_slow": "beta_slow",
             "attention_factor": "attention_factor"},
}  # fmt: skip


def _read_rope(theirs) -> dict:
    rope = {name: value for name, value in theirs.rope_parameters.items() if value is not None}
    kind, fraction = rope.get("rope_type", "default"), rope.get("partial_rotary_factor", 1.0)
    if fraction != 1 and theirs.model_type != "gpt_neox":
        raise ValueError(f"partial_rotary_factor is {fraction}; of these families only GPT-NeoX turns part of a head")
    for name, usual in (("mscale", None), ("mscale_all_dim", None), ("truncate", True)):
        if rope.get(name, usual) != usual:
            raise ValueError(f"rope_parameters has {name} = {rope[name]}, which a Decoder's yarn does not know")
    options = dict(rope_theta=rope["rope_theta"], rope_fraction=fraction)
    if kind == "default":
        return options
    settings = {ours: rope[name] for ours, name in SCALING.get(kind, {}).items() if name in rope}
    return options | dict(rope_scaling=RopeScaling(kind, rope.get("factor"), **settings))


def _write_rope(ours: ModelConfig) -> dict:
    scaling = ours.rope_scaling
    rope = {"rope_type": "default", "rope_theta": ours.rope_theta}
    if scaling:
        settings = {theirs: getattr(scaling, name) for name, theirs in SCALING[scaling.kind].items()}
        rope |= {"rope_type": scaling.kind, "factor": scaling.factor, **settings}
    return {"rope_parameters": rope}


def _read_gpt2(theirs) -> dict:
    if theirs.add_cross_attention:
        raise ValueError("add_cross_attention is True; a Decoder has no encoder to look at")
    scale = (theirs.n_embd // theirs.n_head) ** -0.5 if theirs.scale_attn_weights else 1.0
    if theirs.scale_attn_by_inverse_layer_idx:
        scale = tuple(scale / (i + 1) for i in range(theirs.n_layer))
    return dict(attention_scale=scale, d_ff=theirs.n_inner or 4 * theirs.n_embd)


def _write_gpt2(ours: ModelConfig) -> dict:
    scales = [ours.layer(i).attention_scale for i in range(ours.n_layers)]
    return dict(scale_attn_weights=scales[0] != 1, scale_attn_by_inverse_layer_idx=scales[0] != scales[-1],
                n_inner=ours.layer(0).d_ff, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip


def _read_neox(theirs) -> dict:
    return dict(block="parallel" if theirs.use_parallel_residual else "sequential", **_read_rope(theirs))


def _write_neox(ours: ModelConfig) -> dict:
    rope = _write_rope(ours)["rope_parameters"] | {"partial_rotary_factor": ours.rope_fraction}
    return dict(use_parallel_residual=ours.block != "sequential", rope_parameters=rope)


def _read_qwen2(theirs) -> dict:
    windows = tuple(theirs.sliding_window if kind == "sliding_attention" else None for kind in theirs.layer_types)
    return dict(window=windows, **_read_rope(theirs))


def _write_qwen2(ours: ModelConfig) -> dict:
    windows = [ours.layer(i).window for i in range(ours.n_layers)]
    return dict(use_sliding_window=any(windows), sliding_window=next(filter(None, windows), None),
                layer_types=["sliding_attention" if window else "full_attention" for window in windows],
                **_write_rope(ours))  # fmt: skip


def _read_gemma(theirs) -> dict:
    if theirs.use_bidirectional_attention:
        raise ValueError("use_bidirectional_attention is True; a Decoder is causal, it only looks back")
    return dict(embedding_scale=theirs.hidden_size**0.5, **_read_rope(theirs))


class Family(NamedTuple):
    """How one of transformers' families spells a decoder."""

    names: dict[str, str]
    options: dict[str, str]
    fixed: dict[str, object]  # options of ours that the family always has at these values
    read: Callable[["PreTrainedConfig"], dict]
    write: Callable[[ModelConfig], dict]
    # How one matrix holds q, k and v: "stacked" (all of q, then all of k and v) or "by head" (q, k, v of head 0, …).
    packing: str | None = None
    transposed: bool = False  # matrices lie as [inputs, outputs] (GPT-2's Conv1D), not PyTorch's [outputs, inputs]


STANDARD = {"ffn": "standard", "norm": "layernorm", "ffn_bias": True}
GPT2_FIXED = STANDARD | {"positions": "learned", "qkv_bias": True, "out_bias": True}
LLAMA_OPTIONS = ROTARY_RMS | ATTENTION_BIAS | {"ffn_bias": "mlp_bias"}
GPT2_OPTIONS = COMMON | {"activation": "activation_function", "norm_eps": "layer_norm_epsilon"}
NEOX_OPTIONS = COMMON | ATTENTION_BIAS | {"d_ff": "intermediate_size", "activation": "hidden_act",
                                          "norm_eps": "layer_norm_eps"}  # fmt: skip
FAMILIES = {
    "llama": Family(LLAMA_NAMES, LLAMA_OPTIONS, {}, _read_rope, _write_rope),
    "gpt2": Family(GPT2_NAMES, GPT2_OPTIONS, GPT2_FIXED, _read_gpt2, _write_gpt2, "stacked", transposed=True),
    "gpt_neox": Family(NEOX_NAMES, NEOX_OPTIONS, STANDARD, _read_neox, _write_neox, "by head"),
    "qwen2": Family(LLAMA_NAMES, ROTARY_RMS, {"qkv_bias": True}, _read_qwen2, _write_qwen2),
    "gemma": Family(LLAMA_NAMES, ROTARY_RMS | ATTENTION_BIAS, {"norm_unit_offset": True}, _read_gemma, _write_rope),
}


def find_family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"the family {name!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
