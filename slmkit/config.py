"""The configuration of a decoder: every architectural choice of the survey, in one validated place.

The survey (arXiv 2409.15790, section 2.2) compares small language models along six axes: attention, feed-forward type,
feed-forward ratio, activation, normalization and vocabulary. Each axis is a field here. The remaining fields are what
the published families add: positions, biases, block layout, sharing and layer-wise scaling.
"""

import json
from dataclasses import MISSING, asdict, dataclass, fields
from typing import NamedTuple

from slmkit.checks import above, one_of, positive
from slmkit.rope_scaling import RopeScaling

ATTENTIONS = ("full", "mla")
FFNS = ("standard", "gated")
ACTIVATIONS = ("relu", "relu2", "gelu", "gelu_tanh", "silu")
NORMS = ("layernorm", "rmsnorm")
POSITIONS = ("rope", "learned", "alibi", "none")
SHARINGS = ("none", "ffn_all", "block_pairs")
BLOCKS = ("sequential", "parallel", "parallel_shared_norm")
NORM_PLACEMENTS = ("pre", "post", "both", "after_residual")
QK_NORMS = ("head", "head_plain", "head_rotated", "full")
FLAGS = ("tied_embeddings", "qkv_bias", "out_bias", "ffn_bias", "head_bias", "norm_weight", "norm_bias",
         "norm_unit_offset", "embedding_norm")  # fmt: skip
PER_LAYER = ("n_heads", "n_kv_heads", "d_ff", "window", "attention_scale")


class LayerShape(NamedTuple):
    """The widths of one layer, after the per-layer tuples have been resolved."""

    n_heads: int
    n_kv_heads: int
    d_ff: int
    window: int | None
    attention_scale: float


class Rotation(NamedTuple):
    """How the rotary positions of one layer turn."""

    theta: float
    scaling: RopeScaling | None


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build or count a decoder. Impossible combinations raise ValueError with the remedy.

    Sizes are in elements. `n_heads`, `n_kv_heads`, `d_ff`, `window`, `attention_scale`, `rope_theta` and `rope_scaling`
    take one value for all layers or a tuple of length `n_layers` (layer-wise scaling in OpenELM, two kinds of layers in
    Gemma-2 and 3). After construction the first three are never None: the defaults are filled in.
    """

    vocab_size: int
    d_model: int
    n_layers: int  # blocks that a token passes through; with sharing, fewer hold weights of their own
    n_heads: int | tuple[int, ...]
    n_kv_heads: int | tuple[int, ...] | None = None  # n_heads: MHA; 1: MQA; between: GQA. Default MHA
    head_dim: int | None = None  # width of a query/key head; default d_model / n_heads
    d_ff: int | tuple[int, ...] | None = None  # default 4 d_model, or 8/3 d_model rounded up to 8s when gated

    attention: str = "full"
    ffn: str = "gated"
    activation: str = "silu"
    norm: str = "rmsnorm"
    positions: str = "rope"
    tied_embeddings: bool = True  # the output head is the embedding matrix
    sharing: str = "none"  # ffn_all: one FFN for all blocks; block_pairs: blocks 2i and 2i+1 are the same
    block: str = "sequential"  # parallel: attention and FFN read the same input (GPT-J, GPT-NeoX)
    max_context: int = 2048  # tokens

    qkv_bias: bool = False
    out_bias: bool = False  # on the attention's output projection
    ffn_bias: bool = False
    head_bias: bool = False  # on an untied output head (Phi)
    norm_weight: bool = True  # False: normalization without parameters (OLMo)
    norm_bias: bool | None = None  # default: as the norm usually has it, LayerNorm yes, RMSNorm no
    norm_unit_offset: bool = False  # the weight is stored as its distance from 1 (Gemma)
    norm_eps: float = 1e-5
    # Where norms stand around a branch f.  pre: x + f(norm(x)).  post: x + norm(f(x)) (OLMo-2).  both: a norm on each
    # side (Gemma-2).  after_residual: norm(x + f(x)), and none at the end (Vaswani et al. 2017, OPT-350M).
    norm_placement: str = "pre"
    # Of queries and keys: each head, with weights or without, or after its rotation (Hunyuan), or the full width.
    qk_norm: str | None = None
    embedding_norm: bool = False  # on what the embedding gives (Bloom)

    rope_theta: float | tuple[float | None, ...] = 10000.0  # None in a tuple: that layer knows no positions (SmolLM3)
    rope_fraction: float = 1.0  # share of each head that rotates (Pythia 0.25)
    rope_scaling: RopeScaling | tuple[RopeScaling | None, ...] | None = None
    position_offset: int = 0  # unused rows in front of the table of learned positions (OPT: 2)
    window: int | tuple[int | None, ...] | None = None  # keys that a query may see, itself included; None: all
    attention_scale: float | tuple[float, ...] | None = None  # factor on query·key; default 1/sqrt(head_dim)
    embedding_scale: float = 1.0  # factor on the token embedding (Gemma: sqrt(d_model))
    embedding_width: int | None = None  # narrower than d_model, with a projection at each end (OPT-350M)
    residual_scale: float = 1.0  # factor on what attention and FFN add to the residual stream (MiniCPM, Granite)
    logit_scale: float = 1.0
    score_cap: float | None = None  # scores become cap · tanh(scores / cap), before the mask (Gemma-2)
    logit_cap: float | None = None  # the same for logits

    kv_lora_rank: int | None = None  # MLA: width of the joint key-value latent, which is what the cache holds
    q_lora_rank: int | None = None  # MLA: width of the query latent; None: queries straight from the input
    qk_rope_head_dim: int | None = None  # MLA: the part of head_dim that carries position
    v_head_dim: int | None = None  # MLA: width of a value head; default head_dim
    latent_norm_eps: float | None = None  # MLA: of the norms on the latents; default norm_eps

    def __post_init__(self):
        self._check_values()
        self._fill_defaults()
        self._check_mla()
        self._check_norms()
        self._check_positions()
        self._check_layers()

    # -- reading -------------------------------------------------------------------------------------------------

    def layer(self, i: int) -> LayerShape:
        """The widths of layer `i` (0-based)."""
        heads, kv_heads, d_ff, window, scale = (_at(getattr(self, name), i) for name in PER_LAYER)
        return LayerShape(heads, kv_heads, d_ff, window, self.head_dim**-0.5 if scale is None else scale)

    def rotation(self, i: int) -> Rotation | None:
        """How layer `i` rotates; None when it has no rotary positions."""
        theta = _at(self.rope_theta, i) if self.positions == "rope" else None
        return None if theta is None else Rotation(theta, _at(self.rope_scaling, i))

    @property
    def unique_layers(self) -> tuple[int, ...]:
        """Indices of the layers that hold weights of their own (all, unless blocks are shared in pairs)."""
        return tuple(range(0, self.n_layers, 2 if self.sharing == "block_pairs" else 1))

    @property
    def rope_dim(self) -> int:
        """How many elements of a query/key head rotate (0 without rotary positions)."""
        if self.positions != "rope":
            return 0
        return self.qk_rope_head_dim if self.attention == "mla" else int(self.head_dim * self.rope_fraction)

    def to_dict(self) -> dict:
        """A JSON-ready dictionary; `from_dict` reads it back to an equal configuration."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown configuration field {unknown[0]!r}; the fields are {', '.join(sorted(known))}")
        for field in fields(cls):
            if field.default is MISSING and field.name not in values:
                raise ValueError(f"{field.name} is missing; a configuration needs it")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        scaling = values.get("rope_scaling")
        try:
            if isinstance(scaling, tuple):
                values["rope_scaling"] = tuple(RopeScaling(**s) if isinstance(s, dict) else s for s in scaling)
            elif isinstance(scaling, dict):
                values["rope_scaling"] = RopeScaling(**scaling)
        except TypeError as error:
            raise ValueError(f"rope_scaling has a field too many or too few: {error}") from None
        return cls(**values)

    # -- validation ----------------------------------------------------------------------------------------------

    def _check_values(self):
        for name in ("vocab_size", "d_model", "n_layers", "max_context"):
            positive(name, getattr(self, name))
        for name in ("head_dim", "embedding_width", "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "v_head_dim"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        for name in PER_LAYER:
            value = self._by_layer(name)
            for entry in value if isinstance(value, tuple) else (value,):
                if name == "attention_scale":
                    if entry is not None:
                        above(name, entry, 0)
                elif entry is None and name == "n_heads":
                    raise ValueError("n_heads is missing; give the number of query heads")
                elif entry is not None or (isinstance(value, tuple) and name != "window"):
                    positive(name, entry)
        for name, choices in (("attention", ATTENTIONS), ("ffn", FFNS), ("activation", ACTIVATIONS), ("norm", NORMS),
                              ("positions", POSITIONS), ("sharing", SHARINGS), ("block", BLOCKS),
                              ("norm_placement", NORM_PLACEMENTS), ("qk_norm", (None, *QK_NORMS))):  # fmt: skip
            one_of(name, getattr(self, name), choices)
        for name in ("norm_eps", "embedding_scale", "rope_fraction", "residual_scale", "logit_scale"):
            above(name, getattr(self, name), 0)
        for name in ("score_cap", "logit_cap", "latent_norm_eps"):
            if getattr(self, name) is not None:
                above(name, getattr(self, name), 0)
        for name in FLAGS:
            if not isinstance(getattr(self, name), bool) and not (name == "norm_bias" and self.norm_bias is None):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be True or False")

    def _by_layer(self, name: str):
        """The field's value, a list turned into a tuple, a tuple checked for its length."""
        value = getattr(self, name)
        if isinstance(value, list):
            object.__setattr__(self, name, value := tuple(value))
        if isinstance(value, tuple) and len(value) != self.n_layers:
            raise ValueError(f"{name} has {len(value)} entries for {self.n_layers} layers; give one for each layer")
        return value

    def _fill_defaults(self):
        def fill(name, value):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

        if self.head_dim is None:
            heads = self.n_heads
            if isinstance(heads, tuple):
                raise ValueError("head_dim must be given when n_heads differs between layers; the heads keep one width")
            if self.d_model % heads:
                raise ValueError(
                    f"n_heads = {heads} does not divide d_model = {self.d_model}; choose a divisor or give head_dim"
                )
            fill("head_dim", self.d_model // heads)
        fill("n_kv_heads", self.n_heads)
        # 8/3 of the width gives a gated FFN, with its three matrices, the parameters of a standard one at ratio 4
        # (Shazeer 2020, GLU variants improve transformer).
        fill("d_ff", 4 * self.d_model if self.ffn == "standard" else -(-8 * self.d_model // 24) * 8)
        fill("norm_bias", self.norm == "layernorm" and self.norm_weight)
        if self.attention == "mla":
            fill("v_head_dim", self.head_dim)

    def _check_layers(self):
        for i in range(self.n_layers):
            shape = self.layer(i)
            if shape.n_heads % shape.n_kv_heads:
                raise ValueError(
                    f"n_kv_heads = {shape.n_kv_heads} does not divide n_heads = {shape.n_heads} (layer {i}); "
                    "each key/value head serves the same number of query heads"
                )
        if self.head_bias and self.tied_embeddings:
            raise ValueError("head_bias belongs to a head of its own; set tied_embeddings = False or leave it out")
        if self.sharing == "ffn_all" and isinstance(self.d_ff, tuple) and len(set(self.d_ff)) > 1:
            raise ValueError("sharing = 'ffn_all' uses one FFN for all blocks, so d_ff cannot differ between layers")
        if self.sharing == "block_pairs":
            if self.n_layers % 2:
                raise ValueError(f"sharing = 'block_pairs' needs an even n_layers, not {self.n_layers}")
            for i in range(0, self.n_layers, 2):
                if self.layer(i) != self.layer(i + 1) or self.rotation(i) != self.rotation(i + 1):
                    raise ValueError(f"layers {i} and {i + 1} share a block, so widths and positions must be equal")

    def _check_norms(self):
        if self.norm_bias and not self.norm_weight:
            raise ValueError("norm_bias needs norm_weight; a norm without weight has no bias either")
        if self.norm_unit_offset and not self.norm_weight:
            raise ValueError("norm_unit_offset says how the norm's weight is stored; it needs norm_weight")
        if self.block != "sequential" and self.norm_placement != "pre":
            raise ValueError(
                f"in a parallel block attention and FFN read one normalized input, so norm_placement must be 'pre', "
                f"not {self.norm_placement!r}"
            )
        if self.qk_norm and self.attention == "mla":
            raise ValueError("latent attention has norms on its latents; leave qk_norm out")

    def _check_positions(self):
        if (
            not isinstance(self.position_offset, int)
            or isinstance(self.position_offset, bool)
            or (self.position_offset < 0)
        ):
            raise ValueError(f"position_offset is {self.position_offset!r}; it counts rows, so 0 or more")
        if self.position_offset and self.positions != "learned":
            raise ValueError(f"position_offset moves learned positions; positions is {self.positions!r}")
        thetas, scalings = self._by_layer("rope_theta"), self._by_layer("rope_scaling")
        for theta in thetas if isinstance(thetas, tuple) else (thetas,):
            if theta is not None or not isinstance(thetas, tuple):
                above("rope_theta", theta, 1)
        if thetas == (None,) * self.n_layers:
            raise ValueError("rope_theta is None for every layer; say positions = 'none' instead")
        for scaling in scalings if isinstance(scalings, tuple) else (scalings,):
            if scaling is not None and not isinstance(scaling, RopeScaling):
                raise ValueError(f"rope_scaling is {scaling!r}; give a RopeScaling or leave it out")
            for factors in (scaling.short_factors, scaling.long_factors) if scaling else ():
                if factors is not None and len(factors) != self.rope_dim // 2:
                    raise ValueError(f"rope_scaling has {len(factors)} factors for {self.rope_dim // 2} rotating pairs")
        if self.rope_fraction > 1:
            raise ValueError(f"rope_fraction is {self.rope_fraction}; it is a share of the head, above 0 and at most 1")
        if self.rope_scaling and self.positions != "rope":
            raise ValueError(f"rope_scaling stretches rotary positions; positions is {self.positions!r}")
        if self.positions == "rope" and self.attention == "full" and (self.rope_dim % 2 or not self.rope_dim):
            raise ValueError(
                f"rotary positions turn pairs of elements: head_dim × rope_fraction = {self.rope_dim} must be even"
            )

    def _check_mla(self):
        latent = ("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "v_head_dim")
        if self.attention == "full":
            for name in latent:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} belongs to latent attention; set attention = 'mla' or leave it out")
            return
        if self.kv_lora_rank is None or self.qk_rope_head_dim is None:
            raise ValueError("attention = 'mla' needs kv_lora_rank and qk_rope_head_dim")
        if self.positions not in ("rope", "none"):
            raise ValueError(f"attention = 'mla' takes positions 'rope' or 'none', not {self.positions!r}")
        if not self.qk_rope_head_dim < self.head_dim or self.qk_rope_head_dim % 2:
            raise ValueError(
                f"qk_rope_head_dim = {self.qk_rope_head_dim} must be even and below head_dim = {self.head_dim}"
            )
        if self.n_kv_heads != self.n_heads:
            raise ValueError("latent attention rebuilds keys and values for every head; leave n_kv_heads out")
        if self.rope_fraction != 1:
            raise ValueError("with attention = 'mla' the rotating part is qk_rope_head_dim; leave rope_fraction at 1")


def _at(value, i: int):
    return value[i] if isinstance(value, tuple) else value
