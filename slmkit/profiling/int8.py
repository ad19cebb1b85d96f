"""Weights in 8 bits that are read as such: a scale for each row, and the product by PyTorch's own kernel.

`slmkit.profiling.calibrated` puts weights at the values of a format and multiplies in 32 bits, to see what quality is
left. Here they stay one byte each, so that a step of decoding reads less than in bfloat16.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slmkit.model.decoder import Decoder

FEW = 4  # rows up to which the narrow kernels are the faster way
STEP = 16  # PyTorch's kernel for codes reads as many inputs at once, and past the end of a row if it must


class Narrow(nn.Module):
    """[..., inputs] -> [..., outputs] with few bytes a weight: in 16 bits, or weight[i, j] = scale[i] · codes[i, j].

    The kernel for codes wants bfloat16, that for 16 bits the type of the weight, so x and the product are rounded to
    it; what surrounds the layer may be wider, and is the better for it. Many rows are multiplied in fp32, from the same
    numbers: few processors multiply 16 bits fast.
    """

    def __init__(self, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None):
        super().__init__()
        if scale is not None:
            weight = F.pad(weight, (0, -weight.shape[1] % STEP))  # zeros
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, scale, bias = self._buffers["weight"], self._buffers["scale"], self._buffers["bias"]
        narrow = weight.dtype if scale is None else torch.bfloat16
        rows = x.reshape(-1, x.shape[-1]).to(narrow)
        if more := weight.shape[1] - rows.shape[1]:
            rows = F.pad(rows, (0, more))
        if len(rows) > FEW:
            y = F.linear(rows.float(), weight.float())
            y = (y if scale is None else y * scale.float()).to(narrow)
        else:
            y = F.linear(rows, weight) if scale is None else torch._weight_int8pack_mm(rows, weight, scale)
        y = y.to(x.dtype)
        return (y if bias is None else y + bias).view(*x.shape[:-1], -1)


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [outputs, inputs] -> the nearest codes, int8, and scale [outputs]: the largest weight of a row at 127.

    Rounding by text, as in `calibrated.gptq`, gained nothing here (book/records/LOG.md, 2026-11-29).
    """
    weight = weight.detach().float()
    if not weight.isfinite().all():
        raise ValueError("a weight is not finite; only finite numbers can be quantized")
    scale = (weight.abs().amax(1) / 127).clamp(min=1e-30).bfloat16()
    return (weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


@torch.inference_mode()
def int8_model(model: Decoder) -> Decoder:
    """A copy of `model` with the linear layers of its blocks in 8 bits and the head in 16, to run on a processor.

    Between the products the copy computes in fp32. It can be neither trained nor saved. Raises ValueError on another
    device and for weights that are not finite.
    """
    if (device := model.embedding.weight.device).type != "cpu":
        raise ValueError(f"the model is on {device}; PyTorch's 8-bit product is for a processor, use model.cpu()")
    quick = copy.deepcopy(model).float().eval().requires_grad_(False)
    for name, module in list(quick.blocks.named_modules()):
        if isinstance(module, nn.Linear):
            quick.blocks.set_submodule(name, Narrow(*rounded(module.weight), module.bias))
    head = quick.embedding if quick.head is None else quick.head
    # Logits in bfloat16 come in steps of an eighth from 16 on, and tie; float16 holds three bits more.
    quick.head = Narrow(head.weight.half(), bias=getattr(head, "bias", None))
    return quick


def bytes_read(model: Decoder) -> int:
    """Bytes of the weights that a step of an `int8_model` reads; of the table of embeddings it reads one row."""
    narrow = [buffer for module in model.modules() if isinstance(module, Narrow) for buffer in module.buffers()]
    return sum(x.nbytes for x in [*narrow, *model.parameters()]) - model.embedding.weight.nbytes
