"""The survey's trends drawn on past its end: its rows until 2024, then ours, which are marked as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.course.figures_survey import architecture_by_period, months, small_text
from slmkit.survey import statistics, trends
from slmkit.survey.tables import rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE = style.COLOURS[:2]
OURS = {"color": ORANGE, "marker": "s", "label": "ours, after the survey"}
SURVEY = {"color": BLUE, "marker": "o", "label": "the survey's rows"}
# Eight classes of ratio are too many for a small panel.
MERGED = {"2.75": "2.75 to 4", "3": "2.75 to 4", "between": "2.75 to 4"}


def continued() -> Figure:
    """Shares by period on all six axes, with query/key norm as a kind of normalization of its own."""
    panels = {}
    for axis in trends.AXES:
        survey = trends.by_period(rows("models"), axis)
        ours = trends.by_period(trends.since(), axis, ours=True)
        panels[axis] = {name: _merged(found) for name, found in (survey | ours).items()}
    for name, found in panels["norm"].items():
        of_period = [row for row in trends.since() if trends.period(row, ours=True) == name]
        with_it = sum(map(trends.query_key_norm, of_period))
        found["RMSNorm"] -= with_it
        found["with QK norm"] = with_it
    shares = {axis: {name: _percent(found) for name, found in periods.items()} for axis, periods in panels.items()}
    ours = len({trends.period(row, ours=True) for row in trends.since()})
    return architecture_by_period(shares, "share of the period's models, %", ours)


def recipe_then_and_now() -> Figure:
    """Each part of the typical recipe: its share before and after the survey's end, joined by a line."""
    import matplotlib.pyplot as plt

    style.settings()
    shares = {
        name: trends.recipe_shares(models) for name, models in (("then", trends.before()), ("now", trends.since()))
    }
    parts = [*statistics.RECIPE, "all"]
    figure, axis = plt.subplots(figsize=(4.8, 2.9))
    for y, part in enumerate(parts):
        axis.plot([shares["then"][part], shares["now"][part]], [y, y], color="#bbbbbb", zorder=1)
    for name, look in (("then", SURVEY), ("now", OURS)):
        axis.scatter([shares[name][part] for part in parts], range(len(parts)), 36, zorder=2, **look)
    axis.set_yticks(range(len(parts)), [*parts[:-1], "the whole recipe"], fontsize=9)
    axis.set_ylim(len(parts) - 0.5, -0.5)
    axis.set_xlim(0, 103)
    axis.set_xlabel("share of the models, %", fontsize=9.5)
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def tokens_per_parameter() -> Figure:
    """Training tokens for each parameter over the months, on a logarithmic axis with the compute-optimal line."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.1))
    for models, look in ((rows("models"), SURVEY), (trends.since(), OURS)):
        known = [(row["release"], trends.tokens_per_parameter(row)) for row in models]
        known = [(release, ratio) for release, ratio in known if ratio]
        axis.scatter(months(release for release, _ in known), [ratio for _, ratio in known], 20, alpha=0.75, **look)
    axis.axhline(20, color="black", linestyle=":", linewidth=1.2)
    axis.annotate("compute-optimal: 20", (2022.4, 20), (0, 4), textcoords="offset points", fontsize=8)
    axis.set(yscale="log", xlabel="release", ylabel="training tokens a parameter")
    return _finish(figure, axis)


def context_length() -> Figure:
    """The configured context over the months, on a logarithmic axis."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.1))
    for models, look in ((rows("models"), SURVEY), (trends.since(), OURS)):
        known = [row for row in models if row["max_context"]]
        heights = [int(row["max_context"]) for row in known]
        axis.scatter(months(row["release"] for row in known), heights, 20, alpha=0.55, **look)
    axis.set(yscale="log", xlabel="release", ylabel="configured context (tokens)")
    ticks = {2**power: f"{2**power // 1024}k" for power in range(11, 20, 2)}
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    return _finish(figure, axis)


def _finish(figure: Figure, axis) -> Figure:
    axis.axvline(2024 + 9 / 12, color="black", linestyle="--", linewidth=1)  # our rows begin in October 2024
    small_text(axis)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def _merged(found: dict[str, int]) -> dict[str, int]:
    out: dict[str, int] = {}
    for option, count in found.items():
        name = MERGED.get(option, option)
        out[name] = out.get(name, 0) + count
    return out


def _percent(found: dict[str, int]) -> dict[str, float]:
    return {option: 100 * count / sum(found.values()) for option, count in found.items()}


FIGURES = {
    "continued": continued,
    "recipe_then_and_now": recipe_then_and_now,
    "tokens_per_parameter": tokens_per_parameter,
    "context_length": context_length,
}
