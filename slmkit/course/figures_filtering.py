"""The drawings of lab 07: what filters throw away, the S of banding, shares against what is kept or looked for."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.evaluation.comparing import wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "os^DvP"


def thrown_away(shares: Mapping[tuple[str, str], Sequence[float]], kinds: Sequence[str]) -> "Figure":
    """`shares[rule, kind]`: what the rule throws away of these documents, a number a seed. The means, as a table."""
    import matplotlib.pyplot as plt

    rules = list(dict.fromkeys(rule for rule, _ in shares))
    means = [[fmean(shares[rule, kind]) for rule in rules] for kind in kinds]
    figure, axis = plt.subplots(figsize=(1.2 + 0.7 * len(rules), 1.2 + 0.4 * len(kinds)))
    axis.imshow(means, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for y, row in enumerate(means):
        for x, share in enumerate(row):
            axis.text(x, y, f"{share:.2f}", ha="center", va="center", color="black" if share < 0.8 else "white")
    axis.set_xticks(range(len(rules)), [rule.replace("_", "\n") for rule in rules], fontsize=9)
    axis.set_yticks(range(len(kinds)), kinds)
    axis.grid(False)
    axis.set_xlabel("share that each filter throws away")
    return figure


def banding(caught: Mapping[tuple[int | str, float], Sequence[float]], orders: int) -> "Figure":
    """Measured and expected: `caught[bands, level]` tells for each planted pair whether it became a candidate,
    `caught["datatrove", level]` the same of datatrove, `caught["similarity", level]` its Jaccard similarity."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axis = plt.subplots()
    s, levels = np.linspace(0.2, 1, 200), sorted({level for _, level in caught})
    similarity = [fmean(caught["similarity", level]) for level in levels]
    for i, bands in enumerate(sorted({bands for bands, _ in caught if isinstance(bands, int)})):
        rows, colour = orders // bands, style.COLOURS[i]
        axis.plot(s, 1 - (1 - s**rows) ** bands, ("-", "--", ":")[i], color=colour)
        bounds = [wilson(fmean(caught[bands, level]), len(caught[bands, level])) for level in levels]
        axis.vlines(similarity, *zip(*bounds), color=colour)
        axis.plot(similarity, [fmean(caught[bands, level]) for level in levels], MARKERS[i], color=colour,
                  label=f"{bands} bands of {rows}")  # fmt: skip
    theirs = [fmean(caught["datatrove", level]) for level in levels]
    axis.plot(similarity, theirs, "x", color="black", label="datatrove, 14 of 8")
    axis.set(xlabel="Jaccard similarity of a planted pair", ylabel="share that become candidates", ylim=(-0.03, 1.03))
    axis.legend()
    return figure


def lines(shares: Mapping[tuple[str, float], Sequence[float]], xlabel: str, ylabel: str, title: str = "") -> "Figure":
    """A line for each name of `shares[name, x]`, through the means over seeds, with their range shaded."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots()
    for i, name in enumerate(dict.fromkeys(name for name, _ in shares)):
        x = [at for known, at in shares if known == name]
        values, colour = [shares[name, at] for at in x], style.COLOURS[i]
        axis.plot(x, [fmean(one) for one in values], MARKERS[i] + "-", color=colour, label=name.replace("_", " "))
        axis.fill_between(x, [min(one) for one in values], [max(one) for one in values], color=colour, alpha=0.15)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(title=title, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
