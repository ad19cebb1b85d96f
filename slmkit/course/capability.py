"""The numbers of the pages on capability: the twelve tests and their noise, gains a year, examples, needles.

Scores are percent, differences are points. What the survey's own data say of a claim stands in slmkit/survey/evidence.

- {benchmark} key, a directive: what an item of that test is, how it is scored and what is known against it.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from statistics import NormalDist, fmean

import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from slmkit.course import datasets
from slmkit.course.data_quality import told
from slmkit.evaluation import comparing
from slmkit.survey import statistics
from slmkit.survey.evidence import capability
from slmkit.survey.evidence.estimates import Estimate, bootstrap, rank_correlation
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import digits

Z = NormalDist().inv_cdf(0.975)  # half the width of a 95% interval, in standard errors
FIRST, LAST = "2023-02", "2024-07"  # LLaMA and LLaMA 3.1
NEEDLES = {"Qwen1.5-0.5B": 0.5, "Qwen2-0.5B": 0.5, "Llama3.2-3B": 3.0, "Qwen2.5-3B": 3.0}  # billions, as named

logger = logging.getLogger(__name__)


# -- the tests -------------------------------------------------------------------------------------------------------


@cache
def benchmarks() -> dict[str, dict[str, str]]:
    """The twelve rows of benchmarks.csv by their short names."""
    return {row["key"]: row for row in rows("benchmarks")}


def error(key: str, accuracy: float = 0.5) -> float:
    """Standard error of an accuracy on that test, points; largest at one half, which is taken unless told."""
    return 100 * math.sqrt(accuracy * (1 - accuracy) / int(benchmarks()[key]["size"]))


def mean_error(names: Sequence[str]) -> float:
    """The largest standard error of the plain mean over tests, points, named as the data name them."""
    keys = [key for key, row in benchmarks().items() if row["name"] in names]
    return math.hypot(*map(error, keys)) / len(keys)


def chance(key: str) -> float | None:
    """Percent that guessing gets right; None where there is no fixed number of choices."""
    choices = benchmarks()[key]["choices"]
    return 100 / int(choices) if choices else None


def card(key: str) -> list[tuple[str, str]]:
    """What the table says of a test in words."""
    row = benchmarks()[key]
    return [("an item", row["item"]), ("counted as right", row["scored"]),
            ("known problem", f"{row['problem']} ({row['problem_source']})"),
            ("where its size is from", row["size_source"])]  # fmt: skip


class Benchmark(SphinxDirective):
    required_arguments = 1

    def run(self):
        key = self.arguments[0]
        if key not in benchmarks():
            logger.warning("there is no test %s in slmkit/survey/benchmarks.csv", key, location=self.get_location(),
                           type="slmkit", subtype="benchmark")  # fmt: skip
            return []
        return [nodes.raw("", datasets.as_html(card(key)), format="html")]


def setup(app: Sphinx):
    app.add_directive("benchmark", Benchmark)


def scores_on(key: str) -> list[float]:
    """What the models with a record by task score on a test, percent; the baselines included."""
    return [found[benchmarks()[key]["name"]] for found in capability.task_scores().values()]


def fits(key: str, size: int) -> bool:
    """Whether each score on that test, with its four decimals, is some whole number of right items out of `size`."""
    return all(round(100 * round(score * size / 100) / size, 2) == round(score, 2) for score in scores_on(key))


def only_size(key: str, most: int = 4000) -> list[int]:
    """The sizes from 100 to `most` that fit all scores. Beyond some thousands every score fits every size."""
    return [size for size in range(100, most + 1) if fits(key, size)]


# -- over time -------------------------------------------------------------------------------------------------------


def points_of(domain: str) -> list[dict]:
    """Models with a score and a parameter count: family, year as a number, log of the size, score, data."""
    known = {row["name"]: row for row in rows("models")}
    found = []
    for name, scores in capability.model_scores().items():
        row = known[name]
        if domain in scores and row["params_exact"]:
            year, month = map(int, row["release"].split("-"))
            found.append({"name": name, "family": statistics.family(row), "time": year + (month - 0.5) / 12,
                          "size": math.log2(float(row["params_exact"])), "score": scores[domain],
                          "data": row["pretraining_datasets"], "year": year})  # fmt: skip
    return found


def _by_family(points: list[dict], coefficient: Callable[[list[dict]], float]) -> Estimate:
    """A coefficient with bounds from resampled families: the sizes of one share their data and their date."""
    families: dict[str, list[dict]] = {}
    for point in points:
        families.setdefault(point["family"], []).append(point)
    groups = list(families.values())
    return bootstrap(lambda picked: coefficient([p for i in picked for p in groups[int(i)]]), range(len(groups)))


def _slope(points: list[dict], of: str, beside: Sequence[str] = ()) -> float:
    """The coefficient of column `of` in a least-squares fit of the score that has those beside it."""
    columns = [[1.0] * len(points), *([float(p[name]) for p in points] for name in (of, *beside))]
    return float(np.linalg.lstsq(np.array(columns).T, [p["score"] for p in points], rcond=None)[0][1])


@cache
def gain_a_year(domain: str, sized: bool = False) -> Estimate:
    """Points a year: the slope of score over release; with `sized` at equal size."""
    return _by_family(points_of(domain), lambda found: _slope(found, "time", ("size",) if sized else ()))


def llama_a_year(domain: str) -> float:
    """The same between the first and the last of the LLaMA line, two measurements."""
    gain = capability.scores()[capability.LAST_LLAMA][domain] - capability.scores()[capability.FIRST_LLAMA][domain]
    months = 12 * (int(LAST[:4]) - int(FIRST[:4])) + int(LAST[5:]) - int(FIRST[5:])
    return 12 * gain / months


@cache
def closed_lead(domain: str, sized: bool = False) -> Estimate:
    """Points that models of 2024 on closed data are ahead of those on open data; with `sized` at equal size."""
    points = [p | {"closed": p["data"] == "closed"} for p in points_of(domain) if p["year"] == 2024 and p["data"]]
    return _by_family(points, lambda found: _slope(found, "closed", ("size",) if sized else ()))


def open_scored(domain: str) -> tuple[int, int]:
    """Models of 2024 on open data with a score in the domain, and their families."""
    found = [p for p in points_of(domain) if p["year"] == 2024 and p["data"] not in ("", "closed")]
    return len(found), len({p["family"] for p in found})


def leaders(domain: str) -> list[tuple[str, float]]:
    """Models with a score in the domain, the best first."""
    found = [(name, scores[domain]) for name, scores in capability.model_scores().items() if domain in scores]
    return sorted(found, key=lambda pair: -pair[1])


def neighbours(domain: str) -> tuple[int, int]:
    """Of pairs next to each other in a domain's ranking those that are further apart than noise, and all."""
    scores = [score for _, score in leaders(domain)]
    gaps = [first - second for first, second in pairwise(scores)]
    return sum(gap > Z * math.sqrt(2) * mean_error(capability.TASKS[domain]) for gap in gaps), len(gaps)


# -- examples in the prompt ------------------------------------------------------------------------------------------


def task_names() -> list[str]:
    """The eight tasks of Figure 6a."""
    return list(dict.fromkeys(task for _, task in capability.curves() if task != "mean of 8 tasks"))


def gain_noise(task: str) -> float:
    """Half the 95% interval of one model's gain on a task, points, as if both scores came from items of their own.

    Both were measured on the same items. The more answers stay, the narrower it is: this is an upper bound for scores
    that vary together.
    """
    return Z * math.sqrt(2) * mean_error([task])


def mean_gain_noise() -> float:
    """The same for the mean gain of one model over the eight tasks."""
    return Z * math.sqrt(2) * mean_error(task_names())


def outside(task: str) -> tuple[int, int]:
    """How many models gain more than that noise on a task, and how many lose more."""
    return tuple(sum(sign * gain > gain_noise(task) for gain in capability.gains(task)) for sign in (1, -1))


def size_without_largest(most: float = 3.0) -> Estimate:
    """Rank correlation of size and gain among markers below `most` billion."""
    return bootstrap(rank_correlation, *zip(*[pair for pair in capability.markers() if pair[0] < most]))


# -- needles ---------------------------------------------------------------------------------------------------------


@cache
def needles() -> dict[str, float]:
    """Model -> percent of needles found, as the text prints it, in the order of NEEDLES."""
    found = {row["model"]: float(row["value"]) for row in rows("capability") if row["metric"].startswith("needle")}
    return {name: found[name] for name in NEEDLES}


def _needle_gap(first: str, second: str) -> str:
    return f"{needles()[second] - needles()[first]:.1f}"


# -- facts -----------------------------------------------------------------------------------------------------------


def _test(key: str) -> dict[str, Callable[[], str]]:
    row = benchmarks()[key]
    found = {
        "choices": lambda: row["choices"] or ("varies" if row["domain"] != capability.MATHEMATICS else "written"),
        "chance": lambda: "none" if chance(key) is None else f"{chance(key):.0f}%",
        "size": lambda: f"{int(row['size']):,}",
        "error": lambda: f"{error(key):.2f}",
        "detectable": lambda: f"{100 * comparing.detectable(int(row['size'])):.1f}",
    }
    if row["domain"] != capability.MATHEMATICS:
        found["below"] = lambda: str(sum(score < (chance(key) or 0) for score in scores_on(key)))
    return {f"bench.{key}.{part}": say for part, say in found.items()}


def _furthest(domain: str) -> str:
    return f"{max(abs(away) for (_, name), away in capability.recomputed().items() if name == domain):.3f}"


def _leader(domain: str, place: int) -> str:
    name, score = leaders(domain)[place - 1]
    return f"{name} {digits(score)}"


SHORT = {"commonsense": capability.COMMONSENSE, "problems": capability.PROBLEMS, "mathematics": capability.MATHEMATICS}
SIZED = ("winogrande", "commonsenseqa", "piqa", "openbookqa", "boolq", "arc_easy", "arc_challenge")

FACTS: dict[str, Callable[[], str]] = {
    "bench.models": lambda: str(len(capability.task_scores())),
    "bench.sizes_confirmed": lambda: str(sum(min(only_size(key)) == int(benchmarks()[key]["size"]) for key in SIZED)),
    "capability.models": lambda: str(len(capability.scores())),
    "capability.without_tasks": lambda: str(len(capability.scores()) - len(capability.task_scores())),
    "capability.averages": lambda: str(len(capability.recomputed())),
    "capability.agree": lambda: str(sum(abs(away) < 0.01 for away in capability.recomputed().values())),
    "capability.llama_a_year": lambda: f"{fmean(map(llama_a_year, capability.DOMAINS)):.1f}",
    "capability.open.mathematics": lambda: str(open_scored(capability.MATHEMATICS)[0]),
    "capability.open.mathematics.families": lambda: str(open_scored(capability.MATHEMATICS)[1]),
    "icl.noise": lambda: f"{mean_gain_noise():.1f}",
    "icl.models": lambda: str(len(capability.gains())),
    "icl.above_noise": lambda: str(sum(gain > mean_gain_noise() for gain in capability.gains())),
    "icl.below_noise": lambda: str(sum(gain < -mean_gain_noise() for gain in capability.gains())),
    "icl.markers": lambda: str(len(capability.markers())),
    "icl.markers_above": lambda: str(sum(gain > mean_gain_noise() for _, gain in capability.markers())),
    "icl.markers_below": lambda: str(sum(gain < -mean_gain_noise() for _, gain in capability.markers())),
    "icl.small": lambda: told(size_without_largest(), 2)["value"],
    "icl.small.interval": lambda: told(size_without_largest(), 2)["interval"],
    "needle.old_small": partial(_needle_gap, "Qwen1.5-0.5B", "Qwen2-0.5B"),
    "needle.same_large": partial(_needle_gap, "Llama3.2-3B", "Qwen2.5-3B"),
    "needle.qwen": partial(_needle_gap, "Qwen2-0.5B", "Qwen2.5-3B"),
    "needle.cross": partial(_needle_gap, "Qwen2-0.5B", "Llama3.2-3B"),
}
for _key in benchmarks():
    FACTS |= _test(_key)
for _model in NEEDLES:
    FACTS[f"needle.{_model}"] = lambda model=_model: f"{needles()[model]:.1f}%"
for _task in task_names():
    _name = re.sub(r" \(.*", "", _task)
    FACTS[f"icl.gain.{_name}"] = lambda task=_task: f"{fmean(capability.gains(task)):+.1f}"
    FACTS[f"icl.noise.{_name}"] = lambda task=_task: f"{gain_noise(task):.1f}"
    FACTS[f"icl.up.{_name}"] = lambda task=_task: str(outside(task)[0])
    FACTS[f"icl.down.{_name}"] = lambda task=_task: str(outside(task)[1])
for _short, _domain in SHORT.items():
    for _place in (1, 2, 3):
        FACTS[f"capability.leader.{_short}.{_place}"] = partial(_leader, _domain, _place)
    FACTS[f"capability.llama_a_year.{_short}"] = lambda domain=_domain: f"{llama_a_year(domain):.1f}"
    FACTS[f"capability.llama.{_short}"] = lambda domain=_domain: digits(
        capability.scores()[capability.LAST_LLAMA][domain]
    )
    for _kind, _sized in (("", False), (".sized", True)):
        for _part in ("value", "interval"):
            FACTS[f"capability.year.{_short}{_kind}.{_part}"] = lambda domain=_domain, sized=_sized, part=_part: told(
                gain_a_year(domain, sized), 1
            )[part]
            if (_short, _sized) != ("mathematics", True):  # too few families on open data have a score there
                FACTS[f"capability.closed.{_short}{_kind}.{_part}"] = lambda domain=_domain, sized=_sized, part=_part: (
                    told(closed_lead(domain, sized), 1)[part]
                )
for _short in ("commonsense", "problems"):
    FACTS[f"capability.error.{_short}"] = lambda domain=SHORT[_short]: f"{mean_error(capability.TASKS[domain]):.2f}"
    FACTS[f"capability.furthest.{_short}"] = partial(_furthest, SHORT[_short])
    FACTS[f"capability.apart.{_short}"] = lambda domain=SHORT[_short]: str(neighbours(domain)[0])
    FACTS[f"capability.pairs.{_short}"] = lambda domain=SHORT[_short]: str(neighbours(domain)[1])
