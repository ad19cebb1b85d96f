"""To and from GGUF, the file format of llama.cpp, which can compute what its own architectures compute and no more.

A kind is a row of tables, as a family is in families.py: what llama.cpp calls it, which options it can hold, how it
lays out matrices. Every other option must be at its default. What a kind cannot hold is refused by the option's name.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from slmkit.config import PER_LAYER, ModelConfig, RopeScaling
from slmkit.data.tokenizer import Tokenizer
from slmkit.interop.gguf_tokenizer import read_tokenizer, write_tokenizer
from slmkit.interop.layouts import Layout, pack, unpack
from slmkit.interop.names import rename
from slmkit.model.decoder import Decoder
from slmkit.model.positions import rope_tables
from slmkit.model.storage import assemble

# Our modules, as every kind calls them.
MODULES = {
    "embedding": "token_embd",
    "position_embedding": "position_embd",
    "blocks.{i}.attention_norm": "blk.{i}.attn_norm",
    "blocks.{i}.attention.q": "blk.{i}.attn_q",
    "blocks.{i}.attention.k": "blk.{i}.attn_k",
    "blocks.{i}.attention.v": "blk.{i}.attn_v",
    "blocks.{i}.attention.qkv": "blk.{i}.attn_qkv",
    "blocks.{i}.attention.out": "blk.{i}.attn_output",
    "blocks.{i}.ffn_norm": "blk.{i}.ffn_norm",
    "blocks.{i}.ffn.gate": "blk.{i}.ffn_gate",
    "blocks.{i}.ffn.up": "blk.{i}.ffn_up",
    "blocks.{i}.ffn.down": "blk.{i}.ffn_down",
    "norm": "output_norm",
    "head": "output",
}
# Those of an architecture's own fields that are read, or say once more what others say.
FIELDS = {"vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length",
          "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "use_parallel_residual",
          "rope.dimension_count", "rope.freq_base", "rope.scaling.attn_factor"}  # fmt: skip
FACTORS = "rope_freqs.weight"  # what each rotating pair's frequency is divided by


class Kind(NamedTuple):
    """One of llama.cpp's architectures."""

    architecture: str  # its name there
    held: Mapping[str, tuple]  # the values of our options that it has; () for every value
    layout: Layout = Layout()
    own_head: bool = False  # the file always has a head of its own, so a tied matrix is stored twice
    any_width: bool = False  # heads need not make up d_model together


LAYERNORM = {"norm": ("layernorm",), "norm_bias": (True,)}
STANDARD = LAYERNORM | {"ffn": ("standard",), "activation": ("gelu_tanh",), "qkv_bias": (True,), "out_bias": (True,),
                        "ffn_bias": (True,)}  # fmt: skip
TIED_OR_NOT, PARTIAL = {"tied_embeddings": ()}, {"rope_fraction": ()}
# Of every kind: a shared block is written once for each layer, and an offset from 1 is added up.
EVERY = {"sharing": (), "norm_unit_offset": (), "rope_theta": (), "max_context": (), "norm_eps": ()}

# The first kind that can hold a decoder is the one that it is written as.
KINDS = {
    "qwen2": Kind("qwen2", TIED_OR_NOT | {"qkv_bias": (True,)}),
    "llama": Kind(
        "llama",
        TIED_OR_NOT | {"qkv_bias": (), "out_bias": (), "ffn_bias": (), "rope_scaling": ()},
        Layout(pairs="interleaved"),
        any_width=True,
    ),
    "gemma": Kind("gemma", {"activation": ("gelu_tanh",), "embedding_scale": ()}, any_width=True),
    "gpt2": Kind("gpt2", STANDARD | TIED_OR_NOT | {"positions": ("learned",)}, Layout(qkv="stacked")),
    "gpt_neox": Kind(
        "gptneox",
        STANDARD | TIED_OR_NOT | PARTIAL
        | {"activation": ("gelu_tanh", "gelu"), "block": ("sequential", "parallel")},
        Layout(qkv="stacked"),
        own_head=True,
    ),
    "stablelm": Kind(
        "stablelm",
        LAYERNORM | TIED_OR_NOT | PARTIAL | {"qkv_bias": (), "block": ("sequential", "parallel_shared_norm")},
        own_head=True,
    ),
    "phi": Kind(
        "phi2",
        STANDARD | PARTIAL
        | {"tied_embeddings": (False,), "head_bias": (True,), "block": ("parallel_shared_norm",)},
    ),
}  # fmt: skip
SIZES = {"vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff", "head_dim"}


# -- what a kind can hold


def gguf_kind(config: ModelConfig, kind: str | None = None) -> str:
    """`kind`, or the first of KINDS that can hold `config`.

    Raises ValueError naming an option that the kind, or else the three nearest kinds, cannot hold.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"the kind {kind!r} is not one of {', '.join(KINDS)}")
    lacking = {}
    for name in [kind] if kind else KINDS:
        lacking[name] = _lacking(config, KINDS[name])
        if not lacking[name]:
            return name
    nearest = sorted(lacking, key=lambda name: len(lacking[name]))[:3]
    raise ValueError("; ".join(f"GGUF's {name} cannot hold {lacking[name][0]}" for name in nearest))


def _lacking(config: ModelConfig, kind: Kind) -> list[str]:
    """The options of `config` that the kind cannot hold, with their values and what it has instead."""
    lacking = [f"{name} = {getattr(config, name)!r} (it has one value for all layers)"
               for name in (*PER_LAYER, "rope_theta", "rope_scaling") if _differs(config, name)]  # fmt: skip
    held = {field.name: (field.default,) for field in fields(ModelConfig) if field.default is not MISSING}
    held |= {"norm_bias": (False,), "attention_scale": (), "window": ()} | EVERY | kind.held
    scaling = config.rotation(0) and config.rotation(0).scaling
    meant = {"rope_scaling": scaling, "rope_fraction": config.rope_fraction if config.positions == "rope" else 1.0}
    for name, choices in held.items():
        value = meant.get(name, getattr(config, name))
        if choices and name not in SIZES and value not in choices:
            lacking.append(f"{name} = {value!r} (it has {' or '.join(map(repr, choices))})")
    if config.layer(0).window is not None:
        lacking.append(f"window = {config.window!r} (it has None)")
    if config.layer(0).attention_scale != config.head_dim**-0.5:
        lacking.append(f"attention_scale = {config.attention_scale!r} (it has 1/√head_dim)")
    if "embedding_scale" in kind.held and config.embedding_scale != config.d_model**0.5:
        lacking.append(f"embedding_scale = {config.embedding_scale!r} (it has √d_model = {config.d_model**0.5})")
    if not kind.any_width and config.head_dim * config.layer(0).n_heads != config.d_model:
        lacking.append(f"head_dim = {config.head_dim} (it has d_model / n_heads)")
    return lacking


def _differs(config: ModelConfig, name: str) -> bool:
    """Whether it differs between layers."""
    value = getattr(config, name)
    if name in ("rope_theta", "rope_scaling"):
        return config.positions == "rope" and isinstance(value, tuple) and len(set(value)) > 1
    return len({getattr(config.layer(i), name) for i in range(config.n_layers)}) > 1


# -- writing


def to_gguf(decoder: Decoder, path: str | Path, tokenizer: Tokenizer | None = None, kind: str | None = None) -> Path:
    """Writes `decoder` in fp32, and its tokenizer if there is one, as a file for llama.cpp; see `gguf_kind`.

    llama.cpp computes GELU by its tanh form throughout, and from a table in half precision; a GPT-NeoX with the exact
    form is written with a warning. A tokenizer with fewer tokens than the model is filled up with unused ones.
    Raises ValueError for an option, a tokenizer or a weight that the file cannot hold.
    """
    import gguf

    config, path = decoder.config, Path(path)
    kind = gguf_kind(config, kind)
    if config.activation == "gelu":
        warnings.warn("activation = 'gelu': llama.cpp computes its tanh form, which differs by up to 0.0005 a neuron",
                      stacklevel=2)  # fmt: skip
    arrays = _arrays(decoder, KINDS[kind])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        writer = gguf.GGUFWriter(temporary, KINDS[kind].architecture)
        _write_options(writer, config)
        if tokenizer is None:
            writer.add_tokenizer_model("no_vocab")
        else:
            write_tokenizer(writer, tokenizer, config.vocab_size)
        for name, array in arrays.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _arrays(decoder: Decoder, kind: Kind) -> dict[str, np.ndarray]:
    config = decoder.config
    # With what is shared under each of its names, because the file has no way to say so.
    tensors = {name: tensor.detach().to("cpu", torch.float32)
               for name, tensor in decoder.named_parameters(remove_duplicate=False)}  # fmt: skip
    if config.norm_unit_offset:
        tensors = {name: 1 + tensor if name.endswith("norm.weight") else tensor for name, tensor in tensors.items()}
    if kind.own_head and config.tied_embeddings:
        tensors["head.weight"] = tensors["embedding.weight"]
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite; export a sound model")
    packed = pack(tensors, config, kind.layout)
    arrays = {rename(name, MODULES): np.ascontiguousarray(tensor.numpy()) for name, tensor in packed.items()}
    if config.rope_scaling and config.positions == "rope":
        arrays[FACTORS] = _factors(config)[0]
    return arrays


def _factors(config: ModelConfig) -> tuple[np.ndarray, float]:
    """By how much each pair's rotation is slowed down, and what the tables are multiplied by: any RopeScaling at all.

    Read off the tables: at position 1 the angle is the frequency.
    """
    cos, sin = (table[1, config.rope_dim // 2 :].double().numpy() for table in rope_tables(config))
    plain = config.rotation(0).theta ** (-np.arange(0, config.rope_dim, 2) / config.rope_dim)
    return (plain / np.arctan2(sin, cos)).astype(np.float32), float(np.hypot(cos, sin).mean())


def _write_options(writer, config: ModelConfig):
    """The fields of the header; llama.cpp reads those that the architecture has and leaves the others."""
    shape = config.layer(0)
    writer.add_file_type(0)  # all weights in fp32
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_context)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    (writer.add_layer_norm_rms_eps if config.norm == "rmsnorm" else writer.add_layer_norm_eps)(config.norm_eps)
    writer.add_parallel_residual(config.block != "sequential")
    if config.positions == "rope":
        writer.add_rope_dimension_count(config.rope_dim)
        writer.add_rope_freq_base(config.rotation(0).theta)
        if config.rope_scaling:
            writer.add_rope_scaling_attn_factors(_factors(config)[1])


# -- reading


def from_gguf(path: str | Path) -> tuple[Decoder, Tokenizer | None]:
    """A file of one of KINDS as a Decoder in fp32, quantized weights expanded, and its tokenizer if it has one.

    Raises FileNotFoundError, or ValueError for a file that is cut short or holds what is not read here, by its name.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except Exception as error:  # whatever numpy says where the bytes end too early
        raise ValueError(f"{path} is not a GGUF file, or is cut short ({error})") from None
    values = {name: field.contents() for name, field in reader.fields.items()}
    architecture = values.get("general.architecture")
    kind = next((kind for kind in KINDS.values() if kind.architecture == architecture), None)
    if kind is None:
        known = ", ".join(kind.architecture for kind in KINDS.values())
        raise ValueError(f"{path} has general.architecture = {architecture!r}; what is read here is {known}")
    for name in values:
        if name.startswith(f"{architecture}.") and name.removeprefix(f"{architecture}.") not in FIELDS:
            raise ValueError(f"{path} has {name} = {values[name]!r}, which is not read here")

    def field(key: str, default=None):
        return values.get(key.replace("{}", architecture), default)

    arrays = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    config = _read_config(field, arrays, kind)
    arrays.pop(FACTORS, None)
    if config.tied_embeddings:
        arrays.pop("output.weight", None)
    modules = {theirs: ours for ours, theirs in MODULES.items()}
    tensors = {rename(name, modules): torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    return assemble(config, unpack(tensors, config, kind.layout)), read_tokenizer(field)


def _read_config(field, arrays: dict[str, np.ndarray], kind: Kind) -> ModelConfig:
    values = {name: choices[0] for name, choices in kind.held.items() if choices}
    values |= {option: f"{place}.bias" in arrays for option, place in
               (("out_bias", "blk.0.attn_output"), ("ffn_bias", "blk.0.ffn_up"), ("head_bias", "output"))}  # fmt: skip
    values["qkv_bias"] = "blk.0.attn_q.bias" in arrays or "blk.0.attn_qkv.bias" in arrays
    if "block" in kind.held and field("{}.use_parallel_residual", "blk.0.ffn_norm.weight" not in arrays):
        values["block"] = kind.held["block"][-1]
    output = arrays.get("output.weight")
    heads, theta = field("{}.attention.head_count"), field("{}.rope.freq_base", 10000.0)
    config = dict(
        vocab_size=len(arrays["token_embd.weight"]),
        d_model=field("{}.embedding_length"),
        n_layers=field("{}.block_count"),
        n_heads=heads,
        n_kv_heads=field("{}.attention.head_count_kv", heads),
        head_dim=field("{}.attention.key_length", field("{}.embedding_length") // heads),
        d_ff=field("{}.feed_forward_length"),
        norm_eps=field("{}.attention.layer_norm_rms_epsilon", field("{}.attention.layer_norm_epsilon")),
        max_context=field("{}.context_length"),
        tied_embeddings=output is None or (kind.own_head and np.array_equal(output, arrays["token_embd.weight"])),
        rope_theta=theta,
    )
    if "embedding_scale" in kind.held:
        config["embedding_scale"] = config["d_model"] ** 0.5
    if "rope_fraction" in kind.held:
        config["rope_fraction"] = field("{}.rope.dimension_count", config["head_dim"]) / config["head_dim"]
    if (factors := arrays.get(FACTORS)) is not None:
        factors = tuple(factors.tolist())
        config["rope_scaling"] = RopeScaling(
            "longrope", 1.0, config["max_context"], short_factors=factors, long_factors=factors,
            attention_factor=field("{}.rope.scaling.attn_factor", 1.0),
        )  # fmt: skip
    return ModelConfig(**values | config)
