"""To and from transformers: Llama, GPT-2, GPT-NeoX (Pythia), Qwen2 and Gemma. One decoder, five ways to spell it.

A family is two tables (its names for our modules, its names for our options), what it holds fixed, and how it packs
its matrices. What a family cannot say is found by writing a configuration in its terms and reading it back.
Weights are copied bit for bit. Dropout is not carried over: a Decoder has none.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from slmkit.config import PER_LAYER, ModelConfig, RopeScaling
from slmkit.model.decoder import Decoder
from slmkit.model.storage import assemble, unique_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# -- names of modules; {i} is the layer, and rows that begin with a dot lie inside it

NAMES = """
ours                 llama, qwen2, gemma         gpt2                gpt_neox

embedding            model.embed_tokens          transformer.wte     gpt_neox.embed_in
position_embedding   -                           transformer.wpe     -
blocks.{i}           model.layers.{i}            transformer.h.{i}   gpt_neox.layers.{i}
.attention_norm      .input_layernorm            .ln_1               .input_layernorm
.attention.q         .self_attn.q_proj           -                   -
.attention.k         .self_attn.k_proj           -                   -
.attention.v         .self_attn.v_proj           -                   -
.attention.qkv       -                           .attn.c_attn        .attention.query_key_value
.attention.out       .self_attn.o_proj           .attn.c_proj        .attention.dense
.ffn_norm            .post_attention_layernorm   .ln_2               .post_attention_layernorm
.ffn.gate            .mlp.gate_proj              -                   -
.ffn.up              .mlp.up_proj                .mlp.c_fc           .mlp.dense_h_to_4h
.ffn.down            .mlp.down_proj              .mlp.c_proj         .mlp.dense_4h_to_h
norm                 model.norm                  transformer.ln_f    gpt_neox.final_layer_norm
head                 lm_head                     lm_head             lm_head
"""


def _names(column: int) -> dict[str, str]:
    """Our name of each module to the one in a column of NAMES, in full."""
    names, rows = {}, [re.split(r"\s{2,}", line) for line in NAMES.split("\n\n")[1].strip().splitlines()]
    for row in rows:
        ours, theirs = row[0], row[column]
        if ours == "blocks.{i}":
            layer = ours, theirs
        elif theirs != "-":
            inside = ours.startswith(".")
            names[layer[0] + ours if inside else ours] = layer[1] + theirs if inside else theirs
    return names


LLAMA_NAMES, GPT2_NAMES, NEOX_NAMES = _names(1), _names(2), _names(3)

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


def config_from_transformers(theirs: "PreTrainedConfig") -> ModelConfig:
    """The same architecture as a ModelConfig. Raises ValueError for a family or an option that a Decoder lacks."""
    family = _family(theirs.model_type)
    if getattr(theirs, "is_heterogeneous", False):
        raise ValueError("is_heterogeneous is set; only models with the same settings in all layers are converted")
    values = {ours: getattr(theirs, name, None) for ours, name in family.options.items()}
    if values["activation"] not in ACTIVATIONS:
        raise ValueError(f"the activation is {values['activation']!r}; a Decoder has {', '.join(ACTIVATIONS)}")
    values["activation"] = ACTIVATIONS[values["activation"]]
    return ModelConfig(**values | family.fixed | family.read(theirs))


def config_to_transformers(ours: ModelConfig, family: str | None = None) -> "PreTrainedConfig":
    """The same architecture in the terms of `family`, or of the first of FAMILIES that can express it.

    Raises ValueError naming an option that the family, or else each of the families, has no way to say.
    """
    lacking = {}
    for name in [family] if family else FAMILIES:
        theirs, lacking[name] = _written(ours, name)
        if not lacking[name]:
            return theirs
    nearest_first = sorted(lacking, key=lambda name: len(lacking[name]))
    raise ValueError("; ".join(f"{name} cannot express {lacking[name][0]}" for name in nearest_first))


def _written(ours: ModelConfig, name: str) -> tuple["PreTrainedConfig | None", list[str]]:
    """`ours` in the family's terms, and the options that do not come back when it is read again."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    family = _family(name)
    values = {theirs: getattr(ours, option) for option, theirs in family.options.items()}
    values = {theirs: value[0] if isinstance(value, tuple) else value for theirs, value in values.items()}
    activation = next(theirs for theirs, known in ACTIVATIONS.items() if known == ours.activation)
    values[family.options["activation"]] = activation
    values |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # a Decoder knows no tokens by name
    try:
        theirs = AutoConfig.for_model(name, **values | family.write(ours))
        said = _meaning(config_from_transformers(theirs))
    except (ValueError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        return None, [f"n_heads = {ours.n_heads} with d_model = {ours.d_model} ({reason})"]
    meant = _meaning(ours)
    return theirs, [f"{name} = {getattr(ours, name)!r}" for name in meant if meant[name] != said[name]]


def _meaning(config: ModelConfig) -> dict:
    """The options as far as they matter: resolved for each layer, without those that another option switches off."""
    meaning = {name: getattr(config, name) for name in config.__dataclass_fields__}
    for name in PER_LAYER:
        meaning[name] = tuple(getattr(config.layer(i), name) for i in range(config.n_layers))
    if config.positions != "rope":
        meaning |= dict.fromkeys(("rope_theta", "rope_fraction"))
    if scaling := config.rope_scaling:
        used = ("factor", *SCALING[scaling.kind])
        meaning["rope_scaling"] = (scaling.kind, *(getattr(scaling, name) for name in used))
    return meaning


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(f"the family {name!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def from_transformers(hf_model: "PreTrainedModel") -> Decoder:
    """A Decoder with a copy of the weights of `hf_model`, a …ForCausalLM of one of FAMILIES, in their type and device.

    The copy answers as `hf_model.eval()` does. Raises ValueError for what a Decoder cannot express.
    """
    config = config_from_transformers(hf_model.config)
    if hf_model.get_output_embeddings() is None:
        raise ValueError(f"a {type(hf_model).__name__} has no output head; convert the …ForCausalLM around it")
    tensors = {name: tensor.detach().clone() for name, tensor in hf_model.named_parameters()}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} is quantized ({tensor.dtype}); load the model with plain weights")
    model = assemble(config, tensors_from_transformers(tensors, config, hf_model.config.model_type))
    return model.to(hf_model.device)


def to_transformers(decoder: Decoder, family: str | None = None) -> "PreTrainedModel":
    """A transformers model with a copy of the weights, in evaluation mode; see `config_to_transformers`."""
    from transformers import AutoModelForCausalLM

    theirs = config_to_transformers(decoder.config, family)
    tensors = tensors_to_transformers(unique_tensors(decoder), decoder.config, theirs.model_type)
    weight = decoder.embedding.weight
    hf_model = AutoModelForCausalLM.from_config(theirs, dtype=weight.dtype).to(weight.device)
    if decoder.config.tied_embeddings:
        tensors["lm_head.weight"] = weight  # the same tensor there, under a second name
    hf_model.load_state_dict(tensors)
    return hf_model.eval()


def tensors_to_transformers(tensors: dict[str, Tensor], config: ModelConfig, family: str) -> dict[str, Tensor]:
    """Our named tensors (weights, or their gradients) under the names and in the layout of `family`."""
    spelling = _family(family)
    tensors, renamed = dict(tensors), {}
    if spelling.packing:
        for layer in range(config.n_layers):
            for kind in ("weight", "bias"):
                parts = [tensors.pop(f"blocks.{layer}.attention.{part}.{kind}", None) for part in "qkv"]
                if parts[0] is not None:
                    tensors[f"blocks.{layer}.attention.qkv.{kind}"] = _pack(parts, config, spelling.packing)
    for name, tensor in tensors.items():
        if spelling.transposed and re.search(r"(qkv|out|up|down)\.weight$", name):
            tensor = tensor.t().contiguous()
        renamed[_renamed(name, spelling.names)] = tensor
    return renamed


def tensors_from_transformers(tensors: dict[str, Tensor], config: ModelConfig, family: str) -> dict[str, Tensor]:
    """The reverse of `tensors_to_transformers`."""
    spelling, renamed = _family(family), {}
    back = {theirs: ours for ours, theirs in spelling.names.items()}
    for name, tensor in tensors.items():
        name = _renamed(name, back)
        if spelling.transposed and re.search(r"(qkv|out|up|down)\.weight$", name):
            tensor = tensor.t().contiguous()
        if ".qkv." in name:
            for part, piece in zip("qkv", _unpack(tensor, config, spelling.packing), strict=True):
                renamed[name.replace("qkv", part)] = piece
        else:
            renamed[name] = tensor
    return renamed


def _renamed(name: str, table: dict[str, str]) -> str:
    module, kind = name.rsplit(".", 1)
    layer = re.search(r"\.(\d+)\.", module)
    if layer is None:
        return f"{table[module]}.{kind}"
    return table[module.replace(layer[0], ".{i}.", 1)].replace("{i}", layer[1]) + f".{kind}"


def _pack(parts: list[Tensor], config: ModelConfig, packing: str) -> Tensor:
    """q, k and v, each [heads × head_dim, …], in one matrix [3 × heads × head_dim, …]."""
    if packing == "stacked":
        return torch.cat(parts)
    by_head = [part.unflatten(0, (-1, config.head_dim)) for part in parts]
    return torch.stack(by_head, dim=1).flatten(0, 2)  # [heads, 3, head_dim, …]


def _unpack(packed: Tensor, config: ModelConfig, packing: str) -> list[Tensor]:
    if packing == "stacked":
        return [part.clone() for part in packed.chunk(3)]
    return [part.flatten(0, 1) for part in packed.unflatten(0, (-1, 3, config.head_dim)).unbind(1)]
