"""The figures that the prose shows, drawn from the survey's tables: FIGURES, name -> function returning a figure.

Each is at most 4.8 inches wide, so that a phone shows it at a readable size. Meaning never rests on colour alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import (
    attention,
    distillation,
    figures_capability,
    figures_data_quality,
    figures_datasets,
    figures_feedforward,
    figures_latency_page,
    figures_quantization,
    figures_sharing,
    figures_survey,
    figures_trends,
    findings,
    hardware,
    pipelines,
    practice_page,
    style,
    training,
)
from slmkit.survey import statistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = style.COLOURS[:3]

# What is known of a model's training data: colour, marker, filled.
OPENNESS = {
    "open data": (BLUE, "o", True),
    "closed data": (ORANGE, "s", False),
    "not recorded": ("#666666", "D", False),
}


def timeline() -> Figure:
    """Families in order of release against parameters, one marker a model; shape and colour say whose data is open."""
    families: dict[str, list[dict]] = {}
    for row in sorted(statistics.listed("v3"), key=lambda row: row["release"]):
        families.setdefault(statistics.family(row), []).append(row)
    figure, axis = style.axes(4.8, 0.215 * len(families) + 1.2)
    for y, family in enumerate(families.values()):
        sizes = [_parameters(row) for row in family]
        axis.plot(sizes, [y] * len(sizes), color="#bbbbbb", linewidth=1, zorder=1)
        for row, size in zip(family, sizes):
            colour, marker, filled = OPENNESS[_openness(row)]
            axis.plot(size, y, marker, color=colour, markerfacecolor=colour if filled else "white", markersize=5.5)
    labels = [f"{name}  {rows[0]['release']}" for name, rows in families.items()]
    axis.set_yticks(range(len(labels)), labels, fontsize=8.5)
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    _year_lines(axis, [rows[0]["release"][:4] for rows in families.values()])
    axis.set_xscale("log")
    ticks = {1e8: "100M", 3e8: "300M", 1e9: "1B", 3e9: "3B"}
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    axis.set_xlim(0.85e8, 5.5e9)
    axis.set_xlabel("parameters (log scale)")
    for name, (colour, marker, filled) in OPENNESS.items():
        axis.plot([], [], marker, color=colour, markerfacecolor=colour if filled else "white", label=name)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8.5, handletextpad=0.1, columnspacing=0.8)
    return figure


def release_pace() -> Figure:
    """Models and families released in each half-year, as bars with their counts."""
    models = statistics.release_pace("v3")
    families = statistics.release_pace("v3", families=True)
    figure, axis = style.axes(4.8, 3.0)
    for shift, pace, colour, name in ((-0.2, models, BLUE, "models"), (0.2, families, ORANGE, "families")):
        places = [x + shift for x in range(len(pace))]
        bars = axis.bar(places, list(pace.values()), 0.38, color=colour, label=name, hatch="//" if shift > 0 else None,
                        edgecolor="white")  # fmt: skip
        axis.bar_label(bars, fontsize=8.5, padding=1)
    axis.set_xticks(range(len(models)), [half.replace(" ", "\n") for half in models])
    axis.set_ylabel("released in the half-year")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left")
    return figure


def recipe_by_year() -> Figure:
    """Share of each year's models with each part of the typical recipe, one small panel a part."""
    import matplotlib.pyplot as plt

    style.settings()
    years = (2022, 2023, 2024)
    shares = {year: statistics.recipe_shares(year) for year in years}
    figure, axes = plt.subplots(2, 3, figsize=(4.8, 3.4), sharex=True, sharey=True)
    for axis, part in zip(axes.flat, statistics.RECIPE):
        values = [shares[year][part] for year in years]
        axis.plot(years, values, "o-", color=BLUE, markersize=4)
        axis.set_title(part.replace("vocabulary ", "vocabulary\n"), fontsize=9)
        below = values[-1] < values[0]  # the label stands where the line does not pass
        axis.annotate(f"{values[-1]:.0f}%", (years[-1], values[-1]), (-7, -13 if below else -3), fontsize=8.5,
                      ha="right", textcoords="offset points")  # fmt: skip
        axis.set_ylim(-5, 108)
        axis.set_xticks(years, [f"’{year % 100}" for year in years])
    figure.supylabel("share of the year's models, %", fontsize=9.5)
    return figure


def decoder() -> Figure:
    """A decoder from token ids to the next token's probabilities, with one block opened."""
    figure, axis = style.axes(3.6, 5.6)
    axis.set_axis_off()
    axis.set_xlim(0, 10)
    axis.set_ylim(0, 16)
    axis.add_patch(_box(1.2, 2.85, 8.2, 8.75, "#eef4f9", BLUE))
    axis.text(9.2, 3.0, "one block, repeated", ha="right", va="bottom", fontsize=8, color=BLUE)
    boxes = ((1.6, "token embedding", "white"), (4.5, "norm", "white"), (6.0, "attention", "#fbe5d6"),
             (8.3, "norm", "white"), (9.8, "feed-forward", "#d9efe6"), (12.2, "norm", "white"),
             (13.7, "output head", "white"))  # fmt: skip
    for y, label, colour in boxes:
        axis.add_patch(_box(2.6, y, 3.6, 0.9, colour, "black"))
        axis.text(4.4, y + 0.45, label, ha="center", va="center", fontsize=9)
    axis.text(4.4, 0.3, "token ids", ha="center", fontsize=9)
    axis.text(4.4, 15.45, "a probability for each next token", ha="center", fontsize=9)
    steps = [0.95, 1.6, 2.5, 4.5, 5.4, 6.0, 6.9, 8.3, 9.2, 9.8, 10.7, 12.2, 13.1, 13.7, 14.6, 15.3]
    for low, high in zip(steps[::2], steps[1::2]):
        _arrow(axis, [(4.4, low), (4.4, high)])
    for start, end in ((3.9, 7.5), (7.7, 11.2)):  # what a block reads goes round it and is added to what it made
        _arrow(axis, [(4.4, start), (7.2, start), (7.2, end), (4.75, end)])
        axis.text(4.4, end, "+", ha="center", va="center", fontsize=11,
                  bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white"})  # fmt: skip
    axis.text(7.35, 9.3, "residual", rotation=90, va="center", fontsize=8)
    return figure


FIGURES = {
    "timeline": timeline,
    "release_pace": release_pace,
    "recipe_by_year": recipe_by_year,
    "decoder": decoder,
    **figures_survey.FIGURES,
    **figures_trends.FIGURES,
    **attention.FIGURES,
    **figures_feedforward.FIGURES,
    **figures_sharing.FIGURES,
    **figures_quantization.FIGURES,
    **hardware.FIGURES,
    **figures_latency_page.FIGURES,
    **figures_data_quality.FIGURES,
    **figures_datasets.FIGURES,
    **pipelines.FIGURES,
    **training.FIGURES,
    **distillation.FIGURES,
    **figures_capability.FIGURES,
    **practice_page.FIGURES,
    **findings.figures(),
}


def _parameters(row: dict[str, str]) -> float:
    """Exact where the dimensions are published, else what the name says."""
    return float(
        row["params_exact"] or float(row["params_nominal"][:-1]) * {"M": 1e6, "B": 1e9}[row["params_nominal"][-1]]
    )


def _openness(row: dict[str, str]) -> str:
    data = row["pretraining_datasets"]
    return "closed data" if data == "closed" else "open data" if data else "not recorded"


def _year_lines(axis, years: list[str]):
    """A line where a new year begins, with the year at the right edge."""
    for y, (before, year) in enumerate(zip([None, *years], years)):
        if year != before:
            axis.axhline(y - 0.5, color="#999999", linewidth=0.8)
            axis.text(1.0, y - 0.42, f"{year} ", transform=axis.get_yaxis_transform(), ha="right", va="top", fontsize=9,
                      fontweight="bold", color="#444444")  # fmt: skip


def _box(x: float, y: float, width: float, height: float, face: str, edge: str):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.25", facecolor=face, edgecolor=edge
    )


def _arrow(axis, points: list[tuple[float, float]]):
    """A line through the points with a head at the last."""
    if len(points) > 2:
        axis.plot(*zip(*points[:-1]), color="black", linewidth=1)
    arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", points[-1], points[-2], arrowprops=arrow)
