"""The numbers of the pages on data as a whole, on quality (Table 2 of the survey), and on filtering by a model.

A score is the mean of the commonsense and the problem-solving average, in percent. The drawings are in
figures_data_quality.py.
"""

import math
import re
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations, product
from statistics import NormalDist, fmean
from typing import NamedTuple

import numpy as np

from slmkit.survey import statistics, trends
from slmkit.survey.evidence import decide, training
from slmkit.survey.evidence.estimates import Estimate, bootstrap
from slmkit.survey.tables import findings, rows
from slmkit.survey.verdicts import CONTRADICTED, NOT_TESTABLE, OPEN, OWN_DATA, REPRODUCED, UNCLEAR

SECTION = "2.3"
STANDING = {"reproduced": REPRODUCED, "unclear": UNCLEAR, "contradicted": CONTRADICTED,
            "own_data": OWN_DATA, "not_testable": NOT_TESTABLE, "open": OPEN}  # fmt: skip
# What the pages quote of papers that the survey's tables do not hold, each with its source.
PUBLISHED = {
    "fineweb": "15T",  # tokens of FineWeb before the educational filter: Penedo and others 2024
    "fineweb_edu_f1": "82%",  # of its classifier at threshold 3, on held-out grades: the same
    "dclm_share": "10%",  # of the documents that the classifier keeps: Li and others 2024
}


# -- Table 2 -----------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A row of Table 2 with what is known of its model."""

    group: str
    name: str  # put right where the survey prints another model's
    score: float  # percent, as printed
    filtered: bool  # by a model: FineWeb-Edu or DCLM-baseline among its data
    tuned: bool  # on instructions
    family: str
    parameters: float
    tokens: float
    released: float  # years


@cache
def entries() -> list[Entry]:
    """The 30 rows in the survey's order. The row of OPT-350M, which the survey prints as OPT-125M, has its name."""
    known = {row["name"]: row for row in rows("models")}
    found = []
    for group, printed in training.table2().items():
        for name, score in printed:
            row = known["OPT-350M"] if "presumably" in name else training.row_of(name)
            filtered = any(data in row["pretraining_datasets"] for data in training.FILTERED)
            year, month = map(int, row["release"].split("-"))
            found.append(Entry(group.removeprefix("size group "), row["name"], 100 * score, filtered,
                               row["checkpoint_type"] != "base", statistics.family(row), float(row["params_exact"]),
                               trends.tokens(row), year + (month - 0.5) / 12))  # fmt: skip
    return found


def base() -> list[Entry]:
    """The rows that were not tuned on instructions."""
    return [entry for entry in entries() if not entry.tuned]


def wins() -> tuple[int, int]:
    """Of the pairs of a model-filtered base model and another of its size group, how many it wins, and how many."""
    pairs = [(one, other) for one in base() for other in base()
             if one.group == other.group and one.filtered and not other.filtered]  # fmt: skip
    return sum(one.score > other.score for one, other in pairs), len(pairs)


def relabelled_models() -> tuple[int, int]:
    """The exact permutation test within size groups: relabellings that win as many pairs as the true one, and all.

    Each size group keeps its number of model-filtered models; every choice of which they are is tried.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in base():
        groups.setdefault(entry.group, []).append(entry)
    choices = [list(combinations(group, sum(entry.filtered for entry in group))) for group in groups.values()]
    won = [sum(_won(chosen, group) for chosen, group in zip(pick, groups.values())) for pick in product(*choices)]
    return sum(found >= wins()[0] for found in won), len(won)


def _won(chosen: tuple[Entry, ...], group: list[Entry]) -> int:
    return sum(one.score > other.score for one in chosen for other in group if other not in chosen)


ADJUSTED = {  # what the effect of filtering is adjusted for
    "size": ("parameters",),
    "size and tokens": ("parameters", "tokens"),
    "size and date": ("parameters", "released"),
    "size, tokens, date": ("parameters", "tokens", "released"),
}


def effect(models: list[Entry], adjusted: str = "size") -> float:
    """Points that model-filtered data add in a straight line through the scores; `adjusted` is a key of ADJUSTED.

    Least squares of the score on the label and on the logarithms of parameters and tokens, and the date.
    """
    columns = [[1.0] * len(models), [float(entry.filtered) for entry in models]]
    for name in ADJUSTED[adjusted]:
        values = [getattr(entry, name) for entry in models]
        columns.append(values if name == "released" else [math.log10(value) for value in values])
    return float(np.linalg.lstsq(np.array(columns).T, [entry.score for entry in models], rcond=None)[0][1])


@cache
def effect_of(adjusted: str = "size", without: str = "", since: float = 0) -> Estimate:
    """`effect` over the base models, without one family, or of those released from a year on.

    Families are resampled, not models: those of a family share their data, so they are no independent evidence. Each
    resample has as many families on model-filtered data as there are.
    """
    models = [entry for entry in base() if entry.family != without and entry.released >= since]
    families = list(dict.fromkeys(entry.family for entry in models))
    of_family = [[entry for entry in models if entry.family == name] for name in families]
    kinds = [group[0].filtered for group in of_family]

    def resampled(_, picked):
        return effect([entry for number in picked for entry in of_family[int(number)]], adjusted)

    return bootstrap(resampled, kinds, range(len(families)), within=True)


def relabelled_families(adjusted: str = "size") -> tuple[int, int]:
    """Of all choices of two families as the filtered ones, those with at least the true effect, and how many."""
    families = {entry.family for entry in base()}
    true = {entry.family for entry in base() if entry.filtered}
    effects = [effect([entry._replace(filtered=entry.family in pick) for entry in base()], adjusted)
               for pick in combinations(sorted(families), len(true))]  # fmt: skip
    return sum(found > effect(base(), adjusted) - 1e-9 for found in effects), len(effects)


# -- filtering ---------------------------------------------------------------------------------------------------------


def selection(kept: float, correlation: float = 1.0) -> float:
    """Mean quality of the best `kept` share by a score that has this correlation with quality, in standard deviations.

    For normal score and quality (Falconer 1960, of breeding): correlation × density at the threshold / kept.
    """
    normal = NormalDist()
    return correlation * normal.pdf(normal.inv_cdf(1 - kept)) / kept


def precision(kept: float, correlation: float) -> float:
    """Share of the kept documents that a perfect score would keep, for normal score and quality; also the recall."""
    normal = NormalDist()
    threshold, rest = normal.inv_cdf(1 - kept), math.sqrt(1 - correlation**2)
    shares = [(i + 0.5) / 4000 for i in range(4000)]  # of the kept, by rank of their score
    scores = [normal.inv_cdf(1 - kept * share) for share in shares]
    return fmean(1 - normal.cdf((threshold - correlation * score) / rest) for score in scores)


def _threshold(number: int) -> str:
    """How many tokens FineWeb-Edu has from that score on, by our table of data sets."""
    text = next(row["filtering"] for row in rows("datasets") if row["name"] == "FineWeb-Edu")
    return re.search(rf"threshold {number} keeps (\S+?T)", text)[1]


def _trillions(text: str) -> float:
    return float(text.removesuffix("T"))


def kept_share(number: int) -> float:
    """The part of FineWeb's tokens from that score on."""
    return _trillions(_threshold(number)) / _trillions(PUBLISHED["fineweb"])


# -- facts -------------------------------------------------------------------------------------------------------------


def told(estimate: Estimate, digits: int, sign: str = "") -> dict[str, str]:
    """The value and the interval for the prose; with sign "+" a positive number has one, too."""
    value, low, high = (f"{round(part, digits) + 0.0:{sign}.{digits}f}".replace("-", "−") for part in estimate)
    return {"value": value, "interval": f"{low} to {high}"}  # + 0.0: no minus before a zero


@cache
def _verdicts() -> dict[str, str]:
    """Where each claim of the section stands, as in the ledger."""
    found = findings()
    return {row["id"]: found.get(row["id"], {}).get("verdict") or OPEN
            for row in rows("claims") if row["section"] == SECTION}  # fmt: skip


def _of_section(verdict: str) -> str:
    return str(list(_verdicts().values()).count(verdict))


def _chance(count: int, total: int) -> str:
    return f"{count / total:.2g}"


def _leader(group: str) -> str:
    """The best base model of a size group."""
    return max((entry for entry in base() if entry.group == group), key=lambda entry: entry.score).name


def _tokens(name: str) -> str:
    tokens = next(entry.tokens for entry in entries() if entry.name == name)
    return f"{tokens / 1e12:g}T" if tokens >= 1e12 else f"{tokens / 1e9:g}B"


FACTS: dict[str, Callable[[], str]] = {
    "data.claims": lambda: str(sum(row["section"] == SECTION for row in rows("claims"))),
    "quality.rows": lambda: str(len(entries())),
    "quality.tuned": lambda: str(sum(entry.tuned for entry in entries())),
    "quality.base": lambda: str(len(base())),
    "quality.families": lambda: str(len({entry.family for entry in base()})),
    "quality.filtered": lambda: str(sum(entry.filtered for entry in base())),
    "quality.filtered_families": lambda: str(len({entry.family for entry in base() if entry.filtered})),
    "quality.wins": lambda: str(wins()[0]),
    "quality.pairs": lambda: str(wins()[1]),
    "quality.models.as_good": lambda: str(relabelled_models()[0]),
    "quality.models.relabelled": lambda: str(relabelled_models()[1]),
    "quality.models.p": lambda: _chance(*relabelled_models()),
    "quality.families.as_good": lambda: str(relabelled_families()[0]),
    "quality.families.relabelled": lambda: str(relabelled_families()[1]),
    "quality.families.p": lambda: _chance(*relabelled_families()),
    "quality.opt350": lambda: f"{training._accuracy(training.row_of('OPT-350M')) / 100:.3f}",
    "quality.leader.1.5B": partial(_leader, "1.5B-2B"),
    "quality.leader.2.5B": partial(_leader, "2.5B-3B"),
    "filtering.threshold_3": partial(_threshold, 3),
    "filtering.threshold_2": partial(_threshold, 2),
    "filtering.share_3": lambda: f"{100 * kept_share(3):.0f}%",
    "filtering.share_2": lambda: f"{100 * kept_share(2):.0f}%",
    "filtering.selected_3": lambda: f"{selection(kept_share(3)):.1f}",
    "filtering.selected_2": lambda: f"{selection(kept_share(2)):.1f}",
    "filtering.precision": lambda: f"{100 * precision(0.1, 0.7):.0f}%",
}
FACTS |= {f"data.verdict.{row['id']}": lambda claim=row["id"]: _verdicts()[claim]
          for row in rows("claims") if row["section"] == SECTION}  # fmt: skip
FACTS |= {f"filtering.published.{name}": partial(str, text) for name, text in PUBLISHED.items()}
FACTS |= {f"data.claims.{name}": partial(_of_section, verdict) for name, verdict in STANDING.items()}
FACTS |= {f"quality.tokens.{name}": partial(_tokens, name)
          for name in ("SmolLM-360M", "OpenELM-450M", "DCLM-1B", "TinyLlama-1.1B")}  # fmt: skip
ROWS = {  # of the figure and the table of effects: name -> arguments of effect_of
    **{adjusted: {"adjusted": adjusted} for adjusted in ADJUSTED},
    "without DCLM": {"without": "DCLM"},
    "without SmolLM": {"without": "SmolLM"},
    "released in 2024": {"since": 2024},
}
for _name, _arguments in ROWS.items():
    for _part in ("value", "interval"):
        FACTS[f"quality.effect.{_name}.{_part}"] = lambda chosen=_arguments, part=_part: told(
            effect_of(**chosen), 1, "+"
        )[part]
# Claims that the tables decide, with the digits that their intervals leave.
for _claim, _digits in {"C34": 0, "C35b": 2, "C35c": 2, "C38a": 2, "C38b": 2, "C39a": 1, "C39b": 1}.items():
    for _part in ("value", "interval"):
        FACTS[f"data.{_claim}.{_part}"] = lambda claim=_claim, digits=_digits, part=_part: told(
            decide(claim).estimate, digits
        )[part]
