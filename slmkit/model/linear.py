"""The matrix product with a learned weight, which is most of what a decoder computes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """PyTorch's own, [..., inputs] -> [..., outputs], quicker where its arguments come from.

    PyTorch searches three dictionaries for `self.weight`. In a step of one token that takes half as long as the product
    of a small model, so the weight is taken from where it lies.
    """

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self._parameters["weight"], self._parameters["bias"])


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., inputs], weight [outputs, inputs] -> [..., outputs]

    For one token on a processor a compiler makes of the plain sum one loop over the weights. With AVX-512 it read
    them 1.4 to 2.6 times as fast as PyTorch's own product, with AVX2 it was the slower one in bfloat16
    (book/records/LOG.md, 2026-11-30 and 2026-11-29).
    """
    if torch.compiler.is_compiling() and x.device.type == "cpu" and x.numel() == x.shape[-1]:
        wide = torch.promote_types(x.dtype, torch.float32)
        y = (weight.to(wide) * x.flatten().to(wide)).sum(-1)
        return (y if bias is None else y + bias.to(wide)).to(x.dtype).view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)
