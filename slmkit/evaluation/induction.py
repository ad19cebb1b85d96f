"""In-context learning at its smallest: repeated sequences, and the heads of attention that continue them.

A row is a random piece repeated. What comes next in the first round cannot be known; from then on it can, by finding
the token's earlier place and copying what stood behind it: an induction head (Olsson et al. 2022).
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slmkit.model.attention import Attention, attention_mask, split_heads
from slmkit.model.decoder import Decoder
from slmkit.model.positions import apply_rope

Head = tuple[int, int]  # layer and place in the layer


@dataclass(frozen=True)
class Repeats:
    """An endless stream of rows, for `slmkit.train`. Each row repeats a piece of different tokens, drawn for it.

    The length of the piece differs from row to row, so that no fixed distance leads to the token's earlier place.
    """

    vocab_size: int
    shortest: int  # tokens of a piece
    longest: int

    def __post_init__(self):
        if not 2 <= self.shortest <= self.longest <= self.vocab_size:
            raise ValueError(f"pieces of {self.shortest} to {self.longest} different tokens cannot be drawn from a "
                             f"vocabulary of {self.vocab_size}")  # fmt: skip

    @property
    def content(self) -> tuple[Tensor, ...]:
        """What a batch depends on beside its seed and step."""
        return (torch.tensor([self.vocab_size, self.shortest, self.longest]),)

    def rows(self, rng: np.random.Generator, count: int, length: int) -> tuple[Tensor, Tensor]:
        """Tokens [count, length], int64, and the length of each row's piece [count]."""
        periods = rng.integers(self.shortest, self.longest, size=count, endpoint=True)
        pieces = rng.random((count, self.vocab_size)).argsort(1)
        places = np.arange(length) % periods[:, None]
        return torch.from_numpy(np.take_along_axis(pieces, places, 1)), torch.from_numpy(periods)

    def held_out(self, count: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Rows that no batch has: drawn from another branch of the generator."""
        return self.rows(np.random.default_rng((1, seed)), count, length)

    def batches(self, batch_size: int, context: int, seed: int = 0):
        def batch(step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
            ids, _ = self.rows(np.random.default_rng((0, seed, step)), batch_size, context + 1)
            return ids[part, :-1], ids[part, 1:]

        return batch


@torch.no_grad()
def accuracy(model: Decoder, ids: Tensor, periods: Tensor) -> tuple[float, float]:
    """Share of right next tokens in ids [rows, time]: within the first round, and after it, where a row repeats."""
    right = model(ids[:, :-1]).argmax(-1) == ids[:, 1:]
    again = torch.arange(1, ids.shape[1]) > periods[:, None]  # a place whose token stood in the row before
    return right[~again].float().mean().item(), right[again].float().mean().item()


class Change(NamedTuple):
    """When a model came to know what only the context tells."""

    before: float  # accuracy at three quarters of the steps at which half is first right
    after: float  # at the end
    half: int  # steps at which half is first right; the run's if it never is
    took: int  # steps from 20% to 90%


class Watch:
    """Asks a model in training for the rows `held`, ids and periods, every so many steps: for `train(on_step=…)`."""

    def __init__(self, model: Decoder, held: tuple[Tensor, Tensor], every: int):
        self.model, self.held, self.every = model, held, every
        self.steps: list[int] = []
        self.first: list[float] = []  # accuracy in the first round, where there is nothing to know
        self.again: list[float] = []  # accuracy after it

    def __call__(self, history):
        if len(history.losses) % self.every == 0:
            first, again = accuracy(self.model, *self.held)
            self.steps.append(len(history.losses))
            self.first.append(first)
            self.again.append(again)

    def change(self) -> Change:
        """ValueError when nothing was asked yet."""
        if not self.steps:
            raise ValueError(f"the run had fewer steps than {self.every}, so nothing was asked; ask more often")
        steps, right = self.steps, np.array(self.again)
        at = {share: int(np.argmax(right >= share)) if right.max() >= share else -1 for share in (0.2, 0.5, 0.9)}
        early = [accuracy for step, accuracy in zip(steps, self.again) if step <= 0.75 * steps[at[0.5]]]
        before = early[-1] if early else self.again[0]
        return Change(before, self.again[-1], steps[at[0.5]], steps[at[0.9]] - steps[at[0.2]])


@torch.no_grad()
def attention_patterns(model: Decoder, ids: Tensor) -> list[Tensor]:
    """What each layer's heads attend to while `model` reads ids [rows, time]: [rows, heads, time, time] a layer.

    Queries and keys are computed again beside the model's own attention, which keeps no pattern. For full attention
    without norms on queries and keys; ValueError for others.
    """
    if model.config.attention != "full" or model.config.qk_norm or model.config.score_cap:
        raise ValueError("patterns are read from full attention without qk_norm and score_cap")
    patterns = []

    def keep(module: Attention, inputs):
        x, reading, _ = inputs
        q, k = split_heads(module.q(x), module.head_dim), split_heads(module.k(x), module.head_dim)
        if reading.rope is not None:
            q, k = apply_rope(q, reading.rope), apply_rope(k, reading.rope)
        scores = (q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).transpose(-1, -2)).float() * module.scale
        mask = attention_mask(q.shape[2], q.shape[2], module.window, module.slopes, None, q)
        if mask is None:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        patterns.append(scores.softmax(-1))

    hooks = [block.attention.register_forward_pre_hook(keep) for block in model.blocks]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return patterns


def prefix_matching(pattern: Tensor, ids: Tensor) -> Tensor:
    """The attention of each head that falls on tokens which stand right behind an earlier copy of the present token.

    pattern [rows, heads, time, time], ids [rows, time] -> [heads], the mean over places whose token came before.
    """
    same = (ids[:, :, None] == ids[:, None, :]).tril(-1)  # [rows, query, an earlier copy]
    behind = same.roll(1, -1) & torch.ones_like(same).tril()
    behind[..., 0] = False
    seen = same.any(-1)
    on_target = (pattern * behind[:, None]).sum(-1)  # [rows, heads, time]
    return (on_target * seen[:, None]).sum((0, 2)) / seen.sum()


def previous_token(pattern: Tensor) -> Tensor:
    """The mean attention of each head to the token right before: [rows, heads, time, time] -> [heads]"""
    return pattern.diagonal(-1, -2, -1).mean((0, 2))


def scores(model: Decoder, ids: Tensor) -> tuple[Tensor, Tensor]:
    """prefix_matching and previous_token of all heads, each [layers, heads]."""
    patterns = attention_patterns(model, ids)
    return torch.stack([prefix_matching(p, ids) for p in patterns]), torch.stack([previous_token(p) for p in patterns])


@contextmanager
def ablated(model: Decoder, heads: Iterable[Head]) -> Iterator[None]:
    """Within it, these heads add nothing: what they hand to the output projection is set to zero."""
    hooks = []

    def silence(width: int, head: int):
        def hook(_, inputs):
            x = inputs[0].clone()
            x[..., head * width : (head + 1) * width] = 0
            return (x,)

        return hook

    try:
        for layer, head in heads:
            attention = model.blocks[layer].attention
            if not 0 <= head < attention.out.in_features // attention.head_dim:
                raise ValueError(f"layer {layer} has no head {head}")
            hooks.append(attention.out.register_forward_pre_hook(silence(attention.head_dim, head)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


class Silenced(NamedTuple):
    """Accuracy after the first round, with some heads silenced."""

    heads: int  # how many
    all: float  # none silenced
    without_induction: float
    without_previous: float  # without those that look at the token right before, however many there are
    without_others: float  # without as many that are neither, the mean of the draws


def silence(
    model: Decoder, ids: Tensor, periods: Tensor, draws: int = 5, seed: int = 0, least: float = 0.5
) -> Silenced:
    """Finds the heads whose score is `least` or more on the rows ids [rows, time], and silences them.

    Of the induction heads, those with the highest scores, at most as many as there are others to compare with.
    """
    matching, previous = scores(model, ids[:, :-1])
    heads = sorted(np.ndindex(*matching.shape), key=lambda head: -matching[head])
    found, before = ([head for head in heads if score[head] >= least] for score in (matching, previous))
    others = [head for head in heads if head not in found and head not in before]
    count, rng = min(len(found), len(others)), random.Random(seed)

    def without(silent: Iterable[Head]) -> float:
        with ablated(model, silent):
            return accuracy(model, ids, periods)[1]

    drawn = [without(rng.sample(others, count)) for _ in range(draws)]
    return Silenced(count, without([]), without(found[:count]), without(before), fmean(drawn))
