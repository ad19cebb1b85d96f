"""The drawings of the pages on the quality and the amount of data, and on filtering by a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import data_quality, data_quantity, style
from slmkit.course.figures_survey import months, small_text
from slmkit.survey import trends
from slmkit.survey.evidence import training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
LIGHT = {"orange": "#fbe5d6", "green": "#d9efe6", "blue": "#dceaf5", "grey": "#eeeeee"}
KINDS = {  # of the rows of Table 2: colour, marker, filled
    "filtered by a model": (BLUE, "o", True),
    "other base model": (BLUE, "o", False),
    "tuned on instructions": (ORANGE, "s", False),
}
SIZES = {"below 1B": (0, 1e9, BLUE, "o"), "1B to 2B": (1e9, 2e9, ORANGE, "s"), "above 2B": (2e9, 1e11, GREEN, "^")}
NAMED = {"Qwen2-0.5B": (-8, 3), "Qwen3-0.6B": (-8, 3), "Granite-4.0-350M": (6, 2), "nanochat-d20": (-8, 5),
         "OpenELM-3B": (-2, -12), "Phi-1": (6, -3)}  # fmt: skip


def table2() -> Figure:
    """The rows of Table 2 in their size groups: score at the left, training tokens at the right."""
    import matplotlib.pyplot as plt

    style.settings()
    groups: dict[str, list] = {}
    for entry in data_quality.entries():
        groups.setdefault(entry.group, []).append(entry)
    heights = [len(group) + 1 for group in groups.values()]
    figure, axes = plt.subplots(
        len(groups), 2, figsize=(4.8, 0.205 * sum(heights) + 1.1), height_ratios=heights, width_ratios=(1.6, 1),
        sharex="col", sharey="row",
    )  # fmt: skip
    for (left, right), (name, group) in zip(axes, groups.items()):
        for y, entry in enumerate(sorted(group, key=lambda entry: -entry.score)):
            kind = "tuned on instructions" if entry.tuned else list(KINDS)[not entry.filtered]
            colour, marker, filled = KINDS[kind]
            look = {"color": colour, "markerfacecolor": colour if filled else "white", "markersize": 5.5}
            left.plot(entry.score, y, marker, **look)
            right.plot(entry.tokens / 1e9, y, marker, **look)
        labels = [entry.name + " *" * (entry.name == "OPT-350M") for entry in group]
        left.set_yticks(range(len(group)), labels, fontsize=8.5)
        left.set_ylim(len(group) - 0.4, -0.6)
        left.set_title(name.replace("-", " to ").replace("<", "below "), fontsize=9.5, loc="left")
    axes[-1, 0].set_xlabel("score, %")
    axes[-1, 1].set_xscale("log")
    axes[-1, 1].set_xticks([10, 1000], ["10B", "1T"])
    axes[-1, 1].minorticks_off()
    axes[-1, 1].set_xlabel("training tokens\n(log scale)")
    small_text(*axes[-1])
    for label, (colour, marker, filled) in KINDS.items():
        face = colour if filled else "white"
        axes[0, 0].plot([], [], marker, color=colour, markerfacecolor=face, markersize=5.5, label=label)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, handletextpad=0.1, columnspacing=0.8)
    return figure


def filter_effect() -> Figure:
    """What model-filtered data add to the score, by what is adjusted for and which models are left out."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 2.9))
    adjusted = len(data_quality.ADJUSTED)
    for y, arguments in enumerate(data_quality.ROWS.values()):
        found = data_quality.effect_of(**arguments)
        colour, marker = (BLUE, "o") if y < adjusted else (ORANGE, "s")
        axis.plot([found.low, found.high], [y, y], color=colour)
        axis.plot(found.value, y, marker, color=colour)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.axhline(adjusted - 0.5, color="#999999", linewidth=0.8)
    names = [name if y < adjusted else f"{name}; size" for y, name in enumerate(data_quality.ROWS)]
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel("points that model-filtered data add")
    return figure


def tokens_per_parameter() -> Figure:
    """Training tokens a parameter over time on a logarithmic axis, the survey's models filled, ours hollow."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.7))
    for group in ("then", "since"):
        for row in data_quantity.known(group):
            x, y = months([row["release"]])[0], trends.tokens_per_parameter(row)
            colour, marker = _size_look(float(row["params_exact"]))
            axis.plot(x, y, marker, color=colour, markerfacecolor=colour if group == "then" else "white", markersize=5)
            if row["name"] in NAMED:
                dx, dy = NAMED[row["name"]]
                axis.annotate(row["name"], (x, y), (dx, dy), textcoords="offset points", fontsize=8,
                              ha="right" if dx < 0 else "left")  # fmt: skip
    axis.axhline(data_quantity.RULE, color="black", linestyle="--", linewidth=1)
    axis.annotate("20 tokens a parameter", (2022.3, data_quantity.RULE), (0, -11), textcoords="offset points",
                  fontsize=8.5)  # fmt: skip
    for label, (_, _, colour, marker) in SIZES.items():
        axis.plot([], [], marker, color=colour, markersize=5, label=label)
    axis.plot([], [], "o", color="black", markerfacecolor="white", markersize=5, label="hollow: since the survey")
    axis.set(
        yscale="log", ylim=(9, 1.2e5), xlim=(2022.1, 2027), xlabel="release", ylabel="tokens a parameter (log scale)"
    )
    small_text(axis)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, handletextpad=0.1, columnspacing=0.8)
    return figure


def accuracy_and_tokens() -> Figure:
    """The survey's Figure 4b with a marker by size, and the two borders that its text names."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.3))
    for label, (_, _, colour, marker) in SIZES.items():
        points = [(seen, score) for size, seen, score in data_quantity.scored() if _size_look(size) == (colour, marker)]
        axis.plot(*zip(*points), marker, color=colour, markersize=5, label=label)
    for border, side in ((training.FEW, "right"), (training.MANY, "left")):
        axis.axvline(border, color="black", linestyle=":", linewidth=1)
        axis.annotate({"right": "700B", "left": "1T"}[side], (border, 71), (-3 if side == "right" else 3, 0),
                      textcoords="offset points", ha=side, fontsize=8.5)  # fmt: skip
    axis.set(xscale="log", ylim=(30, 74), xlabel="training tokens (log scale)", ylabel="accuracy, %")
    ticks = {1e10: "10B", 1e11: "100B", 1e12: "1T", 1e13: "10T"}
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8.5,
                  handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    return figure


def overtraining() -> Figure:
    """Compute of a smaller model with the loss of the optimal one: for training alone, and with serving."""
    import matplotlib.pyplot as plt
    import numpy as np

    style.settings()
    figure, (left, right) = plt.subplots(1, 2, figsize=(4.8, 3.1), sharey=True)
    for name, colour, line in (("refitted", BLUE, "-"), ("unrounded", ORANGE, "--")):
        law = data_quantity.LAWS[name]
        sizes = np.geomspace(data_quantity.smallest(law) * 1.05, 1, 200)
        left.plot(100 * sizes, [data_quantity.extra_compute(law, size) for size in sizes], line, color=colour,
                  label={"refitted": "refitted", "unrounded": "first fit"}[name])  # fmt: skip
    law = data_quantity.REFITTED
    for multiple in (5, 40, 250):
        size = data_quantity.size_at(law, multiple)
        place = (100 * size, data_quantity.extra_compute(law, size))
        left.plot(*place, "o", color=BLUE, markersize=4.5)
        left.annotate(f"{data_quantity.RULE * multiple:,} a parameter", place, (6, 2), textcoords="offset points",
                      fontsize=8)  # fmt: skip
    sizes = np.geomspace(0.17, 1, 200)
    for served, colour, line in zip(data_quantity.SERVED, (BLUE, ORANGE, GREEN), ("-", "--", ":")):
        costs = [data_quantity.extra_compute(law, size) + size * served / 3 for size in sizes]
        right.plot(100 * sizes, np.array(costs) / (1 + served / 3), line, color=colour, label=f"{served}")
        best, cost = data_quantity.best_for_serving(law, served)
        right.plot(100 * best, cost, "D", color=colour, markersize=5)
    left.set(yscale="log", ylim=(0.25, 18), title="training", ylabel="compute (optimum = 1)")
    left.set_yticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    right.set_title("training and serving")
    left.legend(fontsize=8.5, loc="lower left")
    right.legend(fontsize=8.5, title="served / trained", title_fontsize=8.5, loc="upper right")
    for axis in (left, right):
        axis.minorticks_off()
        axis.set_xlabel("size, % of the optimum")
    small_text(left, right)
    return figure


def selection() -> Figure:
    """Quality of what a filter keeps against the share kept, for scores that agree more or less with quality."""
    import matplotlib.pyplot as plt
    import numpy as np

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.1))
    shares = np.geomspace(0.01, 0.99, 100)
    for correlation, colour, line in ((1, BLUE, "-"), (0.7, ORANGE, "--"), (0.4, GREEN, ":")):
        label = {1: "1 (a perfect score)"}.get(correlation, f"{correlation}")
        axis.plot(100 * shares, [data_quality.selection(share, correlation) for share in shares], line, color=colour,
                  linewidth=1.8, label=label)  # fmt: skip
    for number in (3, 2):
        share = data_quality.kept_share(number)
        axis.axvline(100 * share, color="black", linestyle=":", linewidth=1)
        axis.annotate(f"score ≥ {number}", (100 * share, 2.72), (4, -3), textcoords="offset points", fontsize=8.5)
    axis.set(xscale="log", xlim=(1, 100), ylim=(0, 2.8), xlabel="share of the text that is kept, % (log scale)",
             ylabel="mean quality of what is kept\n(standard deviations)")  # fmt: skip
    axis.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axis.minorticks_off()
    axis.legend(fontsize=8.5, title="correlation with quality", title_fontsize=8.5, loc="upper right",
                bbox_to_anchor=(1, 0.93), frameon=True, framealpha=1, edgecolor="white")  # fmt: skip
    small_text(axis)
    return figure


STEPS = (  # of filtering by a model: y, text of the left column (once), of the right column (all of the text)
    (6, "a sample", "all of the text"),
    (4, "grades by a large model,\nor a reference text", "cleaned by\nrules"),
    (2, "a small model\nlearns them", "scored by the\nsmall model"),
    (0, "threshold", "kept"),
)


def filter_pipeline() -> Figure:
    """Two columns of boxes: how the scorer is made from a sample, and how it is applied to all of the text."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 4.0))
    columns = {0.0: LIGHT["orange"], 4.6: LIGHT["green"]}
    for y, *texts in STEPS:
        for (x, face), text in zip(columns.items(), texts):
            axis.text(x, y, text, ha="center", va="center", fontsize=9.5, linespacing=1.2,
                      bbox={"boxstyle": "round,pad=0.45", "facecolor": face, "edgecolor": "black"})  # fmt: skip
    arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    for x in columns:
        for y in (6, 4, 2):
            axis.annotate("", (x, y - 1.42), (x, y - 0.55), arrowprops=arrow)
    for y, start, end in ((6, 3.5, 0.85), (2, 1.2, 3.5), (0, 0.85, 4.1)):  # sample, the trained scorer, the border
        axis.annotate("", (end, y), (start, y), arrowprops=arrow | {"linestyle": "--"})
    axis.text(0, 7.2, "once", ha="center", fontsize=10, fontweight="bold")
    axis.text(4.6, 7.2, "on every document", ha="center", fontsize=10, fontweight="bold")
    axis.set(xlim=(-2.2, 6.8), ylim=(-0.8, 7.7))
    axis.set_axis_off()
    return figure


def _size_look(parameters: float) -> tuple[str, str]:
    """Colour and marker of a model's size class."""
    return next((colour, marker) for low, high, colour, marker in SIZES.values() if low <= parameters < high)


FIGURES = {"table2": table2, "filter_effect": filter_effect, "tokens_per_parameter": tokens_per_parameter,
           "accuracy_and_tokens": accuracy_and_tokens, "overtraining": overtraining, "selection": selection,
           "filter_pipeline": filter_pipeline}  # fmt: skip
