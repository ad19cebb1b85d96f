"""The optimizer: AdamW (Loshchilov and Hutter 2019), with weight decay where it belongs."""

import torch

from slmkit.model.decoder import Decoder
from slmkit.training.config import TrainingConfig


def adamw(model: Decoder, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over two groups: matrices decay, vectors (norm weights, biases) do not.

    A norm's weight sets a scale that its layer needs whatever its size, so pulling it to zero only disturbs. Decay is
    decoupled: each step multiplies a matrix by 1 - rate × weight_decay, apart from the gradient.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]  # a tied or shared tensor comes once
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=model.embedding.weight.device.type in ("cpu", "cuda", "mps"),  # one pass over memory instead of six
    )
