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


class Narrow(nn.Module):
    """[..., inputs] -> [..., outputs], both in fp32, with weights of a byte each and a scale for each 16 of a row.

    Four codes are the bytes of one number of 32 bits. A code is read with those below it as its fraction, which saves
    masking them away; `packed` rounds the next code to make up for it. Codes and scales of 16 outputs lie side by side,
    in the order in which one token's product reads them. It pays only in a compiled step, see `compile_decoding`;
    elsewhere the weights are widened first, at each call.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.outputs, self.inputs = weight.shape
        codes, scale = packed(F.pad(weight, (0, -self.inputs % GROUP, 0, -self.outputs % LANES)))
        # [tiles, groups, 4, lanes] and [tiles, groups, 1, lanes]
        self.register_buffer("codes", codes.unflatten(0, (-1, LANES)).permute(0, 2, 3, 1).contiguous())
        self.register_buffer("scale", scale.unflatten(0, (-1, LANES)).mT[:, :, None].contiguous())
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.compiler.is_compiling() and x.numel() == x.shape[-1]):
            return F.linear(x, self.widened(), self.bias)
        x1, x2, x3, x4 = F.pad(x.flatten(), (0, -self.inputs % GROUP)).view(-1, GROUP // 4, 1, 4).unbind(-1)
        w1, w2, w3, w4 = unpacked(self.codes)
        y = (((w1 * x1 + w2 * x2) + (w3 * x3 + w4 * x4)) * self.scale).sum((1, 2)).flatten()[: self.outputs]
        return (y if self.bias is None else y + self.bias).view(*x.shape[:-1], -1)

    def widened(self) -> Tensor:
        """The weights, [outputs, inputs] in fp32, written column by column, which is quickest."""
        codes, scale = (buffer.permute(1, 2, 0, 3) for buffer in (self.codes, self.scale))
        weights = torch.stack(unpacked(codes), 2).mul_(scale[:, :, None])  # [groups, 4, 4, tiles, lanes]
        return weights.flatten(3).flatten(0, 2)[: self.inputs, : self.outputs].mT


def packed(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [outputs, inputs] -> codes [outputs, inputs / 16, 4], int32, and scale [outputs, inputs / 16].

    The largest weight of a group is at 127, so that no fraction, at most 0.498, rounds a code beyond it. Rounding by
    text, as in `calibrated.gptq`, gained nothing with a scale a row (book/records/LOG.md, 2026-11-29).
    """
    weight = weight.detach().float()
    if not weight.isfinite().all():
        raise ValueError("a weight is not finite; only finite numbers can be quantized")
    groups = weight.unflatten(1, (-1, GROUP))
    scale = (groups.abs().amax(2) / 127).clamp(min=1e-30)
    codes = torch.zeros_like(groups[..., ::4], dtype=torch.int32)
    for i, exact in enumerate((groups / scale[..., None]).unflatten(2, (-1, 4)).unbind(-1)):
        fraction = codes / 256**i
        codes += (exact - fraction).round().int() << 8 * i
    return codes, scale / 2**24


def unpacked(codes: Tensor) -> list[Tensor]:
    """The four weights in each number, as multiples of the scale."""
    return [(codes << shift).float() for shift in (24, 16, 8, 0)]


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
