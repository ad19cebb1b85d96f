"""Causal self-attention: full (MHA, GQA, MQA by the number of key/value heads) and latent (MLA).

Shapes: B batch, T new tokens (queries), S tokens visible in all (keys), H query heads, K key/value heads, D head_dim.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.config import ModelConfig
from slmkit.model.cache import KVCache
from slmkit.model.linear import Linear
from slmkit.model.normalization import Norm
from slmkit.model.positions import alibi_slopes, apply_rope


class Reading(NamedTuple):
    """What all layers share in one forward pass."""

    rope: tuple[Tensor, Tensor] | None  # cos and sin for the T new positions
    cache: KVCache | None
    padding: Tensor | None  # [B] number of padding tokens at the left of each row
    tree: Tensor | None = None  # [T, S] of bool, which tokens each new one sees where a row holds a tree of texts


class Attention(nn.Module):
    """softmax(Q Kᵀ · scale + mask) V over heads (Vaswani et al. 2017), with K ≤ H key/value heads.

    The query heads always keep their own projections. What MQA (K = 1, Shazeer 2019) and GQA (1 < K < H, Ainslie et
    al. 2023) share is keys and values; the survey words it the other way round.
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        heads, kv_heads, _, self.window, self.scale = config.layer(layer)
        width, bias = config.head_dim, config.qkv_bias
        self.head_dim, self.cap = width, config.score_cap
        self.q = Linear(config.d_model, heads * width, bias=bias)
        self.k = Linear(config.d_model, kv_heads * width, bias=bias)
        self.v = Linear(config.d_model, kv_heads * width, bias=bias)
        self.out = Linear(heads * width, config.d_model, bias=config.out_bias)
        # Norms on queries and keys, over each head or the full width, keep scores from growing (Henry et al. 2020).
        self.qk_norm, full, plain = config.qk_norm, config.qk_norm == "full", config.qk_norm == "head_plain"
        self.q_norm = Norm(config, heads * width if full else width, plain=plain) if config.qk_norm else None
        self.k_norm = Norm(config, kv_heads * width if full else width, plain=plain) if config.qk_norm else None
        self.make_slopes(config)

    def make_slopes(self, config: ModelConfig):
        slopes = alibi_slopes(self.q.out_features // self.head_dim) if config.positions == "alibi" else None
        self.register_buffer("slopes", slopes, persistent=False)

    def forward(self, x: Tensor, reading: Reading, layer: int) -> Tensor:
        width, q, k = self.head_dim, self.q(x), self.k(x)
        if self.qk_norm == "full":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = split_heads(q, width), split_heads(k, width), split_heads(self.v(x), width)
        if self.qk_norm in ("head", "head_plain"):
            q, k = self.q_norm(q), self.k_norm(k)
        if reading.rope is not None:
            q, k = apply_rope(q, reading.rope), apply_rope(k, reading.rope)
        if self.qk_norm == "head_rotated":
            q, k = self.q_norm(q), self.k_norm(k)
        if reading.cache is not None:
            k, v = reading.cache.update(layer, k, v)
        return self.out(attend(q, k, v, self.scale, self.window, self.slopes, reading.padding, self.cap, reading.tree))


class LatentAttention(nn.Module):
    """Multi-head latent attention (DeepSeek-V2, section 2.1): keys and values are rebuilt from one narrow latent.

    The cache holds, for each token, the latent (kv_lora_rank) and one rotated key part shared by all heads
    (qk_rope_head_dim), whatever the number of heads. A head's query and key are head_dim wide: first the part rebuilt
    from the latent, which knows no position, then the rotated part.
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        heads, _, _, self.window, self.scale = config.layer(layer)
        self.rope_width, self.value_width = config.qk_rope_head_dim, config.v_head_dim
        self.plain_width = config.head_dim - self.rope_width
        self.head_dim, self.rank, self.cap = config.head_dim, config.kv_lora_rank, config.score_cap
        q_in = config.q_lora_rank or config.d_model
        self.q_down = Linear(config.d_model, q_in, bias=config.qkv_bias) if config.q_lora_rank else None
        self.q_norm = Norm(config, q_in, eps=config.latent_norm_eps) if config.q_lora_rank else None
        self.q = Linear(q_in, heads * config.head_dim, bias=False)
        self.kv_down = Linear(config.d_model, self.rank + self.rope_width, bias=config.qkv_bias)
        self.kv_norm = Norm(config, self.rank, eps=config.latent_norm_eps)
        self.kv_up = Linear(self.rank, heads * (self.plain_width + self.value_width), bias=False)
        self.out = Linear(heads * self.value_width, config.d_model, bias=config.out_bias)

    def forward(self, x: Tensor, reading: Reading, layer: int) -> Tensor:
        parts = self.read(x, reading, layer)
        one = reading.cache is not None and x.shape[1] == 1
        return self.out((self.absorbed if one else self.rebuilt)(*parts, reading.padding, reading.tree))

    def read(self, x: Tensor, reading: Reading, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries without and with position [B, H, T, ·]; latents and rotated key parts so far [B, 1, S, ·]."""
        q = self.q(x if self.q_down is None else self.q_norm(self.q_down(x)))
        q_plain, q_rope = split_heads(q, self.head_dim).split((self.plain_width, self.rope_width), dim=-1)
        latent, k_rope = self.kv_down(x).split((self.rank, self.rope_width), dim=-1)
        latent, k_rope = self.kv_norm(latent)[:, None], k_rope[:, None]
        if reading.rope is not None:
            q_rope, k_rope = apply_rope(q_rope, reading.rope), apply_rope(k_rope, reading.rope)
        if reading.cache is not None:
            latent, k_rope = reading.cache.update(layer, latent, k_rope)
        return q_plain, q_rope, latent, k_rope

    def rebuilt(self, q_plain: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, padding, tree) -> Tensor:
        """Attention with every token's keys and values made from its latent: the least work for many queries."""
        kv = split_heads(self.kv_up(latent[:, 0]), self.plain_width + self.value_width)
        k_plain, v = kv.split((self.plain_width, self.value_width), dim=-1)
        k_rope = k_rope.expand(-1, k_plain.shape[1], -1, -1)
        q, k = torch.cat((q_plain, q_rope), dim=-1), torch.cat((k_plain, k_rope), dim=-1)
        return attend(q, k, v, self.scale, self.window, None, padding, self.cap, tree)

    def absorbed(self, q_plain: Tensor, q_rope: Tensor, latent: Tensor, k_rope: Tensor, padding, tree) -> Tensor:
        """The same for one query: its heads read the latents themselves (DeepSeek-V2, section 2.1.2).

        q · (U c) = (Uᵀ q) · c, and a mean of U c is U times the mean: kv_up meets the one query, not S tokens.
        """
        up_k, up_v = self.up_weights()
        scores = torch.einsum("bhtc,bsc->bhts", torch.einsum("bhtp,hpc->bhtc", q_plain, up_k), latent[:, 0])
        scores = scores + torch.einsum("bhtr,bsr->bhts", q_rope, k_rope[:, 0])
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) * self.scale
        if self.cap is not None:
            scores = soft_cap(scores, self.cap)
        mask = attention_mask(1, latent.shape[2], self.window, None, padding, q_plain, tree)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        mean = torch.einsum("bhts,bsc->bhtc", scores.softmax(-1).to(latent.dtype), latent[:, 0])
        return torch.einsum("bhtc,hdc->bhtd", mean, up_v).transpose(1, 2).flatten(2)

    def up_weights(self) -> tuple[Tensor, Tensor]:
        """What rebuilds each head's keys [H, plain width, rank] and values [H, value width, rank] from the latent."""
        by_head = self.kv_up.weight.unflatten(0, (-1, self.plain_width + self.value_width))
        return by_head.split((self.plain_width, self.value_width), dim=1)


def split_heads(x: Tensor, width: int) -> Tensor:
    """[B, T, heads × width] -> [B, heads, T, width]"""
    return x.view(x.shape[0], x.shape[1], -1, width).transpose(1, 2)


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """x where it is small, never beyond ± cap (Gemma-2)."""
    return cap * torch.tanh(x / cap)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, window=None, slopes=None, padding=None, cap=None,
           tree=None) -> Tensor:  # fmt: skip
    """q [B, H, T, D], k and v [B, K, S, D], the queries being the last T of the S tokens -> [B, T, H × D]"""
    batch, _, time, _ = q.shape
    tokens, dtype = k.shape[2], q.dtype
    on_cpu = q.device.type == "cpu" and dtype == torch.bfloat16
    # A compiler does best with the plain formula in bfloat16, as long as the T × S scores are small.
    plain = on_cpu and torch.compiler.is_compiling() and time * tokens <= 512 * 512
    plain = plain or cap is not None  # PyTorch's kernels cannot cap scores
    if on_cpu and not plain:
        q, k, v = q.float(), k.float(), v.float()  # PyTorch's kernel for processors is several times faster so
    mask = attention_mask(time, tokens, window, slopes, padding, q, tree)
    if plain:
        mixed = written_out(q, k, v, scale, mask, cap)
    elif on_cpu:
        with torch.autocast("cpu", enabled=False):  # it would turn fp32 back into bfloat16
            mixed = kernel(q, k, v, scale, mask).to(dtype)
    else:
        mixed = kernel(q, k, v, scale, mask)
    return mixed.reshape(batch, 1, -1) if time == 1 else mixed.transpose(1, 2).flatten(2)


def kernel(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """PyTorch's attention, [B, H, T, D]; for one token that sees all it is [B, K, H / K, D], the same in memory."""
    if mask is None and q.shape[2] == 1:
        # The heads of a group as queries of one head: on a processor the kernel would copy each key for all of them.
        q = q.reshape(len(q), k.shape[1], -1, q.shape[3])
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    # Without a mask, T = S > 1 is the plain causal triangle. PyTorch's own causal flag aligns the triangle to the first
    # key, so other cases carry their mask.
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=scale, enable_gqa=grouped)


def written_out(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None, cap=None) -> Tensor:
    """The formula as it stands: softmax(Q Kᵀ · scale + mask) V -> [B, H, T, D]. Keeps all T × S scores in memory."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = (q @ k.transpose(-1, -2)).to(torch.promote_types(q.dtype, torch.float32)) * scale  # [B, H, T, S]
    if cap is not None:
        scores = soft_cap(scores, cap)
    if mask is None and q.shape[2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).to(q.dtype) @ v


def attention_mask(time: int, tokens: int, window, slopes, padding, like: Tensor, tree=None) -> Tensor | None:
    """Which keys each query may see: None (the plain causal case), bool or additive, broadcast to [B, H, T, S].

    A query sees itself, the `window` - 1 tokens before it, and no padding; in a tree, those of them that it follows.
    ALiBi adds -slope × distance instead of 0.
    """
    narrow = window is not None and tokens > window
    if not narrow and slopes is None and padding is None and (tree is not None or time in (1, tokens)):
        return tree
    key = torch.arange(tokens, device=like.device)
    if tree is not None:
        key[-time:] = places(tree)
    distance = key[-time:, None] - key  # [T, S], how far behind the query a key is
    visible = distance >= 0 if tree is None else tree
    if narrow:
        visible = visible & (distance < window)
    if padding is not None:
        # A padding query would see nothing and yield NaN, so every query keeps itself; nobody reads those rows.
        visible = visible & ((key >= padding[:, None, None, None]) | (distance == 0))
    if slopes is None:
        return visible
    # Four axes, [1, H, T, S]: with three PyTorch's kernel for processors would write all scores out.
    return (-slopes.float()[None, :, None, None] * distance).masked_fill(~visible, float("-inf")).to(like.dtype)


def places(tree: Tensor) -> Tensor:
    """Where the new tokens of a tree [T, S] stand, [T]: each behind all that it sees."""
    return tree.sum(-1) - 1
