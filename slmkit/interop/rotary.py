"""Rotary positions in transformers' terms: one base or several, scaled, partial, or switched off in some layers."""

from collections.abc import Sequence

from slmkit.config import ModelConfig, RopeScaling, Rotation
from slmkit.interop.options import FULL, WINDOWED, Part, layer_kinds

# What each kind of rotary scaling reads beside its factor.
STRETCHED = {"original_context": "original_max_position_embeddings"}
SCALING = {
    "linear": {},
    "llama3": STRETCHED | {"low_freq_factor": "low_freq_factor", "high_freq_factor": "high_freq_factor"},
    "yarn": STRETCHED | {"beta_fast": "beta_fast", "beta_slow": "beta_slow", "attention_factor": "attention_factor"},
    "longrope": STRETCHED | {"short_factors": "short_factor", "long_factors": "long_factor",
                             "attention_factor": "attention_factor"},
}  # fmt: skip

KNOWN = {"rope_type", "type", "rope_theta", "factor", "partial_rotary_factor"}.union(
    *map(dict.values, SCALING.values())
)


def read_rotation(parameters: dict, max_context: int) -> Rotation:
    """Theirs for one kind of layer."""
    parameters = {name: value for name, value in parameters.items() if value is not None}
    for name, value in parameters.items():
        if name not in KNOWN and (name, value) != ("truncate", True):
            raise ValueError(f"rope_parameters has {name} = {value!r}, which a Decoder does not know")
    kind, theta = parameters.get("rope_type", "default"), parameters["rope_theta"]
    if kind == "default":
        return Rotation(theta, None)
    settings = {ours: parameters[name] for ours, name in SCALING.get(kind, {}).items() if name in parameters}
    factor = parameters.get("factor")
    if factor is None and "original_context" in settings:
        factor = max_context / settings["original_context"]
    return Rotation(theta, RopeScaling(kind, factor, **settings))


def write_rotation(rotation: Rotation, kinds: Sequence[str] = tuple(SCALING)) -> dict:
    """Theirs for one kind of layer; a scaling that is not one of `kinds` is left out, and missed when read back."""
    theta, scaling = rotation
    if scaling is None or scaling.kind not in kinds:
        return {"rope_type": "default", "rope_theta": theta}
    settings = {theirs: getattr(scaling, name) for name, theirs in SCALING[scaling.kind].items()}
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {"rope_type": scaling.kind, "rope_theta": theta, "factor": scaling.factor, **settings}


def rotations(ours: ModelConfig) -> list[Rotation | None]:
    return [ours.rotation(i) for i in range(ours.n_layers)]


def first(found: Sequence[Rotation | None]) -> Rotation:
    return next(filter(None, found), Rotation(10000.0, None))


def rope(partial: bool = False, kinds: Sequence[str] = tuple(SCALING)) -> Part:
    """The same rotation in all layers, for families that turn part of each head (`partial`) and scale in these ways."""

    def read(theirs) -> dict:
        parameters = theirs.rope_parameters
        fraction = parameters.get("partial_rotary_factor") or 1.0
        if fraction != 1 and not partial:
            raise ValueError(f"partial_rotary_factor is {fraction}; {theirs.model_type} turns whole heads")
        theta, scaling = read_rotation(parameters, theirs.max_position_embeddings)
        if scaling and scaling.kind not in kinds:
            raise ValueError(f"rope_type is {scaling.kind!r}; of {theirs.model_type} a Decoder has only {kinds}")
        return dict(rope_theta=theta, rope_scaling=scaling, rope_fraction=fraction)

    def write(ours) -> dict:
        parameters = write_rotation(first(rotations(ours)), kinds)
        if partial:
            parameters["partial_rotary_factor"] = ours.rope_fraction
        return {"rope_parameters": parameters}

    return Part(["rope_parameters"], read, write)


ROPE, PARTIAL_ROPE = rope(), rope(partial=True)
# A norm behind the rotation takes back what other kinds multiply their tables by.
ROPE_BEFORE_NORM = rope(kinds=("linear", "llama3"))


def _write_phi3(ours: ModelConfig) -> dict:
    written = rope(partial=True, kinds=("longrope",)).write(ours)
    original = written["rope_parameters"].get("original_max_position_embeddings")
    return written | ({"original_max_position_embeddings": original} if original else {})


# Phi-3 knows LongRoPE only, and keeps the context before stretching outside of the rope_parameters.
PHI3_ROPE = Part([*ROPE.fields, "original_max_position_embeddings"], PARTIAL_ROPE.read, _write_phi3)


def _read_hunyuan(theirs) -> dict:
    parameters = theirs.rope_parameters
    if parameters.get("rope_type") == "dynamic" and parameters.get("alpha"):
        return dict(rope_theta=parameters["rope_theta"], rope_scaling=RopeScaling("ntk", parameters["alpha"]))
    return ROPE.read(theirs)


def _write_hunyuan(ours: ModelConfig) -> dict:
    theta, scaling = first(rotations(ours))
    if scaling is None or scaling.kind != "ntk":
        return ROPE.write(ours)
    return {"rope_parameters": {"rope_type": "dynamic", "rope_theta": theta, "factor": 1.0, "alpha": scaling.factor}}


# Hunyuan's "dynamic" with an alpha is not dynamic: it raises the base once and for all.
HUNYUAN_ROPE = Part(ROPE.fields, _read_hunyuan, _write_hunyuan)

# -- layers that rotate and layers that do not


def _only_in(theirs, rotating: Sequence[bool]) -> dict:
    """`rotating` says for each layer whether it has rotary positions."""
    if not any(rotating):
        return dict(positions="none")
    options = ROPE.read(theirs)
    theta = options["rope_theta"]
    return options | dict(rope_theta=theta if all(rotating) else tuple(theta if turns else None for turns in rotating))


def _read_smollm3(theirs) -> dict:
    return _only_in(theirs, [bool(turns) for turns in theirs.no_rope_layers[: theirs.num_hidden_layers]])


def _write_smollm3(ours: ModelConfig) -> dict:
    return ROPE.write(ours) | dict(no_rope_layers=[int(rotation is not None) for rotation in rotations(ours)])


def _read_exaone(theirs) -> dict:
    return _only_in(theirs, [theirs.sliding_window is None or kind == WINDOWED for kind in layer_kinds(theirs)])


# One number for each layer: 1 for a layer with positions, in spite of the name.
ROPE_BY_LIST = Part([*ROPE.fields, "no_rope_layers", "no_rope_layer_interval"], _read_smollm3, _write_smollm3)
# Where there are windows, the layers that see everything have no positions.
ROPE_IN_WINDOWS = Part(ROPE.fields, _read_exaone, ROPE.write)
ROPE_ONLY_IN_WINDOWS = Part(
    ROPE.fields,
    lambda theirs: _only_in(theirs, [kind == WINDOWED for kind in layer_kinds(theirs)]),
    ROPE.write,
)


# -- one rotation for layers with a window and another for those without


def _read_two(theirs) -> dict:
    found = {kind: read_rotation(theirs.rope_parameters[kind], theirs.max_position_embeddings)
             for kind in (WINDOWED, FULL)}  # fmt: skip
    for kind in found:
        if (theirs.rope_parameters[kind].get("partial_rotary_factor") or 1) != 1:
            raise ValueError(f"partial_rotary_factor is set for {kind}; {theirs.model_type} turns whole heads")
    each = [found[kind] for kind in layer_kinds(theirs)]
    return dict(rope_theta=tuple(rotation.theta for rotation in each),
                rope_scaling=tuple(rotation.scaling for rotation in each))  # fmt: skip


def _write_two(ours: ModelConfig) -> dict:
    windowed = [ours.layer(i).window is not None for i in range(ours.n_layers)]
    split = {kind: [rotation for rotation, inside in zip(rotations(ours), windowed, strict=True)
                    if inside == (kind == WINDOWED)] for kind in (WINDOWED, FULL)}  # fmt: skip
    return {"rope_parameters": {kind: write_rotation(first(found)) for kind, found in split.items()}}


TWO_ROPES = Part(ROPE.fields, _read_two, _write_two)
