"""The feed-forward network (FFN): standard (two matrices) or gated (three)."""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.config import ModelConfig
from slmkit.model.linear import Linear

ACTIVATION = {
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),  # So et al. 2021, Primer
    "gelu": F.gelu,  # x Φ(x), exact (Hendrycks and Gimpel 2016)
    # 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))); the survey's Figure 2 prints the constant as 0.04715
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,  # x σ(x), also called swish
}


class FeedForward(nn.Module):
    """Maps each position of [batch, time, d_model] on its own: widen to d_ff, bend, narrow back.

    standard: down(act(up x)) (Vaswani et al. 2017).  gated: down(act(gate x) · up x) (Shazeer 2020).
    """

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__()
        d_ff, bias = config.layer(layer).d_ff, config.ffn_bias
        self.gate = Linear(config.d_model, d_ff, bias=bias) if config.ffn == "gated" else None
        self.up = Linear(config.d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, config.d_model, bias=bias)
        self.activation = ACTIVATION[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))
