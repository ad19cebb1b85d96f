"""Numbers with what they leave open: bootstrap intervals, rank correlation, the fit of a straight line."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from slmkit.survey.verdicts import interval

RESAMPLES = 2000
SEED = 0


class Estimate(NamedTuple):
    """A value and the bounds of its 95% interval; for an exact value both are the value."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, found) -> "Estimate":
        """An Estimate as it is; a plain number without spread, freed of the last bits that arithmetic leaves."""
        return found if isinstance(found, Estimate) else cls(*[round(float(found), 9)] * 3)


def bootstrap(statistic: Callable[..., float], *columns: Sequence[float], within: bool = False) -> Estimate:
    """`statistic` of the columns, with the 2.5 and 97.5% points over resamples of their rows (Efron 1979).

    The columns are paired: row i of each belongs to one model. With `within` the first column names groups, and each
    keeps its size in every resample. The seed is fixed: the same data, the same bounds.
    """
    arrays = [np.asarray(column, float) for column in columns]
    source = np.random.default_rng(SEED)
    names = arrays[0] if within else np.zeros(len(arrays[0]))
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    found = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([group[source.integers(0, len(group), len(group))] for group in groups])
        found.append(statistic(*(array[rows] for array in arrays)))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Estimate(float(statistic(*arrays)), float(low), float(high))


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of the first group minus mean of the second, with a bootstrap over each group on its own."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    source = np.random.default_rng(SEED)
    means = [source.choice(group, (RESAMPLES, len(group))).mean(axis=1) for group in (a, b)]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    return Estimate(float(a.mean() - b.mean()), float(low), float(high))


def student(values: Sequence[float]) -> Estimate:
    """The mean of independent values with Student's interval."""
    return Estimate(fmean(values), *interval(values))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's correlation: 1 when y rises wherever x does, whatever the shape."""
    return correlation(_ranks(x), _ranks(y))


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's correlation; nan when a column is constant, as it may be in a resample."""
    x, y = np.asarray(x, float) - np.mean(x), np.asarray(y, float) - np.mean(y)
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale else float("nan")


def fit(x: Sequence[float], y: Sequence[float]) -> float:
    """R² of a straight line through the points."""
    return correlation(x, y) ** 2


def scatter(x: Sequence[float], y: Sequence[float]) -> float:
    """Standard deviation of y around its line in x."""
    return float(np.std(residuals(x, y)))


def residuals(x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """What a straight line through the points leaves of y."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return y - np.polyval(np.polyfit(x, y, 1), x)


def _ranks(values: Sequence[float]) -> np.ndarray:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, places, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]
