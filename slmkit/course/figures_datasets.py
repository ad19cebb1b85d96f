"""The drawings of the pages on the data sets: how large they are said to be, and who used them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.course.datasets import WAYS, YEARS, listed, printed_tokens, sizes, uses
from slmkit.course.figures_survey import dataset_uses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
LOOKS = {"tokens": (BLUE, "o"), "bytes": (ORANGE, "s"), "characters": (GREEN, "^")}
SHORT = {"PushShift.io Reddit": "PushShift Reddit"}


def dataset_sizes() -> Figure:
    """Every published size of the thirteen sets, by unit, beside the number that the survey prints."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 4.6))
    sets = [row for row in listed().values() if row["name"]]
    for y, row in enumerate(sets):
        for one in sizes(row["name"]):
            colour, marker = LOOKS[one["unit"]]
            axis.plot(float(one["amount"]), y, marker, color=colour, markersize=8, markeredgecolor="white")
        if printed := printed_tokens(row):
            axis.plot([printed] * 2, [y - 0.4, y + 0.4], color="black", linewidth=1.6)
    for unit, (colour, marker) in LOOKS.items():
        axis.plot([], [], marker, color=colour, markersize=6, label=unit)
    axis.plot([], [], "|", color="black", markersize=12, markeredgewidth=1.6, label='"tokens" in the survey')
    axis.set_xscale("log")
    axis.set_xlim(1.6e10, 6e13)
    axis.set_xticks([1e11, 1e12, 1e13], ["100 billion", "1 trillion", "10 trillion"], fontsize=8.5)
    axis.minorticks_off()
    axis.set_yticks(range(len(sets)), [SHORT.get(row["name"], row["name"]) for row in sets], fontsize=8.5)
    axis.set_ylim(len(sets) - 0.4, -0.6)
    axis.set_xlabel("size, in the unit of the marker (log scale)", fontsize=9.5)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8.5, handletextpad=0.2, columnspacing=0.9)
    return figure


def uses_as_printed() -> Figure:
    """Figure 3, from the survey's counts."""
    import pandas

    return dataset_uses(pandas.DataFrame({year: uses(year, "printed") for year in YEARS}))


def models_and_families() -> Figure:
    """Each year's uses by the survey's table: models, and the families that they belong to."""
    import matplotlib.pyplot as plt

    style.settings()
    counted = {year: {way: uses(year, way) for way in ("models", "runs")} for year in YEARS}
    met = [title for title in counted[YEARS[0]]["models"] if any(found["models"][title] for found in counted.values())]
    figure, axes = plt.subplots(1, len(YEARS), figsize=(4.8, 0.3 * len(met) + 1.3), sharex=True, sharey=True)
    looks = {"models": (-0.2, ORANGE, "//"), "runs": (0.2, BLUE, "")}
    for axis, (year, found) in zip(axes, counted.items()):
        for way, (shift, colour, hatch) in looks.items():
            values = [found[way][title] for title in met]
            bars = axis.barh([y + shift for y in range(len(met))], values, 0.38, color=colour, hatch=hatch,
                             edgecolor="white", label=WAYS[way].split(",")[0])  # fmt: skip
            axis.bar_label(bars, [str(value or "") for value in values], fontsize=7, padding=2)
        axis.set_title(year, fontsize=9.5)
        axis.tick_params(axis="x", labelsize=8.5)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(met)), [SHORT.get(title, title) for title in met], fontsize=8.5)
    axes[0].set_ylim(len(met) - 0.4, -0.6)
    axes[0].set_xlim(0, 13)
    figure.supxlabel("trained on the data set", fontsize=9.5)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


FIGURES = {
    "dataset_sizes": dataset_sizes,
    "dataset_uses": uses_as_printed,
    "dataset_families": models_and_families,
}
