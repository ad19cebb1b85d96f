"""What test_mup.py and mup_package.py build alike."""

import torch
import torch.nn.functional as F

from slmkit import ModelConfig

VOCAB, RATE = 48, 0.01
CASES = {
    "untied": dict(tied=False, width=96, base=32),
    "tied": dict(tied=True, width=128, base=32),
    "learned positions, biases, grouped": dict(
        tied=False, width=64, base=32, positions="learned", norm="layernorm", qkv_bias=True, out_bias=True,
        ffn_bias=True, ffn="standard", activation="gelu", n_kv_heads=2),
    "narrower than the base": dict(tied=False, width=16, base=32),
}  # fmt: skip


def configuration(width: int, **changes) -> ModelConfig:
    """A standard configuration; four heads, so that their width grows."""
    return ModelConfig(VOCAB, width, 2, 4, d_ff=3 * width, max_context=32, **changes)


def batch(rows: int = 4, tokens: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets drawn with Zipf's frequencies."""
    generator = torch.Generator().manual_seed(1)
    often = 1 / torch.arange(1, VOCAB + 1.0)
    ids = torch.multinomial(often, rows * (tokens + 1), True, generator=generator).view(rows, tokens + 1)
    return ids[:, :-1], ids[:, 1:]


@torch.no_grad()
def given_weights(model):
    """Weights that depend on name and shape alone, so that two libraries start from the same."""
    for i, (name, parameter) in enumerate(sorted(model.named_parameters())):
        if parameter.dim() > 1:
            generator = torch.Generator().manual_seed(i)
            inputs = 1 if "embedding" in name else parameter.shape[1]
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * inputs**-0.5)


def losses_of(model, owner) -> list[float]:
    """Of four steps of the optimizer on one batch, each before its step."""
    inputs, targets = batch()
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        losses.append(loss.item())
        owner.zero_grad()
        loss.backward()
        owner.step()
    return losses
