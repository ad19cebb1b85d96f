"""How far a score can be trusted, and whether two scores differ: standard error, bootstrap, McNemar's test, chance."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

DRAWS_AT_ONCE = 2**22  # numbers that the bootstrap draws in one go


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
    right = _values(right, "right", least=2)
    return float(right.std(ddof=1) / math.sqrt(len(right)))


def accuracy_interval(right, level: float = 0.95) -> Interval:
    """The share of `right` [items] and its interval by Wilson's formula. Raises ValueError for other than 0 and 1."""
    right = _values(right, "right")
    if not np.isin(right, (0, 1)).all():
        raise ValueError("right must hold 0 and 1, or False and True; a share is an interval's subject")
    share = float(right.mean())
    return Interval(share, *wilson(share, len(right), level))


def wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of `count` (Wilson 1927): it stays within 0 and 1, for few items and extreme shares too.

    Raises ValueError for a level that is not between 0 and 1.
    """
    z = _z(level)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def chance_corrected(accuracy: float, chance: float) -> float:
    """(accuracy - chance) / (1 - chance): 0 is guessing, 1 is all right, below 0 is worse than guessing."""
    if not 0 <= chance < 1:
        raise ValueError(f"chance is {chance}; it is a share of at least 0 and below 1")
    return (accuracy - chance) / (1 - chance)


def paired_bootstrap(first, second, *, repeats: int = 10_000, level: float = 0.95, seed: int = 0) -> Interval:
    """The difference of two means, first - second, of one value an item each, and its percentile interval.

    Items are drawn with replacement, and both models' values of an item are drawn together (Efron and Tibshirani
    1993): what makes an item hard for both does not widen the interval.
    """
    first, second = _pair(first, second)
    difference, rng, means = first - second, np.random.default_rng(seed), []
    for start in range(0, repeats, step := max(DRAWS_AT_ONCE // len(difference), 1)):
        drawn = rng.integers(len(difference), size=(min(step, repeats - start), len(difference)))
        means.append(difference[drawn].mean(1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high))


def mcnemar(first, second) -> McNemar:
    """McNemar's exact test (1947) on two models' right answers to the same items.

    Only items that one model alone has right say which is better. If both are equally good, each of the two has half of
    them: p is the chance of a split at least as uneven as this one.
    """
    first, second = (values.astype(bool) for values in _pair(first, second))
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return McNemar(b, c, min(1.0, 2 * tail / 2 ** (b + c)))  # whole numbers, so exact however many items


def detectable(items: int, accuracy: float = 0.5, *, agreement: float = 0.0, power: float = 0.8,
               level: float = 0.95) -> float:  # fmt: skip
    """The smallest difference of two accuracies near `accuracy` that a test on `items` items finds with `power`.

    `agreement` is the correlation of the two models' right answers: 0 is the comparison of two independent samples.
    (z(level, two-sided) + z(power)) · √(2 a (1 - a) (1 - agreement) / n), the normal approximation.
    """
    if items < 1 or not 0 < accuracy < 1 or not -1 <= agreement < 1 or not 0 < power < 1:
        raise ValueError(f"items = {items}, accuracy = {accuracy}, agreement = {agreement}, power = {power}: at least "
                         "1 item, shares between 0 and 1, a correlation below 1")  # fmt: skip
    spread = math.sqrt(2 * accuracy * (1 - accuracy) * (1 - agreement) / items)
    return (_z(level) + NormalDist().inv_cdf(power)) * spread


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is between 0 and 1, such as 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)


def _values(values, name: str, least: int = 1) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < least:
        raise ValueError(f"{name} has the shape {list(values.shape)}; it is one value an item, {least} or more")
    return values


def _pair(first, second) -> tuple[np.ndarray, np.ndarray]:
    first, second = _values(first, "first"), _values(second, "second")
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} items; a paired comparison needs the same ones, in one order")
    return first, second
