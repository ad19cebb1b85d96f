"""The optimizers: AdamW (Loshchilov and Hutter 2019), and Muon (Jordan 2024) for the matrices inside the blocks."""

import torch

from slmkit.model.decoder import Decoder
from slmkit.training.config import TrainingConfig


def optimizers(model: Decoder, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together own every parameter once; each group's `peak` is its highest learning rate.

    Matrices decay, vectors (norm weights, biases) do not: a norm's weight sets a scale that its layer needs whatever
    its size. Decay is decoupled: a step multiplies a matrix by 1 - rate × weight_decay, apart from the gradient.

    With optimizer = "muon" the matrices inside the blocks take steps whose singular values are all about equal, at
    `muon_rate`. Embedding and head stay with AdamW: their rows are tokens that come up rarely, not directions.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]  # a tied or shared tensor comes once
    matrices = [p for p in parameters if p.dim() >= 2]
    inside = {id(p) for p in model.blocks.parameters()} if config.optimizer == "muon" else set()
    groups = [
        {"params": [p for p in matrices if id(p) not in inside], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=model.embedding.weight.device.type in ("cpu", "cuda", "mps"),  # one pass over memory instead of six
    )
    owners = [adamw]
    if hidden := [p for p in matrices if id(p) in inside]:
        owners.append(torch.optim.Muon(hidden, lr=config.muon_rate, weight_decay=config.weight_decay, momentum=0.95))
    for owner in owners:
        for group in owner.param_groups:
            group["peak"] = group["lr"]
    return owners
