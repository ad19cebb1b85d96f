"""What the survey's own data say of its claims: DECIDED, claim id -> function returning a number or an Estimate.

One module a theme. Each function's docstring says which figure or table it reads. The rule that turns a value into a
verdict stands in the claim's row and was written from the survey's words.
"""

from functools import cache
from typing import NamedTuple

from slmkit.survey.evidence import architecture, capability, devices, latency, memory, training
from slmkit.survey.evidence.estimates import Estimate
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import judge

DECIDED = {
    claim: recompute
    for module in (architecture, training, capability, latency, memory, devices)
    for claim, recompute in module.CLAIMS.items()
}


class Decision(NamedTuple):
    """What the survey's data give for a claim, with its bounds, and the verdict."""

    estimate: Estimate
    verdict: str


@cache
def decide(claim: str) -> Decision:
    """The decision on a claim of DECIDED; computed once, since the files do not change. KeyError for another claim."""
    estimate = Estimate.of(DECIDED[claim]())
    row = next(row for row in rows("claims") if row["id"] == claim)
    return Decision(estimate, judge(row, estimate.low, estimate.high))
