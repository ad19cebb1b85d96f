"""Numbers and drawings of the page on cleaning pipelines, all from the record of `slmkit bench --only data`."""

from __future__ import annotations

import json
from functools import cache, partial
from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.data.dedup import MinHash, collision_probability
from slmkit.evaluation.comparing import wilson
from slmkit.paths import root

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Copied from build/records/bench-data.json after a run on a quiet machine.
RECORD = root() / "book" / "records" / "bench" / "data.json"
DATASKETCH, RENSA = 2, 3  # rows of the record; before them, the pipelines by the wall and in processor time


@cache
def record() -> dict:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def rate(row: int, who: str) -> str:
    """Documents a second, in three digits at most."""
    value = record()["rows"][row][who]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def faster(row: int) -> str:
    """How many times as fast the peer is."""
    return f"{1 / record()['rows'][row]['ratio']:.2g}"


def memory(who: str) -> str:
    return f"{max(one['peak'] for one in record()['spent'][who]) / 1e6:,.0f} MB"


def recall(similarity: float, column: str) -> str:
    return f"{100 * next(one[column] for one in record()['recall'] if one['similarity'] == similarity):.0f}%"


def precision() -> str:
    """The lowest of all similarities."""
    return f"{100 * min(one['precision'] for one in record()['recall'] if one['precision'] is not None):.0f}%"


def half() -> float:
    """The similarity at which half of the pairs are found: 1 − (1 − s^r)^b = 1/2, solved for s."""
    settings = MinHash()
    return (1 - 0.5 ** (1 / settings.buckets)) ** (1 / settings.hashes_per_bucket)


def few_sentences() -> str:
    c4 = next(one for one in record()["report"]["steps"] if one["step"] == "c4")
    return f"{c4['reasons']['too_few_sentences']:,}"


FACTS = {
    "cleaning.few_sentences": few_sentences,
    "cleaning.documents": lambda: f"{record()['documents']:,}",
    "cleaning.workers": lambda: str(record()["workers"]),
    "cleaning.machine": lambda: f"{record()['machine']['cpu']}, {record()['machine']['cores']} cores",
    "cleaning.date": lambda: record()["date"],
    "cleaning.pairs": lambda: f"{record()['recall'][0]['pairs']:,}",
    "cleaning.precision": precision,
    "cleaning.half": lambda: f"{half():.2f}",
    "cleaning.datasketch.faster": partial(faster, DATASKETCH),
    "cleaning.rensa.faster": partial(faster, RENSA),
}
for _who in ("ours", "theirs"):
    FACTS |= {f"cleaning.memory.{_who}": partial(memory, _who)}
    for _row, _name in enumerate(("wall", "processor", "datasketch", "rensa")):
        FACTS[f"cleaning.{_name}.{_who}"] = partial(rate, _row, _who)
for _similarity in (0.6, 0.8):
    for _column in ("recall", "theory"):
        FACTS[f"cleaning.{_column}.{_similarity}"] = partial(recall, _similarity, _column)


def cleaning_funnel() -> Figure:
    """What is left after each step, as a bar, and what the step took, hatched behind it."""
    import matplotlib.pyplot as plt

    style.settings()
    report = record()["report"]
    bars = [("read", report["documents"]["read"], 0)]
    bars += [(one["step"].replace("_", " "), one["out"], one["dropped"]) for one in report["steps"]]
    figure, axis = plt.subplots(figsize=(4.8, 2.9))
    for place, (_, left, lost) in enumerate(bars):
        axis.barh(place, left, 0.7, color=style.COLOURS[0])
        axis.barh(place, lost, 0.7, left=left, facecolor="white", edgecolor=style.COLOURS[1], hatch="////")
        says = f"{left:,}" if not place else f"{left:,}  (−{lost:,})"
        axis.text(left + lost, place, f" {says}", va="center", fontsize=9)
    axis.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axis.set_xlim(0, 1.42 * bars[0][1])
    axis.set_xticks([0, bars[0][1] / 2, bars[0][1]])
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("documents")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def cleaning_recall() -> Figure:
    """The share of near-duplicates that MinHash finds: the theory as a line, our pairs as points with 95% intervals."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.0))
    grid = [0.4 + 0.005 * i for i in range(121)]
    axis.plot(grid, [collision_probability(s) for s in grid], color=style.COLOURS[0], label="theory")
    found = record()["recall"]
    spans = [wilson(one["recall"], one["pairs"]) for one in found]
    axis.vlines([one["similarity"] for one in found], *zip(*spans), color=style.COLOURS[1], linewidth=1.5)
    axis.plot([one["similarity"] for one in found], [one["recall"] for one in found], "o", color=style.COLOURS[1],
              markersize=4.5, label="found, with 95% interval")  # fmt: skip
    axis.set_xlabel("Jaccard similarity of the 5-grams")
    axis.set_ylabel("share of pairs found")
    axis.legend(loc="upper left", fontsize=9)
    return figure


FIGURES = {"cleaning_funnel": cleaning_funnel, "cleaning_recall": cleaning_recall}
