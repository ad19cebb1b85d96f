"""Weights in 8 bits that are read as such: a scale for each 16 weights of a row, and the product compiled by PyTorch.

`slmkit.profiling.calibrated` puts weights at the values of a format and multiplies in 32 bits, to see what quality is
left. Here they stay one byte each, so that a compiled step of decoding reads less than in bfloat16.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.model.decoder import Decoder

GROUP = 16  # weights that share a scale; more of them agree less with fp32 (book/records/LOG.md, 2026-11-30)
LANES = 16  # outputs that are computed side by side: the widest vectors of a processor hold 16 numbers of 32 bits
TOP = -(2**24)  # the mask of the highest byte


class Narrow(nn.Module):
    """[..., inputs] -> [..., outputs], both in fp32, with weight[i, j] = scale[i, j // 16] · code[i, j], a byte a code.

    Four codes are one number of 32 bits. Codes and scales of 16 outputs lie side by side, in the order in which one
    token's product reads them. It pays only in a compiled step, see `compile_decoding`; elsewhere the weights are
    widened first, at each call.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.outputs, self.inputs = weight.shape
        codes, scale = rounded(F.pad(weight, (0, -self.inputs % GROUP, 0, -self.outputs % LANES)))
        fours = codes.view(torch.int32).view(-1, LANES, scale.shape[1], GROUP // 4)
        self.register_buffer("codes", fours.permute(0, 2, 3, 1).contiguous())  # [tiles, groups, 4, lanes]
        # A byte is used where it stands highest in its 32 bits, 2**24 times too large: its sign is right there.
        self.register_buffer("scale", scale.view(-1, LANES, scale.shape[1]).mT[:, :, None].contiguous() / 2**24)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.compiler.is_compiling() and x.numel() == x.shape[-1]):
            return F.linear(x, self.widened(), self.bias)
        codes = self.codes
        x1, x2, x3, x4 = F.pad(x.flatten(), (0, -self.inputs % GROUP)).view(-1, GROUP // 4, 1, 4).unbind(-1)
        low = (codes << 24).float() * x1 + ((codes << 16) & TOP).float() * x2
        high = ((codes << 8) & TOP).float() * x3 + (codes & TOP).float() * x4
        y = ((low + high) * self.scale).sum((1, 2)).flatten()[: self.outputs]
        return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)

    def widened(self) -> Tensor:
        """The weights, [outputs, inputs] in fp32."""
        groups = self.codes.shape[1]
        codes = self.codes.permute(0, 3, 1, 2).contiguous().view(-1, groups, GROUP // 4).view(torch.int8)
        scale = (self.scale * 2**24).permute(0, 3, 1, 2).reshape(-1, groups, 1)
        return codes.float().mul_(scale).flatten(1)[: self.outputs, : self.inputs]


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [outputs, inputs] -> the nearest codes [outputs, inputs], int8, and scale [outputs, inputs / 16].

    The largest weight of a group is at 127. Rounding by text, as in `calibrated.gptq`, gained nothing with a scale a
    row (book/records/LOG.md, 2026-11-29).
    """
    weight = weight.detach().float()
    if not weight.isfinite().all():
        raise ValueError("a weight is not finite; only finite numbers can be quantized")
    groups = weight.unflatten(1, (-1, GROUP))
    scale = (groups.abs().amax(2) / 127).clamp(min=1e-30)
    return (groups / scale[..., None]).round().clamp(-127, 127).to(torch.int8).flatten(1), scale


@torch.inference_mode()
def int8_model(model: Decoder) -> Decoder:
    """A copy of `model` with the linear layers of its blocks and the head in 8 bits, to run on a processor.

    The copy computes in fp32. It can be neither trained nor saved. Raises ValueError on another device and for weights
    that are not finite.
    """
    if (device := model.embedding.weight.device).type != "cpu":
        raise ValueError(f"the model is on {device}; 8-bit weights are read on a processor, use model.cpu()")
    quick = copy.deepcopy(model).float().eval().requires_grad_(False)
    for name, module in list(quick.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            quick.blocks.set_submodule(name, Narrow(module.weight, module.bias))
    head = quick.embedding if quick.head is None else quick.head
    quick.head = Narrow(head.weight, getattr(head, "bias", None))
    return quick


def bytes_read(model: Decoder) -> int:
    """Bytes of the weights that a step of an `int8_model` reads; of the table of embeddings it reads one row."""
    narrow = [buffer for module in model.modules() if isinstance(module, Narrow) for buffer in module.buffers()]
    return sum(x.nbytes for x in [*narrow, *model.parameters()]) - model.embedding.weight.nbytes
