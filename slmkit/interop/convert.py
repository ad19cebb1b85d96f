"""A decoder and its configuration to and from transformers, by the tables of names.py and families.py."""

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slmkit.config import PER_LAYER, ModelConfig
from slmkit.interop.families import ACTIVATIONS, FAMILIES, SCALING, find_family
from slmkit.interop.names import rename
from slmkit.model.decoder import Decoder
from slmkit.model.storage import assemble, unique_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def config_from_transformers(theirs: "PreTrainedConfig") -> ModelConfig:
    """The same architecture as a ModelConfig. Raises ValueError for a family or an option that a Decoder lacks."""
    family = find_family(theirs.model_type)
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

    family = find_family(name)
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
    spelling = find_family(family)
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
        renamed[rename(name, spelling.names)] = tensor
    return renamed


def tensors_from_transformers(tensors: dict[str, Tensor], config: ModelConfig, family: str) -> dict[str, Tensor]:
    """The reverse of `tensors_to_transformers`."""
    spelling, renamed = find_family(family), {}
    back = {theirs: ours for ours, theirs in spelling.names.items()}
    for name, tensor in tensors.items():
        name = rename(name, back)
        if spelling.transposed and re.search(r"(qkv|out|up|down)\.weight$", name):
            tensor = tensor.t().contiguous()
        if ".qkv." in name:
            for part, piece in zip("qkv", _unpack(tensor, config, spelling.packing), strict=True):
                renamed[name.replace("qkv", part)] = piece
        else:
            renamed[name] = tensor
    return renamed


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
