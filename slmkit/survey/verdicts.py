"""What a measured value, or its interval, says of a claim: the rule of each claim's row and nothing else.

A row has `rule` (above, below or equal), `expected` and `tolerance`, in the unit of its metric. The tolerance is what
the survey's printed digits leave open; where a value is read off a figure, the precision of the reading is added.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

REPRODUCED, UNCLEAR, CONTRADICTED = "reproduced", "not distinguishable at this scale", "contradicted"
OWN_DATA, NOT_TESTABLE = "the survey's own data disagrees", "not testable here"
VERDICTS = (REPRODUCED, UNCLEAR, CONTRADICTED, OWN_DATA, NOT_TESTABLE)
OPEN = "not measured yet"  # what tables show where the verdict is empty
RULES = ("above", "below", "equal")

# Student's t, 97.5% point, for 1 to 30 degrees of freedom; beyond, the expansion in 1/df around the normal's 1.96.
T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the mean of independent `values` (Student's t); one value gives the whole line."""
    if len(values) < 2:
        return -math.inf, math.inf
    df = len(values) - 1
    t = T[df - 1] if df <= len(T) else 1.96 + 2.372 / df + 2.823 / df**2
    half = t * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def verdict(low: float, high: float, rule: str, expected: float, tolerance: float = 0.0) -> str:
    """What the interval [low, high] of the effect says of a claim.

    `above` (`below`): reproduced when the whole interval is above expected + tolerance (below expected - tolerance),
    contradicted when it is wholly below expected - tolerance (above expected + tolerance). `equal`: reproduced when
    the whole interval is within `tolerance` of `expected`, contradicted when it is wholly outside. Otherwise the
    measurement cannot tell. ValueError on an unknown rule or numbers that cannot be judged.
    """
    if rule not in RULES:
        raise ValueError(f"the rule is {rule!r}; it must be one of {', '.join(RULES)}")
    if not low <= high or not tolerance >= 0 or not math.isfinite(expected):
        raise ValueError(f"cannot judge the interval [{low}, {high}] against {expected} ± {tolerance}")
    bottom, top = expected - tolerance, expected + tolerance
    if rule == "below":
        low, high, bottom, top = -high, -low, -top, -bottom
    if rule == "equal":
        if bottom <= low and high <= top:
            return REPRODUCED
        return CONTRADICTED if high < bottom or low > top else UNCLEAR
    if low > top:
        return REPRODUCED
    return CONTRADICTED if high < bottom else UNCLEAR


def judge(claim: Mapping, low: float, high: float) -> str:
    """The verdict of a row of claims.csv. What the survey's own tables contradict is said in other words."""
    found = verdict(low, high, claim["rule"], float(claim["expected"] or 0), float(claim["tolerance"] or 0))
    return OWN_DATA if claim["kind"] == "statistics" and found == CONTRADICTED else found


def digits(value: float) -> str:
    """A measured number for people: four digits, or whole from 10,000 on."""
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def bounds(low: float, high: float) -> str:
    """An interval for people; empty for an exact value."""
    return "" if low == high else f"{digits(low)} to {digits(high)}"
