"""The coordinate check: whether a parametrisation is right, seen in a few steps (Yang et al. 2022, appendix D.1).

Models of several widths train for some steps. In a right µP no activation grows with the width, and training changes
each by as much at every width. An error in one rule bends the slope of one of them by a half or by one.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from slmkit.model.attention import Attention, split_heads
from slmkit.model.decoder import Decoder

if TYPE_CHECKING:
    import pandas


class Expected(NamedTuple):
    """Slopes of log size against log width: of sizes at the start, and the range for changes by training."""

    start: float
    lowest: float
    highest: float


# Random vectors meet in scores and logits at the start, so their products, divided by the width, fall like 1/√width.
# What training adds is aligned and stays; of the change, too, a part falls at first. All else is flat.
FLAT, FALLING = Expected(0, 0, 0), Expected(-1 / 2, -1 / 2, 0)
EXPECTED = {"embedding": FLAT, "scores": FALLING, "attention": FLAT, "ffn": FLAT, "logits": FALLING}
TOLERANCE = 0.25  # on each slope: half of 1/2, the least by which an error moves one of them


def coordinate_check(
    make: Callable[[int], tuple[Decoder, Sequence[torch.optim.Optimizer]]],
    widths: Sequence[int],
    batch: tuple[Tensor, Tensor],
    steps: int = 5,
    seeds: Sequence[int] = (0,),
) -> "pandas.DataFrame":
    """Trains models of several widths for a few steps on one batch and measures, before each step and after the last,
    how large their coordinates are.

    `make(width)` gives a model and the optimizers that own its parameters; `batch` is inputs and targets, each [rows,
    tokens]. A row of the result: width, seed, step, what (embedding and logits; scores, attention and ffn of each
    layer, as in "ffn 0"), size (mean of the absolute values) and change (the same of the difference from step 0).
    """
    import pandas

    rows = []
    for width in widths:
        for seed in seeds:
            torch.manual_seed(seed)
            model, owners = make(width)
            first = {}
            for step in range(steps + 1):
                with outputs(model) as seen:
                    logits = model(batch[0])
                for what, value in seen.items():
                    change = value - first.setdefault(what, value)
                    rows.append((width, seed, step, what, value.abs().mean().item(), change.abs().mean().item()))
                if step < steps:
                    F.cross_entropy(logits.flatten(0, 1).float(), batch[1].flatten()).backward()
                    for owner in owners:
                        owner.step()
                        owner.zero_grad(set_to_none=True)
    return pandas.DataFrame(rows, columns=["width", "seed", "step", "what", "size", "change"])


def slopes(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Slopes of log size against log width, a row for each `what`: `start`, of sizes at step 0, and `trained`, of
    changes at the last step. 0 is flat, 1 grows as the width does. Seeds are averaged as logarithms."""
    import pandas

    ends = {"start": table[table.step == 0].assign(value=table["size"]),
            "trained": table[table.step == table.step.max()].assign(value=table.change)}  # fmt: skip
    found = {name: {what: _slope(part) for what, part in rows.groupby("what", sort=False)}
             for name, rows in ends.items()}  # fmt: skip
    return pandas.DataFrame(found)


def faults(table: "pandas.DataFrame", grow: str = "head_dim") -> list[str]:
    """What a coordinate check finds wrong, a line each; empty when every slope lies within TOLERANCE of EXPECTED.

    `grow` as in `widened`: scores fall at the start only where heads become wider.
    """
    found = []
    for what, (start, trained) in slopes(table).iterrows():
        part = what.split()[0]
        wanted = FLAT if part == "scores" and grow == "n_heads" else EXPECTED[part]
        if not abs(start - wanted.start) <= TOLERANCE:
            found.append(f"{what}: at the start the slope is {start:+.2f}, not {wanted.start:+.2f}")
        if not wanted.lowest - TOLERANCE <= trained <= wanted.highest + TOLERANCE:
            between = f"{wanted.lowest:+.2f} to {wanted.highest:+.2f}" if wanted.lowest != wanted.highest else "flat"
            found.append(f"{what}: training changes it with slope {trained:+.2f}, not {between}")
    return found


def _slope(rows: "pandas.DataFrame") -> float:
    x, y = rows.width.map(math.log), rows.value.map(math.log)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


@contextmanager
def outputs(model: Decoder) -> Iterator[Mapping[str, Tensor]]:
    """What the parts of `model` give in the forward passes made inside, by the names of `coordinate_check`.

    Of the scores only those of a token with itself are read: rotary positions leave them as they are.
    """
    seen, hooks = {}, []

    def keep(module, name):
        hooks.append(module.register_forward_hook(lambda _, __, y: seen.update({name: y.detach()})))

    def keep_scores(attention, name):
        sides = {}
        for side in ("q", "k"):  # a norm, where there is one, runs after the product and takes its place
            for module in filter(None, (getattr(attention, side), getattr(attention, f"{side}_norm"))):
                hooks.append(module.register_forward_hook(lambda _, __, y, side=side: sides.update({side: y.detach()})))
        hooks.append(attention.register_forward_hook(lambda *_: seen.update({name: _own_scores(attention, **sides)})))

    keep(model.embedding, "embedding")
    for i, block in enumerate(model.blocks):
        keep_scores(block.attention, f"scores {i}")
        keep(block.attention, f"attention {i}")
        keep(block.ffn, f"ffn {i}")
    keep(model, "logits")
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _own_scores(attention: Attention, q: Tensor, k: Tensor) -> Tensor:
    """[batch, heads, time]: query · key · scale of each token with itself."""
    q, k = (x if x.dim() == 4 else split_heads(x, attention.head_dim) for x in (q, k))
    return (q * k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)).sum(-1) * attention.scale
