"""Positions: rotary tables (RoPE), ALiBi slopes. Learned positions are an embedding and live in the decoder."""

import math

import torch
from torch import Tensor, nn

from slmkit.config import ModelConfig, Rotation


class RopeTables(nn.Module):
    """The tables of one rotation, kept with the model; layers that rotate alike share them. Never saved."""

    def __init__(self, config: ModelConfig, rotation: Rotation):
        super().__init__()
        cos, sin = rope_tables(config, rotation)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def at(self, where: slice | Tensor) -> tuple[Tensor, Tensor]:
        """The rows for a slice of positions, each [time, rope_dim]; for positions [batch, time], each with an axis for
        the heads."""
        if isinstance(where, slice):
            return self.cos[where], self.sin[where]
        return self.cos[where][:, None], self.sin[where][:, None]


def rope_tables(config: ModelConfig, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every angle that a rotation uses (by default layer 0's), each [max_context, rope_dim], fp32.

    Pair j at position t turns by t · theta^(-2j / rope_dim) (Su et al. 2021, equation 15). Its two elements are j and
    j + rope_dim / 2, the layout of GPT-NeoX and Llama, so each table has its columns twice; the first sine is negative.
    """
    rotation = rotation or config.rotation(0)
    exponent = torch.arange(0, config.rope_dim, 2, dtype=torch.float32) / config.rope_dim
    frequency, attention_factor = 1.0 / rotation.theta**exponent, 1.0
    if rotation.scaling:
        frequency, attention_factor = _stretched(frequency, rotation, config)
    angle = torch.outer(torch.arange(config.max_context, dtype=torch.float32), frequency)
    cos, sin = angle.cos() * attention_factor, angle.sin() * attention_factor
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def apply_rope(x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Turns the first elements of each head of x [batch, heads, time, head_dim] by the angles in `tables`.

    The tables are rows of `rope_tables`: each [time, rope_dim] or [batch, 1, time, rope_dim]. Elements past rope_dim
    are left as they are.
    """
    cos, sin = tables
    if cos.dtype != x.dtype:
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    width = cos.shape[-1]
    turning = x if width == x.shape[-1] else x[..., :width]
    # (a, b) -> (a cos - b sin, b cos + a sin): every element meets its partner, half a width away, times its sine.
    turned = turning * cos + turning.roll(width // 2, -1) * sin
    return turned if turning is x else torch.cat((turned, x[..., width:]), dim=-1)


def alibi_slopes(n_heads: int) -> Tensor:
    """The penalty per token of distance for each head, [n_heads] (Press et al. 2021, section 3).

    A geometric series from 2^(-8/n); when n is not a power of two, every second term of the next power's series
    fills the rest, as in the authors' code.
    """
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes)


def _stretched(frequency: Tensor, rotation: Rotation, config: ModelConfig) -> tuple[Tensor, float]:
    """Frequencies [rope_dim / 2] after context extension, and the factor on the tables; see RopeScaling."""
    scaling, dim = rotation.scaling, config.rope_dim
    if scaling.kind == "linear":
        return frequency / scaling.factor, 1.0
    j = torch.arange(len(frequency), dtype=torch.float32)  # the pair's index
    if scaling.kind == "ntk":
        return frequency / scaling.factor ** (2 * j / max(dim - 2, 1)), 1.0
    if scaling.kind == "longrope":
        long = config.max_context > scaling.original_context
        by = torch.tensor(scaling.long_factors if long else scaling.short_factors, dtype=torch.float32)
        usual = math.sqrt(1 + math.log(scaling.factor) / math.log(max(scaling.original_context, 2)))
        return frequency / by, scaling.attention_factor or usual
    if scaling.kind == "llama3":
        # Slow pairs (few turns in the original context) are divided, fast ones kept, the band between is blended.
        turns = scaling.original_context * frequency / (2 * math.pi)
        keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        keep, factor = keep.clamp(0, 1), 1.0
    else:
        # YaRN blends along the pair index j instead, between the pairs that make beta_fast and beta_slow turns.
        def pair_with(turns: float) -> float:
            wavelength = scaling.original_context / (turns * 2 * math.pi)
            return dim * math.log(wavelength) / (2 * math.log(rotation.theta))

        low = max(math.floor(pair_with(scaling.beta_fast)), 0)
        high = min(math.ceil(pair_with(scaling.beta_slow)), dim - 1)
        keep = 1 - ((j - low) / (high - low or 0.001)).clamp(0, 1)
        factor = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1.0
    return frequency * keep + frequency / scaling.factor * (1 - keep), factor
