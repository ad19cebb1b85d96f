"""Options that are more than a name apart: windows, block layouts, and what a single family has."""

from slmkit.config import ModelConfig
from slmkit.interop.options import FULL, WINDOWED, Part, layer_kinds

# -- windows: one for all layers, or layer by layer

ONE_WINDOW = Part(
    ["sliding_window"],
    lambda theirs: dict(window=theirs.sliding_window),
    lambda ours: dict(sliding_window=ours.layer(0).window),
)


def _read_windows(theirs) -> dict:
    return dict(window=tuple(theirs.sliding_window if kind == WINDOWED else None for kind in layer_kinds(theirs)))


def _write_windows(ours: ModelConfig) -> dict:
    windows = [ours.layer(i).window for i in range(ours.n_layers)]
    kinds = [WINDOWED if window else FULL for window in windows]
    return dict(sliding_window=next(filter(None, windows), None), layer_types=kinds)


LAYER_WINDOWS = Part(["sliding_window", "layer_types"], _read_windows, _write_windows)
# Some also say whether there are windows at all, and in Qwen once more from which layer on.
SWITCHED_WINDOWS = Part(
    [*LAYER_WINDOWS.fields, "use_sliding_window", "max_window_layers"],
    _read_windows,
    lambda ours: _write_windows(ours) | dict(use_sliding_window=WINDOWED in _write_windows(ours)["layer_types"]),
)
# The pattern is another way of saying layer_types, which go before it.
EXAONE_WINDOWS = Part([*LAYER_WINDOWS.fields, "sliding_window_pattern"], _read_windows, _write_windows)

# -- blocks


def parallel(kind: str) -> Part:
    """A switch between sequential blocks and parallel ones of this kind."""
    return Part(
        ["use_parallel_residual"],
        lambda theirs: dict(block=kind if theirs.use_parallel_residual else "sequential"),
        lambda ours: dict(use_parallel_residual=ours.block != "sequential"),
    )


# -- factors


# The width of a head as it ought to be, in Gemma's terms.
QUERY_SCALAR = Part(
    ["query_pre_attn_scalar"],
    lambda theirs: dict(attention_scale=theirs.query_pre_attn_scalar**-0.5),
    lambda ours: dict(query_pre_attn_scalar=round(ours.layer(0).attention_scale ** -2)),
)
EMBEDDING_TIMES_ROOT = Part([], lambda theirs: dict(embedding_scale=theirs.hidden_size**0.5), lambda ours: {})
GRANITE = Part(
    ["attention_multiplier", "logits_scaling"],
    lambda theirs: dict(attention_scale=theirs.attention_multiplier, logit_scale=1 / theirs.logits_scaling),
    lambda ours: dict(attention_multiplier=ours.layer(0).attention_scale, logits_scaling=1 / ours.logit_scale),
)


def _read_minicpm(theirs) -> dict:
    return dict(residual_scale=theirs.scale_depth / theirs.num_hidden_layers**0.5,
                logit_scale=theirs.dim_model_base / theirs.hidden_size)  # fmt: skip


def _write_minicpm(ours: ModelConfig) -> dict:
    return dict(scale_depth=ours.residual_scale * ours.n_layers**0.5,
                dim_model_base=round(ours.logit_scale * ours.d_model))  # fmt: skip


MINICPM = Part(["scale_depth", "dim_model_base"], _read_minicpm, _write_minicpm)

# -- what one family has


def _read_gpt2(theirs) -> dict:
    scale = (theirs.n_embd // theirs.n_head) ** -0.5 if theirs.scale_attn_weights else 1.0
    if theirs.scale_attn_by_inverse_layer_idx:
        scale = tuple(scale / (i + 1) for i in range(theirs.n_layer))
    return dict(attention_scale=scale, d_ff=theirs.n_inner or 4 * theirs.n_embd)


def _write_gpt2(ours: ModelConfig) -> dict:
    scales = [ours.layer(i).attention_scale for i in range(ours.n_layers)]
    return dict(scale_attn_weights=scales[0] != 1, scale_attn_by_inverse_layer_idx=scales[0] != scales[-1],
                n_inner=ours.layer(0).d_ff, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip


GPT2 = Part(["scale_attn_weights", "scale_attn_by_inverse_layer_idx", "n_inner"], _read_gpt2, _write_gpt2)


def _read_opt(theirs) -> dict:
    narrow = theirs.word_embed_proj_dim != theirs.hidden_size
    return dict(norm_placement="pre" if theirs.do_layer_norm_before else "after_residual",
                embedding_width=theirs.word_embed_proj_dim if narrow else None)  # fmt: skip


def _write_opt(ours: ModelConfig) -> dict:
    return dict(do_layer_norm_before=ours.norm_placement == "pre",
                word_embed_proj_dim=ours.embedding_width or ours.d_model)  # fmt: skip


OPT = Part(["do_layer_norm_before", "word_embed_proj_dim"], _read_opt, _write_opt)

# ALiBi needs no table of positions, so Bloom's configuration only mentions the length that it was trained at.
BLOOM = Part(
    [],
    lambda theirs: dict(max_context=getattr(theirs, "seq_length", 2048)),
    lambda ours: dict(seq_length=ours.max_context),
)
PHI = Part(
    ["qk_layernorm"],
    lambda theirs: dict(qk_norm="head" if theirs.qk_layernorm else None),
    lambda ours: dict(qk_layernorm=ours.qk_norm == "head"),
)

# -- latent attention

LATENT_WIDTHS = Part(
    ["qk_nope_head_dim", "head_dim"],  # their head_dim is the part that rotates, once more
    lambda theirs: dict(head_dim=theirs.qk_nope_head_dim + theirs.qk_rope_head_dim),
    lambda ours: dict(qk_nope_head_dim=ours.head_dim - (ours.qk_rope_head_dim or 0)),
)
# -- models that may mix experts, and need not

# What says nothing when no layer has experts, among it the head that guesses two tokens ahead.
EXPERTS = ["moe_intermediate_size", "n_group", "n_routed_experts", "n_shared_experts", "norm_topk_prob",
           "num_experts_per_tok", "output_router_logits", "routed_scaling_factor", "topk_group", "num_mtp_layers",
           "num_local_experts", "router_aux_loss_coef", "router_jitter_noise"]  # fmt: skip


def _read_dense(theirs) -> dict:
    if theirs.first_k_dense_replace < theirs.num_hidden_layers:
        raise ValueError(
            f"first_k_dense_replace is {theirs.first_k_dense_replace} of {theirs.num_hidden_layers} layers; the others "
            "mix experts, and a Decoder's FFN is dense"
        )
    return {}


DENSE = Part(
    ["first_k_dense_replace", *EXPERTS],
    _read_dense,
    lambda ours: dict(first_k_dense_replace=ours.n_layers, num_mtp_layers=0),
)


def _read_llama4(theirs) -> dict:
    if theirs.moe_layers:
        raise ValueError(f"moe_layers is {theirs.moe_layers}; these layers mix experts, and a Decoder's FFN is dense")
    if not all(theirs.no_rope_layers):
        raise ValueError("no_rope_layers has a 0; of llama4_text a Decoder has only layers that rotate")
    layer_kinds(theirs)  # neither has windows: its own kind of local layer sees chunks
    return dict(qk_norm="head_plain" if theirs.use_qk_norm else None)


def _write_llama4(ours: ModelConfig) -> dict:
    each = range(ours.n_layers)
    return dict(use_qk_norm=ours.qk_norm == "head_plain", no_rope_layers=[1 for _ in each],
                layer_types=[FULL for _ in each], moe_layers=[])  # fmt: skip


# Chunks and a temperature that grows with the text belong to layers that do not rotate.
UNROTATED = ["attention_chunk_size", "attn_temperature_tuning", "attn_scale", "floor_scale"]
LLAMA4 = Part(
    ["use_qk_norm", "no_rope_layers", "no_rope_layer_interval", "layer_types", "moe_layers",
     "interleave_moe_layer_step", "intermediate_size", *UNROTATED, *EXPERTS],
    _read_llama4,
    _write_llama4,
)  # fmt: skip
