"""Mixing: batches drawn from several token rows in given proportions, again a function of (seed, step) alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from slmkit.data.packing import Batches, TokenRow

UNIT = 2**32  # weights are whole multiples of 1/UNIT, so that counting is exact however many rows were drawn
NONE = MappingProxyType({})
APART = 1_000_003  # between the seeds of two sources, which shall not be read in the same order


@dataclass(frozen=True)
class Mixture:
    """Token rows by name, each with its weight; weights need not add up to 1. Takes the place of a row to train on.

    A weight is the share of the batches' rows, whatever the length of its source: a small one is read many times.
    Raises ValueError for weights that are no proportions and for sources of different tokenizers.
    """

    sources: Mapping[str, tuple[TokenRow, float]]

    def __post_init__(self):
        check_weights({name: weight for name, (_, weight) in self.sources.items()})
        if len({row.tokenizer for row, _ in self.sources.values()}) > 1:
            made = ", ".join(f"{name} {row.tokenizer[:8]}" for name, (row, _) in self.sources.items())
            raise ValueError(f"the sources come from different tokenizers ({made}); pack them all with one")

    @property
    def vocab_size(self) -> int:
        return max(row.vocab_size for row, _ in self.sources.values())

    @property
    def content(self) -> tuple[Tensor, ...]:
        """All that a batch depends on beside its seed and step; see training/kept.py."""
        facts = [(len(row), weight) for row, weight in self.sources.values()]
        return (torch.tensor(facts, dtype=torch.float64), *(row.tokens for row, _ in self.sources.values()))

    def batches(self, batch_size: int, context: int, seed: int = 0) -> "MixedBatches":
        return MixedBatches(self, batch_size, context, seed)


class MixedBatches:
    """Batches of a mixture, called as `packing.Batches` are; an epoch of a source visits each of its windows once.

    Every row of a batch has one source. After any number of rows each source has had its share of them, to within the
    number of sources (evenly spread as the pixels of Bresenham's line are); the seed moves where its turns fall.
    """

    def __init__(self, mixture: Mixture, batch_size: int, context: int, seed: int = 0, earlier: Mapping = NONE):
        """`earlier`: how many rows of a source an earlier stage of the run has had (see training/stages.py)."""
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size} must be at least 1")
        self.batch_size, self.context = batch_size, context
        seeds = {name: seed + APART * i for i, name in enumerate(mixture.sources)}
        drawn = {name: source for name, source in mixture.sources.items() if source[1] > 0}
        self.sources = [_windows(name, row, context, seeds[name]) for name, (row, _) in drawn.items()]
        self.names = list(drawn)
        self._earlier = [earlier.get(name, 0) for name in drawn]
        left = np.cumsum([weight for _, weight in drawn.values()][::-1])[::-1].tolist()
        # Of the rows that the sources before it leave, a source takes this share; the last takes all.
        self._shares = [round(UNIT * weight / rest) for (_, weight), rest in zip(drawn.values(), left)][:-1]
        self._shifts = np.random.default_rng(seed).integers(UNIT, size=len(self._shares)).tolist()

    def __call__(self, step: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `step` (from 0), each [batch_size, context], int64; `part` selects rows."""
        first = step * self.batch_size
        drawn = [self._place(i) for i in range(first, first + self.batch_size)[part]]
        rows = [self.sources[source](self._earlier[source] + place) for source, place in drawn]
        return torch.cat([inputs for inputs, _ in rows]), torch.cat([targets for _, targets in rows])

    def proportions(self, steps: int) -> dict[str, float]:
        """The share that each source has of the rows of the first `steps` steps."""
        return {name: count / (steps * self.batch_size) for name, count in self.rows(steps).items()}

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each source has been read after `steps` steps."""
        return {name: n / source.windows for (name, n), source in zip(self.rows(steps).items(), self.sources)}

    def rows(self, steps: int) -> dict[str, int]:
        """The rows that each source has of the first `steps` steps."""
        return dict(zip(self.names, self._counts(steps * self.batch_size)))

    def _counts(self, rows: int) -> list[int]:
        """How many of the first `rows` rows each source has."""
        counts = []
        for share, shift in zip(self._shares, self._shifts):
            counts.append((rows * share + shift) // UNIT)
            rows -= counts[-1]
        return [*counts, rows]

    def _place(self, i: int) -> tuple[int, int]:
        """The source of the i-th row ever drawn, and how many rows that source has had before."""
        before, after = self._counts(i), self._counts(i + 1)
        source = next(k for k, (a, b) in enumerate(zip(before, after)) if b > a)
        return source, before[source]


def check_weights(weights: Mapping[str, float]):
    """Raises ValueError when `weights` by name are no proportions."""
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"the weight of {name!r} is {weight}; it must be 0 or more, and finite")
    if not any(weights.values()):
        raise ValueError(f"a mixture needs a source with a weight above 0; it has {list(weights) or 'none'}")


def _windows(name: str, row: TokenRow, context: int, seed: int) -> Batches:
    try:
        return Batches(row, 1, context, seed)
    except ValueError as error:
        raise ValueError(f"source {name!r} of the mixture: {error}") from None
