"""The numbers of the pages on practice: what a server costs, what a search finds, what an answer gains by it."""

from collections.abc import Callable
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING

import numpy as np

from slmkit.course import findings, style
from slmkit.evaluation.comparing import Interval, accuracy_interval, mcnemar, paired_bootstrap
from slmkit.model.counting import count_parameters
from slmkit.survey import zoo
from slmkit.survey.tables import rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = {"functions": "the engine's functions", "class": "the binding's class", "endpoint": "the endpoint",
        "defaults": "the endpoint by default"}  # fmt: skip
SEARCHES = {"meaning": "by meaning, MiniLM", "words": "by words, BM25"}
ABOVE = ("none", "found", "wrong", "right")
LOOKED = (1, 3, 5)
SIZES = ("SmolLM-135M", "SmolLM-360M", "SmolLM-1.7B")  # one recipe, three sizes, all in the survey's data file


def _values(name: str) -> dict:
    return findings.kept()[f"practice-{name}"]["values"]


def added(way: str, base: str, what: str) -> Interval:
    """Milliseconds by which a way to the same text takes longer than another: to the "first" piece, for each "further"
    one, or of "processor" time for all. Compared text by text."""
    held = _values("serve")
    return paired_bootstrap(held[f"{way} {what}"], held[f"{base} {what}"])


def found(search: str, first: int) -> np.ndarray:
    """Whether the page of each question is among the `first` passages."""
    return np.array(_values("retrieval")[search]) < first


def recall(search: str, first: int) -> Interval:
    return accuracy_interval(found(search, first))


def difference(first: int) -> Interval:
    """Recall by meaning minus that by words."""
    return paired_bootstrap(found("meaning", first), found("words", first))


def either(first: int) -> Interval:
    """The share of questions whose page one search or the other has."""
    return accuracy_interval(found("meaning", first) | found("words", first))


def answered(above: str) -> Interval:
    """The share of answers that hold the key."""
    return accuracy_interval(_values("answers")[f"{above} right"])


def gained(above: str, base: str, what: str) -> Interval:
    """By what an answer is better with one text above the question than with another, question by question."""
    held = _values("answers")
    return paired_bootstrap(held[f"{above} {what}"], held[f"{base} {what}"])


def score(model: str) -> float:
    """Its mean in the survey's tests of problem solving, percent right."""
    return next(100 * float(row["value"]) for row in rows("capability") if row["kind"] == "domain_average"
                and row["model"].endswith(f"/{model}") and row["metric"].startswith("problem solving"))  # fmt: skip


def recall_figure() -> "Figure":
    import matplotlib.pyplot as plt

    style.settings()
    held = _values("retrieval")
    looked = range(1, len(held["chance"]) + 1)
    figure, axes = plt.subplots(figsize=(4.4, 2.8))
    for (search, label), colour, marker in zip(SEARCHES.items(), style.COLOURS, "os"):
        shares = [recall(search, first) for first in looked]
        axes.plot(looked, [share.value for share in shares], marker=marker, color=colour, label=label)
        axes.fill_between(looked, [s.low for s in shares], [s.high for s in shares], color=colour, alpha=0.15)
    axes.plot(looked, held["chance"], color="black", linestyle="--", label="at random")
    axes.set(xlabel="passages looked at", ylabel="questions with the right page", ylim=(0, 1), xticks=looked)
    axes.legend()
    return figure


def _both(name: str, make: Callable[[], Interval], form: str) -> dict[str, Callable[[], str]]:
    """Three facts: the value, its interval, and whether that is clear of zero."""

    def said(part: str) -> str:
        interval = make()
        if part == ".clear":
            return "above zero" if interval.low > 0 else "below zero" if interval.high < 0 else "not clear of zero"
        value, low, high = (format(one, form).replace("-", "−") for one in interval)
        return f"{low} to {high}" if part else value

    return {f"{name}{part}": partial(said, part) for part in ("", ".interval", ".clear")}


def _likelihood(above: str) -> str:
    return f"{fmean(_values('answers')[f'{above} log']):.1f}".replace("-", "−")


def _parameters(model: str) -> int:
    return count_parameters(zoo.config(model)).total


def _median(key: str) -> float:
    return median(_values("serve")[key])


FACTS: dict[str, Callable[[], str]] = {
    "practice.again": lambda: f"{_median('again first'):.0f} ms",
    "practice.repeats": lambda: str(len(_values("serve")["functions first"])),
    "practice.tokens": lambda: str(_values("serve")["prompt"]),
    "practice.questions": lambda: str(_values("retrieval")["questions"]),
    "practice.pages": lambda: str(_values("retrieval")["pages"]),
    "practice.passages": lambda: str(_values("retrieval")["passages"]),
    "practice.written": lambda: str(_values("answers")["written"]),
    "practice.mcnemar": lambda: f"{mcnemar(found('meaning', 1), found('words', 1)).p:.2f}",
}
for _way in WAYS:
    FACTS |= {
        f"practice.{_way}.first": lambda way=_way: f"{_median(f'{way} first'):.0f} ms",
        f"practice.{_way}.rate": lambda way=_way: f"{1e3 / _median(f'{way} further'):.0f}",
        f"practice.{_way}.processor": lambda way=_way: f"{_median(f'{way} processor'):,.0f} ms",
    }
    for _what in ("first", "further", "processor"):
        FACTS |= _both(f"practice.{_way}.added.{_what}", partial(added, _way, "functions", _what), "+.1f")
for _first in LOOKED:
    FACTS[f"practice.chance.{_first}"] = lambda first=_first: f"{_values('retrieval')['chance'][first - 1]:.0%}"
    for _search in SEARCHES:
        FACTS |= _both(f"practice.{_search}.{_first}", partial(recall, _search, _first), ".0%")
    FACTS |= _both(f"practice.difference.{_first}", partial(difference, _first), "+.0%")
    FACTS |= _both(f"practice.either.{_first}", partial(either, _first), ".0%")
for _above in ABOVE:
    FACTS |= _both(f"practice.answers.{_above}", partial(answered, _above), ".0%")
    FACTS[f"practice.log.{_above}"] = partial(_likelihood, _above)
    FACTS |= _both(f"practice.gain.{_above}.right", partial(gained, "found", _above, "right"), "+.0%")
    FACTS |= _both(f"practice.gain.{_above}.log", partial(gained, "found", _above, "log"), "+.1f")
for _model in SIZES:
    FACTS[f"practice.score.{_model}"] = lambda model=_model: f"{score(model):.1f}%"
    FACTS[f"practice.size.{_model}"] = lambda model=_model: f"{_parameters(model) / _parameters(SIZES[0]):.1f}"
FIGURES = {"practice_recall": recall_figure}
