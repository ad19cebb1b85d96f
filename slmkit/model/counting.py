"""Counting from a configuration alone: parameters, FLOPs, bytes. Nothing is built.

One multiply-add counts as two FLOPs. Only matrix products are counted, as usual; norms, activations and softmax are
below one percent of a decoder's arithmetic.
"""

from dataclasses import dataclass

import torch

from slmkit.config import ModelConfig
from slmkit.model.cache import cache_shapes


@dataclass(frozen=True)
class ParameterCount:
    """Unique parameters by part; shared weights count once. `embedding` covers the lookup tables and an untied head."""

    token_embedding: int
    position_embedding: int
    head: int  # 0 when tied
    attention: int
    ffn: int
    norm: int
    ends: int  # projections between a narrower embedding and the layers; the head's bias

    @property
    def embedding(self) -> int:
        return self.token_embedding + self.position_embedding + self.head

    @property
    def non_embedding(self) -> int:
        return self.attention + self.ffn + self.norm + self.ends

    @property
    def total(self) -> int:
        return self.embedding + self.non_embedding


def count_parameters(config: ModelConfig) -> ParameterCount:
    """Unique parameters of `Decoder(config)` by part, to the unit."""
    d, unique, narrow = config.d_model, config.unique_layers, config.embedding_width
    last = config.norm_placement != "after_residual"
    norms = _norms_per_block(config) * len(unique) + last + config.embedding_norm  # of the width of the model
    norm = norms * _norm(config, d) + sum(_norm(config, _inner_norms(config, i)) for i in unique)
    return ParameterCount(
        token_embedding=config.vocab_size * (narrow or d),
        position_embedding=(config.max_context + config.position_offset) * d if config.positions == "learned" else 0,
        head=0 if config.tied_embeddings else config.vocab_size * (narrow or d),
        attention=sum(_size(_attention_matrices(config, i)) for i in unique),
        ffn=sum(_size(_ffn_matrices(config, i)) for i in (unique[:1] if config.sharing == "ffn_all" else unique)),
        norm=norm,
        ends=2 * d * (narrow or 0) + config.vocab_size * config.head_bias,
    )


def weight_bytes(config: ModelConfig, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of the unique weights at `dtype`."""
    return count_parameters(config).total * dtype.itemsize


def kv_cache_bytes(config: ModelConfig, tokens: int, dtype: torch.dtype = torch.float16, batch: int = 1) -> int:
    """Bytes of a cache for `tokens` tokens. Shared layers share weights, not caches, so every layer counts."""
    shapes = (shape for i in range(config.n_layers) for shape in cache_shapes(config, i))
    return batch * tokens * dtype.itemsize * sum(heads * width for heads, width in shapes)


def flops_by_part(config: ModelConfig, context: int, phase: str = "decode") -> dict[str, float]:
    """FLOPs a token by part: attention (projections), scores (QKᵀ and ·V), ffn, head.

    decode: one token that sees `context` tokens, itself included.  prefill: the mean over a prompt of `context` tokens,
    of which each sees the ones before it; a window limits both.  training: forward and backward, three times prefill
    (Kaplan et al. 2020, section 2.1).
    """
    if phase not in ("decode", "prefill", "training"):
        raise ValueError(f"phase is {phase!r}; it must be decode, prefill or training")
    width = config.embedding_width or config.d_model
    head = 2.0 * config.vocab_size * width + 4 * config.d_model * (config.embedding_width or 0)  # and both projections
    parts = {"attention": 0.0, "scores": 0.0, "ffn": 0.0, "head": head}
    scored = config.head_dim + (config.v_head_dim or config.head_dim)  # numbers that a head reads of each token
    if config.attention == "mla" and phase == "decode":
        scored = 2 * config.kv_lora_rank + config.qk_rope_head_dim  # absorbed: latents in place of keys and values
    for i in range(config.n_layers):
        shape = config.layer(i)
        window = min(shape.window or context, context)
        # Keys seen by a prompt's tokens: 1, 2, … up to the window, and the window from there on.
        seen = window if phase == "decode" else window - window * (window - 1) / (2 * context)
        parts["attention"] += 2 * _size(_attention_matrices(config, i), bias=False)
        parts["scores"] += 2 * shape.n_heads * scored * seen
        parts["ffn"] += 2 * _size(_ffn_matrices(config, i), bias=False)
    return {part: 3 * flops if phase == "training" else flops for part, flops in parts.items()}


def flops_per_token(config: ModelConfig, context: int, phase: str = "decode") -> float:
    """FLOPs to process one token; see `flops_by_part`."""
    return sum(flops_by_part(config, context, phase).values())


def activation_bytes(config: ModelConfig, batch: int, context: int, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of the tensors that one training forward pass keeps for the backward pass, weights and ids not counted.

    As PyTorch keeps them in eager mode on a processor, with one dtype throughout and no mask: each linear layer's
    input, what norms, activations and attention save, and the log-probabilities of the loss. (On a GPU, RMSNorm is one
    kernel and keeps one tensor of d_model less.) Not for latent attention or capped scores.
    """
    if config.attention != "full" or config.score_cap is not None:
        raise ValueError("activation_bytes covers attention = 'full' without score_cap")
    d = config.d_model
    if config.norm == "layernorm":
        norm = d + 2  # the output, which the next linear layer reads; mean and deviation
    else:
        norm = (2 * d if config.norm_weight else d) + 1  # also the output before the weight; one over the size
    numbers = d + norm * (config.norm_placement != "after_residual")  # the final norm and its input
    numbers += config.vocab_size * (1 if config.logit_cap is None else 2)  # log-probabilities; the cap's tanh
    numbers += norm * config.embedding_norm + 2 * (config.embedding_width or 0)  # what the projections' neighbours read
    for i in range(config.n_layers):
        shape = config.layer(i)
        query, key = shape.n_heads * config.head_dim, shape.n_kv_heads * config.head_dim
        numbers += (2 if config.block == "sequential" else 1) * d  # the residual stream, where norms read it
        numbers += _norms_per_block(config) * norm  # before a branch or after it, a norm keeps as much
        if config.qk_norm:
            numbers += _qk_norm_numbers(config, i)
        numbers += 2 * query + 2 * key + shape.n_heads  # q, k, v and the mixed values, which `out` reads; log-sum-exp
        joined = config.positions == "rope" and config.rope_dim < config.head_dim
        if joined or config.qk_norm in ("head", "head_plain", "head_rotated"):
            numbers += query  # joining what turns and what does not, or a norm, leaves heads apart; `out` reads a copy
        # What the activation reads and what `down` reads; gated: the activated gate and `up` too. ReLU needs its
        # output alone.
        numbers += ((4 if config.ffn == "gated" else 2) - (config.activation == "relu")) * shape.d_ff
    return batch * context * numbers * dtype.itemsize


def _attention_matrices(config: ModelConfig, i: int) -> list[tuple[int, int, bool]]:
    """(inputs, outputs, biased) of each linear layer of layer i's attention; the last is the output projection."""
    d, width = config.d_model, config.head_dim
    heads, kv_heads = config.layer(i)[:2]
    if config.attention == "full":
        qkv = [(d, n * width, config.qkv_bias) for n in (heads, kv_heads, kv_heads)]
        return [*qkv, (heads * width, d, config.out_bias)]
    rank, rope = config.kv_lora_rank, config.qk_rope_head_dim
    q_in = config.q_lora_rank or d
    return [
        *([(d, q_in, config.qkv_bias)] if config.q_lora_rank else []),
        (q_in, heads * width, False),
        (d, rank + rope, config.qkv_bias),
        (rank, heads * (width - rope + config.v_head_dim), False),
        (heads * config.v_head_dim, d, config.out_bias),
    ]


def _ffn_matrices(config: ModelConfig, i: int) -> list[tuple[int, int, bool]]:
    d, d_ff, bias = config.d_model, config.layer(i).d_ff, config.ffn_bias
    return [(d, d_ff, bias)] * (2 if config.ffn == "gated" else 1) + [(d_ff, d, bias)]


def _size(matrices: list[tuple[int, int, bool]], bias: bool = True) -> int:
    return sum(inputs * outputs + (outputs if bias and biased else 0) for inputs, outputs, biased in matrices)


def _qk_norm_numbers(config: ModelConfig, i: int) -> int:
    heads, kv_heads = config.layer(i)[:2]
    weighted = config.norm == "rmsnorm" and config.norm_weight and config.qk_norm != "head_plain"
    sizes = 2 if config.qk_norm == "full" else heads + kv_heads
    return (heads + kv_heads) * config.head_dim * (2 if weighted else 1) + sizes * (
        2 if config.norm == "layernorm" else 1
    )


def _norms_per_block(config: ModelConfig) -> int:
    if config.block == "parallel_shared_norm":
        return 1
    return 4 if config.norm_placement == "both" else 2


def _inner_norms(config: ModelConfig, i: int) -> int:
    """The widths of the norms inside layer i's attention, added up: on latents, or on queries and keys."""
    if config.attention == "mla":
        return config.kv_lora_rank + (config.q_lora_rank or 0)
    heads, kv_heads = config.layer(i)[:2]
    return {"head": 2, "head_rotated": 2, "full": heads + kv_heads}.get(config.qk_norm, 0) * config.head_dim


def _norm(config: ModelConfig, width: int) -> int:
    return width * (config.norm_weight + config.norm_bias)
