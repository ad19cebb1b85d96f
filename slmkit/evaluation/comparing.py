"""How far a score can be trusted, and whether two scores differ: standard error, bootstrap, McNemar's test, chance."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    value: float
    low: float
    high: float


class McNemar(NamedTuple):
    only_first: int  # items that the first model alone has right
    only_second: int
    p: float  # two-sided, exact


def standard_error(right) -> float:
    """Standard error of the mean of `right` [items]: the sample's deviation over √n, as lm-eval reports it."""
    raise NotImplementedError


def accuracy_interval(right, level: float = 0.95) -> Interval:
    """A share and its interval by Wilson's formula (1927), which stays within 0 and 1 for few items and extreme
    shares."""
    raise NotImplementedError


def chance_corrected(accuracy: float, chance: float) -> float:
    """(accuracy - chance) / (1 - chance): 0 is guessing, 1 is all right, below 0 is worse than guessing."""
    raise NotImplementedError


def paired_bootstrap(first, second, *, repeats: int = 10_000, level: float = 0.95, seed: int = 0) -> Interval:
    """The difference of two means, first - second, of one value an item each, and its percentile interval.

    Items are drawn with replacement, and both models' values of an item are drawn together (Efron and Tibshirani
    1993): what makes an item hard for both does not widen the interval.
    """
    raise NotImplementedError


def mcnemar(first, second) -> McNemar:
    """McNemar's exact test (1947): of the items that only one of two models has right, each has half? p is the chance
    of a split at least as uneven when both are equally good."""
    raise NotImplementedError


def detectable(items: int, accuracy: float = 0.5, *, agreement: float = 0.0, power: float = 0.8,
               level: float = 0.95) -> float:  # fmt: skip
    """The smallest difference of two accuracies near `accuracy` that a test on `items` items finds with `power`.

    `agreement` is the correlation of the two models' right answers: 0 is the comparison of two independent samples.
    """
    raise NotImplementedError


def rank_intervals(scores: dict[str, np.ndarray], *, repeats: int = 10_000, seed: int = 0) -> dict[str, Interval]:
    """Each model's rank (1 is best) on shared items, with its bootstrap interval; `scores` has an array [items] a
    model."""
    raise NotImplementedError
