"""The optimizers: AdamW (Loshchilov and Hutter 2019), and Muon (Jordan 2024) for the matrices inside the blocks."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from slmkit.model.decoder import Decoder
from slmkit.training import mup
from slmkit.training.config import TrainingConfig


def optimizers(model: Decoder, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together own every parameter once; each group's `peak` is its highest learning rate.

    Matrices decay, vectors (norm weights, biases) do not: a norm's weight sets a scale that its layer needs whatever
    its size. Decay is decoupled: a step multiplies a matrix by 1 - rate × weight_decay, apart from the gradient.

    With optimizer = "muon" the matrices inside the blocks take steps whose singular values are all about equal, at
    `muon_rate`. Embedding and head stay with AdamW: their rows are tokens that come up rarely, not directions.

    With `mup_base` each parameter's rate has its factor, and rate × weight decay stays what it is at the base width.
    """
    factors = mup.multipliers(model, config.mup_base) if config.mup_base else {}
    # By parameter; a tied or shared tensor comes once.
    factor = {p: factors.get(name, 1.0) for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(factor)
    matrices = [p for p in parameters if p.dim() >= 2]
    inside = {id(p) for p in model.blocks.parameters()} if config.optimizer == "muon" else set()
    groups = [
        {"params": [p for p in matrices if id(p) not in inside and factor[p] == one],
         "lr": config.learning_rate * one, "weight_decay": config.weight_decay / one}
        for one in dict.fromkeys(factor.values())
    ]  # fmt: skip
    groups.append({"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0})
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=model.embedding.weight.device.type in ("cpu", "cuda", "mps"),  # one pass over memory instead of six
    )
    owners = [adamw]
    if hidden := [p for p in matrices if id(p) in inside]:
        owners.append(Muon(hidden, lr=config.muon_rate, weight_decay=config.weight_decay, momentum=0.95))
    for owner in owners:
        for group in owner.param_groups:
            group["peak"] = group["lr"]
    return owners


class Muon(torch.optim.Muon):
    """torch's, which makes the singular values of a step alike by products in bfloat16. A processor without
    instructions for that type takes ten times as long for them as in fp32, and gets fp32 here."""

    def step(self, closure=None):
        with _InFp32(enabled=not multiplies_bf16(self.param_groups[0]["params"][0].device)):
            return super().step(closure)


class _InFp32(TorchFunctionMode):
    """While it is on, `tensor.bfloat16()` copies and does not convert."""

    def __init__(self, enabled: bool):
        super().__init__()
        self.enabled = enabled

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if self.enabled and function is Tensor.bfloat16:
            return args[0].clone()
        return function(*args, **(kwargs or {}))


def multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for products in bfloat16."""
    return device.type != "cpu" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
