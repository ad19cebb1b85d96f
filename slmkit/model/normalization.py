"""Normalization: LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.config import ModelConfig


class Norm(nn.Module):
    """Normalizes the last axis of [..., width]; the shape stays.

    LayerNorm subtracts the mean and divides by the standard deviation; RMSNorm only divides by the root mean square.
    Either may have no weight (OLMo), and Gemma stores the weight as its distance from 1. `plain`: no weight here,
    whatever the other norms have.
    """

    def __init__(self, config: ModelConfig, width: int | None = None, *, eps: float | None = None, plain: bool = False):
        super().__init__()
        width, weighted = width or config.d_model, config.norm_weight and not plain
        self.kind, self.eps, self.unit_offset = (
            config.norm,
            eps or config.norm_eps,
            config.norm_unit_offset and weighted,
        )
        start = torch.zeros if self.unit_offset else torch.ones
        self.register_parameter("weight", nn.Parameter(start(width)) if weighted else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(width)) if config.norm_bias and weighted else None)
        self.width = (width,)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._parameters["weight"], self._parameters["bias"]  # see Linear
        if self.unit_offset:
            # In bfloat16, 1 + weight would lose most of the weight, so Gemma's norm computes in fp32.
            wide = torch.promote_types(x.dtype, torch.float32)
            bias = None if bias is None else bias.to(wide)
            return self.normalized(x.to(wide), 1 + weight.to(wide), bias).to(x.dtype)
        return self.normalized(x, weight, bias)

    def normalized(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self.kind == "layernorm":
            return F.layer_norm(x, self.width, weight, bias, self.eps)
        x = F.rms_norm(x, self.width, weight, self.eps)
        return x if bias is None else x + bias
