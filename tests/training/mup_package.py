"""Writes mup_package.json: what the authors' package does to slmkit's decoders. test_mup.py compares.

    pip install --no-deps mup==1.0.0 pyyaml        # MIT; its declared dependencies include torchvision, unused here
    python tests/training/mup_package.py

For each case, by parameter: Adam's rate and decay (for 1 and 1), the factor on the start's weights; then the factor on
the logits, and the losses of a few steps from given weights.
"""

import json
from pathlib import Path

import mup as package
import torch
from mup_cases import CASES, RATE, configuration, given_weights, losses_of

from slmkit import Decoder


def prepared(tied: bool, width: int, **changes) -> Decoder:
    """A decoder of the standard parametrisation whose head is the package's."""
    model = Decoder(configuration(width, tied_embeddings=tied, **changes))
    if tied:
        model.head = package.MuSharedReadout(model.embedding.weight, bias=False)
    else:
        readout = package.MuReadout(model.config.d_model, model.config.vocab_size, bias=False)
        readout.weight.data.copy_(model.head.weight.data)
        model.head = readout
    return model


def measured(tied: bool, width: int, base: int, **changes) -> dict:
    model = prepared(tied, width, **changes)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    package.set_base_shapes(model, prepared(tied, base, **changes), delta=prepared(tied, 2 * base, **changes))
    factors = {name: _ratio(p.detach(), before[name]) for name, p in model.named_parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    owner = package.MuAdamW(model.parameters(), lr=1.0, weight_decay=1.0)
    groups = {names[id(p)]: group for group in owner.param_groups for p in group["params"]}
    found = {name: [groups[name]["lr"], groups[name]["weight_decay"], factors[name]] for name in groups}
    given_weights(model)
    # 1/d, equal to 1/√d at the base: the package leaves this to the model's author.
    for block in model.blocks:
        block.attention.scale = (width / base) ** -0.5 * block.attention.head_dim**-0.5
    owner = package.MuAdamW(model.parameters(), lr=RATE, weight_decay=0.1)
    losses = losses_of(model, owner)
    return {"parameters": found, "logits": 1 / model.head.width_mult(), "losses": losses}


def _ratio(after: torch.Tensor, before: torch.Tensor) -> float:
    return (after.norm() / before.norm()).item() if before.norm() > 0 else 1.0


if __name__ == "__main__":
    made = {name: measured(**case) for name, case in CASES.items()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")
