"""A decoder and its configuration to and from transformers, by the tables of names.py and families.py."""

import math
import warnings
from dataclasses import fields
from typing import TYPE_CHECKING

from torch import Tensor

from slmkit.config import PER_LAYER, ModelConfig, RopeScaling
from slmkit.interop.families import FAMILIES, Family, find_family
from slmkit.interop.layouts import pack, unpack
from slmkit.interop.names import module_names, rename
from slmkit.interop.options import ACTIVATIONS, HARMLESS
from slmkit.interop.rotary import SCALING
from slmkit.model.decoder import Decoder
from slmkit.model.storage import assemble, unique_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def config_from_transformers(theirs: "PreTrainedConfig") -> ModelConfig:
    """The same architecture as a ModelConfig. Raises ValueError for a family or an option that a Decoder lacks."""
    family = find_family(theirs.model_type)
    _refuse_unknown(theirs, family)
    values = {ours: getattr(theirs, name, None) for ours, name in family.options.items()}
    if "activation" in values:
        if values["activation"] not in ACTIVATIONS:
            raise ValueError(f"the activation is {values['activation']!r}; a Decoder has {', '.join(ACTIVATIONS)}")
        values["activation"] = ACTIVATIONS[values["activation"]]
    values |= family.fixed
    for part in family.parts:
        values |= part.read(theirs)
    return ModelConfig(**values)


def _refuse_unknown(theirs: "PreTrainedConfig", family: Family):
    """Every field of theirs is read, harmless, or at the one value that a Decoder has too."""
    from transformers import PreTrainedConfig

    if getattr(theirs, "is_heterogeneous", False):
        raise ValueError("is_heterogeneous is set; only models with the same settings in all layers are converted")
    stored = theirs.attribute_map  # of the families' common names, those that this one stores under its own
    read = {*family.options.values(), *HARMLESS, *(name for part in family.parts for name in part.fields)}
    read |= {stored.get(name, name) for name in read}
    default = {field.name: field.default for field in fields(theirs)}
    own = default.keys() - {field.name for field in fields(PreTrainedConfig)}
    for name in sorted(own - read | family.neutral.keys()):
        value, known = getattr(theirs, name, None), family.neutral.get(name, default.get(name))
        if (value or None) != (known or None):
            raise ValueError(f"{name} is {value!r}; of {theirs.model_type} a Decoder has only {known!r}")


def config_to_transformers(ours: ModelConfig, family: str | None = None) -> "PreTrainedConfig":
    """The same architecture in the terms of `family`, or of the first of FAMILIES that can express it.

    Raises ValueError naming an option that the family, or else the three nearest families, have no way to say.
    """
    lacking = {}
    for name in [family] if family else FAMILIES:
        theirs, lacking[name] = _written(ours, name)
        if not lacking[name]:
            return theirs
    nearest = sorted(lacking, key=lambda name: len(lacking[name]))[:3]
    raise ValueError("; ".join(f"{name} cannot express {lacking[name][0]}" for name in nearest))


def _written(ours: ModelConfig, name: str) -> tuple["PreTrainedConfig | None", list[str]]:
    """`ours` in the family's terms, and the options that do not come back when it is read again."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    family = find_family(name)
    lacking = [option for option in ("n_heads", "n_kv_heads", "d_ff") if _differs(ours, option)]  # in no family
    lacking += [option for option, value in family.fixed.items() if getattr(ours, option) != value]
    lacking = [f"{option} = {getattr(ours, option)!r}" for option in lacking]
    values = {theirs: getattr(ours, option) for option, theirs in family.options.items()}
    values = {theirs: value[0] if isinstance(value, tuple) else value for theirs, value in values.items()}
    if "activation" in family.options:
        activation = next(theirs for theirs, known in ACTIVATIONS.items() if known == ours.activation)
        values[family.options["activation"]] = activation
    values |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # a Decoder knows no tokens by name
    try:
        for part in family.parts:
            values |= part.write(ours)
        theirs = AutoConfig.for_model(name, **values)
        said = _meaning(config_from_transformers(theirs))
    except (ValueError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        return None, [*lacking, f"n_heads = {ours.n_heads} with d_model = {ours.d_model} ({reason})"]
    meant = _meaning(ours)
    changed = [option for option in meant if not _same(meant[option], said[option])]
    return theirs, [f"{option} = {getattr(ours, option)!r}" for option in changed]


def _differs(ours: ModelConfig, option: str) -> bool:
    """Whether it differs between layers."""
    return len({getattr(ours.layer(i), option) for i in range(ours.n_layers)}) > 1


def _meaning(config: ModelConfig) -> dict:
    """The options as far as they matter: resolved for each layer, without those that another option switches off."""
    meaning = {name: getattr(config, name) for name in config.__dataclass_fields__}
    for name in PER_LAYER:
        meaning[name] = tuple(getattr(config.layer(i), name) for i in range(config.n_layers))
    rotations = [config.rotation(i) for i in range(config.n_layers)]
    meaning["rope_theta"] = tuple(rotation and rotation.theta for rotation in rotations)
    meaning["rope_scaling"] = tuple(_scaling(rotation and rotation.scaling) for rotation in rotations)
    if config.positions != "rope":
        meaning["rope_fraction"] = None
    if config.attention == "mla":
        meaning["latent_norm_eps"] = config.latent_norm_eps or config.norm_eps
    return meaning


def _scaling(scaling: RopeScaling | None) -> tuple:
    used = ("kind", "factor", *SCALING.get(scaling.kind, ())) if scaling else ()
    return tuple(getattr(scaling, name) for name in used)


def _same(meant, said) -> bool:
    """Equal, numbers up to rounding: a factor that is stored as its inverse comes back a last digit away."""
    if isinstance(meant, tuple) and isinstance(said, tuple):
        return len(meant) == len(said) and all(map(_same, meant, said))
    both_numbers = isinstance(meant, float) and isinstance(said, float)
    return math.isclose(meant, said, rel_tol=1e-12) if both_numbers else meant == said


def from_transformers(hf_model: "PreTrainedModel") -> Decoder:
    """A Decoder with a copy of the weights of `hf_model`, a …ForCausalLM of one of FAMILIES, in their type and device.

    The copy answers as `hf_model.eval()` does; with LongRoPE only texts beyond the first context, and a warning says
    so. Raises ValueError for what a Decoder cannot express.
    """
    config = config_from_transformers(hf_model.config)
    _warn_of_longrope(config)
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
    _warn_of_longrope(decoder.config)
    tensors = tensors_to_transformers(unique_tensors(decoder), decoder.config, theirs.model_type)
    weight = decoder.embedding.weight
    hf_model = AutoModelForCausalLM.from_config(theirs, dtype=weight.dtype).to(weight.device)
    if decoder.config.tied_embeddings:
        tensors["lm_head.weight"] = weight  # the same tensor there, under a second name
    hf_model.load_state_dict(tensors)
    return hf_model.eval()


def tensors_to_transformers(tensors: dict[str, Tensor], config: ModelConfig, family: str) -> dict[str, Tensor]:
    """Our named tensors (weights, or their gradients) under the names and in the layout of `family`."""
    packed = pack(tensors, config, find_family(family).layout)
    modules = module_names(family, config)
    return {rename(name, modules): tensor for name, tensor in packed.items()}


def tensors_from_transformers(tensors: dict[str, Tensor], config: ModelConfig, family: str) -> dict[str, Tensor]:
    """The reverse of `tensors_to_transformers`."""
    modules = {theirs: ours for ours, theirs in module_names(family, config).items()}
    renamed = {rename(name, modules): tensor for name, tensor in tensors.items()}
    return unpack(renamed, config, find_family(family).layout)


def _warn_of_longrope(config: ModelConfig):
    for rotation in {config.rotation(i) for i in range(config.n_layers)} - {None}:
        scaling = rotation.scaling
        if scaling and scaling.kind == "longrope" and config.max_context > scaling.original_context:
            warnings.warn(
                f"LongRoPE: transformers turns texts of up to {scaling.original_context} tokens by other factors than "
                f"longer ones, a Decoder turns all by those of its max_context = {config.max_context}",
                stacklevel=3,
            )
