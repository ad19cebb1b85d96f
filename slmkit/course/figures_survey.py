"""The survey's Figures 2 to 6, drawn again from its tables. The lab on the survey's data and the prose share them.

Each function takes the numbers that it draws, so that the lab can show where they come from. At most 4.8 inches wide;
where colour tells things apart, a pattern or a marker does so too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.survey import trends
from slmkit.survey.evidence import capability

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = style.COLOURS[:3]
TITLES = {"attention": "attention", "ffn": "feed-forward layer", "ratio": "FFN width / model width",
          "activation": "activation", "norm": "normalization", "vocabulary": "vocabulary"}  # fmt: skip
LABELS = {"GELU_tanh": "GELU (tanh)", "by layer": "varies by layer"}
# One colour and pattern for each place in a stack.
FILLS = (("#0072B2", ""), ("#E69F00", "//"), ("#009E73", ".."), ("#CC79A7", "\\\\"), ("#56B4E9", "xx"),
         ("#D55E00", "--"), ("#bbbbbb", "oo"))  # fmt: skip
# The survey's comparison line: months of release.
LLAMA = {"Llama-7B": "2023-02", "Llama-2-7B": "2023-07", "Llama-3-7B": "2024-04", "Llama-3.1-7B": "2024-07"}
DOMAINS = ("commonsense", "problem solving", "mathematics")


def architecture_shares(shares: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """Figure 2a as bars: {axis: {"survey": {option: percent}, "published": {…}}}; options may be left out."""
    import matplotlib.pyplot as plt

    style.settings()
    met = {name: [o for o in trends.AXES[name] if any(o in found for found in both.values())]
           for name, both in shares.items()}  # fmt: skip
    heights = [len(options) for options in met.values()]
    figure, axes = plt.subplots(
        len(shares), 1, figsize=(4.8, 0.3 * sum(heights) + 1.6), height_ratios=heights, sharex=True
    )
    looks = ((-0.2, "survey", ORANGE, "//", "as the survey counts"), (0.2, "published", BLUE, "", "as published"))
    for axis, (name, options) in zip(axes, met.items()):
        for shift, way, colour, hatch, label in looks:
            values = [shares[name][way].get(option, 0) for option in options]
            bars = axis.barh([y + shift for y in range(len(options))], values, 0.38, color=colour, hatch=hatch,
                             edgecolor="white", label=label)  # fmt: skip
            axis.bar_label(bars, fmt="%.0f%%", fontsize=7, padding=2)
        axis.set_yticks(range(len(options)), [LABELS.get(option, option) for option in options], fontsize=8.5)
        axis.set_ylim(len(options) - 0.5, -0.5)
        axis.set_title(TITLES[name], fontsize=9.5, loc="left")
        axis.grid(axis="y", visible=False)
    axes[-1].set_xlim(0, 100)
    axes[-1].set_xlabel("share of the models, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def architecture_by_period(panels: dict[str, dict[str, dict[str, float]]], ylabel: str, ours: int = 0) -> Figure:
    """Figure 2b: {axis: {period: {option: amount}}} as stacks, a small panel an axis.

    The last `ours` periods are not the survey's: a line parts them from it, and their names are printed in italics.
    """
    import matplotlib.pyplot as plt

    style.settings()
    rows = (len(panels) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(4.8, 2.5 * rows + 0.3), sharex=True, sharey=True, squeeze=False)
    for axis, (name, periods) in zip(axes.flat, panels.items()):
        stack(axis, periods)
        axis.set_title(TITLES[name], fontsize=9.5, loc="left", pad=42)
        legend = axis.legend(loc="lower left", bbox_to_anchor=(-0.04, 0.98), ncols=2, fontsize=7, handlelength=1.1,
                             handletextpad=0.3, columnspacing=0.6, borderpad=0.2, labelspacing=0.2)  # fmt: skip
        legend.set_in_layout(False)  # its place is kept by the title's distance
        axis.set_xticks(range(len(periods)), list(periods), rotation=90, fontsize=7.5)
        axis.grid(axis="x", visible=False)
        if ours:
            axis.axvline(len(periods) - ours - 0.5, color="black", linestyle="--", linewidth=1)
            for label in axis.get_xticklabels()[-ours:]:
                label.set_style("italic")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.supylabel(ylabel, fontsize=9.5)
    return figure


def stack(axis: Axes, periods: dict[str, dict[str, float]]):
    """Stacked bars, one a period; options that occur in none are left out of the legend."""
    options = [option for option in next(iter(periods.values())) if any(found[option] for found in periods.values())]
    bottom = [0.0] * len(periods)
    for option, (colour, hatch) in zip(options, FILLS):
        values = [found[option] for found in periods.values()]
        axis.bar(range(len(periods)), values, 0.8, bottom, color=colour, hatch=hatch, edgecolor="white", linewidth=0.4,
                 label=LABELS.get(option, option))  # fmt: skip
        bottom = [low + value for low, value in zip(bottom, values)]


def dataset_uses(uses: pandas.DataFrame) -> Figure:
    """Figure 3: a row a data set, a column a year, how many models of the year were trained on it."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(1, uses.shape[1], figsize=(4.8, 0.22 * len(uses) + 1.0), sharex=True, sharey=True)
    for axis, year in zip(axes, uses.columns):
        bars = axis.barh(range(len(uses)), uses[year], 0.7, color=BLUE)
        axis.bar_label(bars, [f"{count}" if count else "" for count in uses[year]], fontsize=8, padding=2)
        axis.set_title(year, fontsize=9.5)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(uses)), uses.index, fontsize=8.5)
    axes[0].set_ylim(len(uses) - 0.4, -0.6)
    axes[0].set_xlim(0, uses.to_numpy().max() * 1.25)
    figure.supxlabel("models trained on the data set", fontsize=9.5)
    return figure


def tokens_and_accuracy(models: pandas.DataFrame) -> Figure:
    """Figure 4: training tokens over time, accuracy over tokens. Columns release, params_exact, tokens, accuracy."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, (left, right) = plt.subplots(1, 2, figsize=(4.8, 2.9))
    billions = models.tokens / 1e9
    size = 10 + 25 * models.params_exact.astype(float) / 1e9
    left.scatter(months(models.release), billions, size, color=BLUE, alpha=0.6, edgecolor="white", linewidth=0.5)
    left.set(yscale="log", xlabel="release", ylabel="training tokens (billions)", title="4a: marker by size")
    right.scatter(billions, models.accuracy, 22, color=ORANGE, marker="s", edgecolor="white", linewidth=0.5)
    right.set(xscale="log", xlabel="training tokens (billions)", ylabel="accuracy (%)", title="4b")
    for border in (700, 1000):
        right.axvline(border, color="black", linestyle=":", linewidth=1)
    small_text(left, right)
    return figure


def capability_over_time(scores: pandas.DataFrame, drawn_missing: float) -> Figure:
    """Figure 5: a panel a domain. Columns release, params_exact and the domains, in percent.

    A model without a score is drawn at `drawn_missing`, as the survey does it, but as a cross.
    """
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(3, 1, figsize=(4.8, 7.4), sharex=True)
    llama = {name: capability.scores()[f"{name} [For Baseline]"] for name in LLAMA}
    for axis, domain in zip(axes, DOMAINS):
        known = scores[scores[domain].notna()].sort_values("release")
        size = 10 + 25 * known.params_exact.astype(float) / 1e9
        axis.scatter(
            months(known.release), known[domain], size, color=BLUE, alpha=0.6, edgecolor="white", label="model"
        )
        best = known.groupby("release")[domain].max().cummax()
        axis.step(months(best.index), best, where="post", color=ORANGE, linestyle="--", label="best so far")
        line = [found[domain.replace("commonsense", capability.COMMONSENSE)] for found in llama.values()]
        axis.plot(months(LLAMA.values()), line, "D:", color="black", markersize=4, linewidth=1, label="LLaMA, 7B class")
        missing = scores.release[scores[domain].isna()]
        if len(missing):
            axis.plot(months(missing), [drawn_missing] * len(missing), "x", color="black", label="no score")
        axis.set(title=domain, ylabel="accuracy (%)")
        small_text(axis)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8,
                  handletextpad=0.2, columnspacing=0.8)  # fmt: skip
    axes[-1].set_xlabel("release")
    return figure


def in_context(scores: pandas.DataFrame) -> Figure:
    """Figure 6a: a panel a task, a line a model. Index (metric, model), columns 0, 1 and 5 shots, percent."""
    import matplotlib.pyplot as plt

    style.settings()
    tasks = list(dict.fromkeys(scores.index.get_level_values(0)))
    figure, axes = plt.subplots(3, 3, figsize=(4.8, 5.4), sharex=True)
    for axis, task in zip(axes.flat, tasks):
        lines = scores.loc[task]
        axis.plot(lines.columns, lines.T, color="#999999", linewidth=0.8)
        axis.plot(lines.columns, lines.mean(), "o-", color=ORANGE, linewidth=2, markersize=4)
        axis.set_title(f"{task}\n{lines[5].mean() - lines[0].mean():+.1f} points", fontsize=8)
        axis.set_xticks([0, 1, 5])
        axis.tick_params(labelsize=7.5)
    figure.supxlabel("examples in the prompt", fontsize=9.5)
    figure.supylabel("accuracy (%)", fontsize=9.5)
    return figure


def gain_by_size(gains: pandas.DataFrame) -> Figure:
    """Figure 6b: the gain of five examples over size, with its line of least squares. Columns billions, points."""
    import matplotlib.pyplot as plt
    import numpy as np

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.0))
    axis.plot(gains.billions, gains.points, "o", color=BLUE, alpha=0.7, markersize=5, label="model")
    slope, start = np.polyfit(gains.billions, gains.points, 1)
    ends = np.array([gains.billions.min(), gains.billions.max()])
    axis.plot(ends, start + slope * ends, color=ORANGE, linestyle="--", label="least squares")
    axis.axhline(gains.points.mean(), color="black", linestyle=":", linewidth=1, label="mean of the markers")
    axis.set(xlabel="parameters (billions)", ylabel="gain of five examples (points)")
    axis.legend(fontsize=8.5)
    small_text(axis)
    return figure


def months(releases) -> list:
    """Months such as "2024-07" as positions on a time axis, in years."""
    return [int(text[:4]) + (int(text[5:7]) - 0.5) / 12 for text in releases]


def small_text(*axes: Axes):
    """Text that suits small panels, and whole years on a time axis."""
    for axis in axes:
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(9.5)
        axis.xaxis.label.set_fontsize(9.5)
        axis.yaxis.label.set_fontsize(9.5)
        if axis.get_xscale() == "linear" and axis.get_xlim()[0] > 2000:
            axis.xaxis.get_major_locator().set_params(integer=True)


def survey_shares() -> Figure:
    """Figure 2a from the tables."""
    models = trends.in_figures()
    ways = ("survey", "published")
    return architecture_shares({axis: {way: trends.shares(models, axis, way) for way in ways} for axis in trends.AXES})


def survey_by_half_year() -> Figure:
    """Figure 2b from the tables, as published."""
    models = trends.in_figures()
    return architecture_by_period({axis: trends.by_period(models, axis) for axis in trends.AXES}, "models released")


def two_countings() -> Figure:
    """The four shares that published configurations move, by half-year, in both countings."""
    import matplotlib.pyplot as plt

    style.settings()
    shown = {"grouped attention": ("attention", "GQA"), "FFN ratio below 2.75": ("ratio", "below 2.75"),
             "RMSNorm": ("norm", "RMSNorm"), "vocabulary up to 50k": ("vocabulary", "up to 50k")}  # fmt: skip
    looks = {"survey": {"color": ORANGE, "linestyle": "--", "marker": "s", "label": "as the survey counts"},
             "published": {"color": BLUE, "marker": "o", "label": "as published"}}  # fmt: skip
    halves = {half: [row for row in trends.in_figures() if trends.period(row) == half]
              for half in sorted(map(trends.period, trends.in_figures()))}  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(4.8, 3.9), sharex=True, sharey=True)
    for axis, (title, (name, option)) in zip(axes.flat, shown.items()):
        for way, look in looks.items():
            shares = [trends.shares(models, name, way) for models in halves.values()]
            axis.plot(range(len(halves)), [found.get(option, 0) for found in shares], markersize=4, **look)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(halves)), halves, rotation=90, fontsize=8)
        axis.set_ylim(-4, 104)
    figure.supylabel("share of the half-year's models, %", fontsize=9.5)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


FIGURES = {"survey_shares": survey_shares, "survey_by_half_year": survey_by_half_year, "two_countings": two_countings}
