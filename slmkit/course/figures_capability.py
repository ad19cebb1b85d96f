"""The drawings of the pages on capability. The survey's own Figures 5 and 6 are drawn by figures_survey.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import capability as page
from slmkit.course import figures_survey, style
from slmkit.survey.evidence import capability
from slmkit.survey.tables import rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = style.COLOURS[:3]


def survey_figure5() -> Figure:
    """Figure 5: a score that is missing stands as a cross where the survey draws one."""
    import pandas

    known = {row["name"]: row for row in rows("models")}
    table = [{"release": known[name]["release"], "params_exact": float(known[name]["params_exact"] or "nan"),
              "commonsense": found[capability.COMMONSENSE], "problem solving": found[capability.PROBLEMS],
              "mathematics": found.get(capability.MATHEMATICS)}
             for name, found in capability.model_scores().items()]  # fmt: skip
    drawn = next(100 * float(row["value"]) for row in rows("capability") if row["kind"] == "note")
    return figures_survey.capability_over_time(pandas.DataFrame(table), drawn)


def survey_figure6a() -> Figure:
    """Figure 6a: accuracy by examples, a panel a task."""
    import pandas

    found = pandas.DataFrame([row for row in rows("capability") if row["kind"] == "in_context"])
    found["percent"], found["examples"] = 100 * found.value.astype(float), found.shots.astype(float)
    return figures_survey.in_context(found.pivot(index=["metric", "model"], columns="examples", values="percent"))


def survey_figure6b() -> Figure:
    """Figure 6b: gain by size."""
    import pandas

    return figures_survey.gain_by_size(pandas.DataFrame(capability.markers(), columns=["billions", "points"]))


def benchmark_scores() -> Figure:
    """A row a test: the scores of all models with a record by task, guessing, and the interval that its size leaves."""
    keys = [key for key, row in page.benchmarks().items() if row["domain"] in capability.TASKS]
    figure, axis = style.axes(4.8, 3.9)
    for y, key in enumerate(keys):
        found = page.scores_on(key)
        axis.plot(found, [y] * len(found), "o", color=BLUE, alpha=0.35, markersize=4, label="a model" if not y else "")
        if (chance := page.chance(key)) is not None:
            axis.plot([chance] * 2, [y - 0.38, y + 0.38], color="black", linewidth=2, label="guessing" if not y else "")
        axis.errorbar(95, y, xerr=page.Z * page.error(key), color=ORANGE, capsize=3, linewidth=1.5,
                      label="95% interval at its size" if not y else "")  # fmt: skip
    style.rows(axis, [page.benchmarks()[key]["name"].partition(" (")[0] for key in keys])
    axis.set_xlim(5, 102)
    axis.set_xlabel("score (%)")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, handletextpad=0.3, columnspacing=0.8)
    return figure


def gains_a_year() -> Figure:
    """Points a year in each domain, as they are and at equal size, beside the LLaMA line."""
    figure, axis = style.axes(4.8, 2.6)
    looks = ((-0.17, False, "o", BLUE, "small models"), (0.17, True, "s", GREEN, "small models, at equal size"))
    for y, domain in enumerate(capability.DOMAINS):
        for shift, sized, marker, colour, label in looks:
            value, low, high = page.gain_a_year(domain, sized)
            axis.errorbar(value, y + shift, xerr=[[value - low], [high - value]], fmt=marker, color=colour, capsize=3,
                          label=label if not y else "")  # fmt: skip
        axis.plot(page.llama_a_year(domain), y, "D", color="black", markerfacecolor="white", markersize=7,
                  label="LLaMA, 7B class" if not y else "")  # fmt: skip
    style.rows(axis, figures_survey.DOMAINS)
    axis.set_xlim(left=0)
    axis.set_xlabel("gain (points a year)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, columnspacing=0.8)
    return figure


def open_and_closed() -> Figure:
    """Score by size of the models of 2024, by what is known of their data, a panel a domain."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(1, 2, figsize=(4.8, 3.0), sharex=True, sharey=True)
    for axis, domain in zip(axes, capability.TASKS):
        for closed, marker, colour, label in ((True, "s", ORANGE, "closed data"), (False, "o", BLUE, "open data")):
            found = [point for point in page.points_of(domain) if point["year"] == 2024 and point["data"]]
            found = [point for point in found if (point["data"] == "closed") == closed]
            sizes, scores = [2 ** point["size"] for point in found], [point["score"] for point in found]
            axis.plot(
                sizes,
                scores,
                marker,
                color=colour,
                markerfacecolor=colour if closed else "white",
                label=label,
                markersize=5,
            )
        axis.set(title=domain.removesuffix(" reasoning"), xscale="log", xlabel="parameters")
        axis.set_xticks([1.5e8, 5e8, 1.5e9, 4e9], ["150M", "500M", "1.5B", "4B"])
        axis.minorticks_off()
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(9.5)
    axes[0].set_ylabel("score (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def gain_and_noise() -> Figure:
    """The gain of each model on each of the eight tasks, over what two sets of items of that size would differ by."""
    tasks = sorted(page.task_names(), key=page.gain_noise)
    figure, axis = style.axes(4.8, 3.4)
    for y, task in enumerate(tasks):
        noise, found = page.gain_noise(task), capability.gains(task)
        axis.barh(y, 2 * noise, 0.7, -noise, color="#cccccc", hatch="//", edgecolor="white",
                  label="95% noise of one gain, at most" if not y else "")  # fmt: skip
        axis.plot(found, [y] * len(found), "o", color=BLUE, alpha=0.6, markersize=4, label="a model" if not y else "")
        axis.plot(sum(found) / len(found), y, "D", color=ORANGE, markeredgecolor="black", markersize=7,
                  label="mean" if not y else "")  # fmt: skip
    axis.axvline(0, color="black", linewidth=1)
    style.rows(axis, [task.partition(" (")[0] for task in tasks])
    axis.set_xlabel("gain of five examples (points)")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, handletextpad=0.3, columnspacing=0.8)
    return figure


def four_needles() -> Figure:
    """The four models of the needle test: size, and what separates two of one size."""
    figure, axis = style.axes(4.8, 2.9)
    looks = {"o": ("Qwen", BLUE), "s": ("LLaMA", ORANGE)}
    for name, size in page.NEEDLES.items():
        marker = "s" if name.startswith("Llama") else "o"
        axis.plot(size, page.needles()[name], marker, color=looks[marker][1], markersize=8)
        axis.annotate(name, (size, page.needles()[name]), (9, -3), textcoords="offset points", fontsize=8.5)
    found = list(page.needles().items())
    for (first, low), (_, high) in (found[:2], found[2:]):
        size = page.NEEDLES[first]
        axis.annotate("", (size, high - 2), (size, low + 2), arrowprops={"arrowstyle": "->", "linestyle": "--"})
        axis.annotate(f"{high - low:+.0f} at one size", (size, (low + high) / 2), (9, -3), textcoords="offset points",
                      fontsize=8.5)  # fmt: skip
    for marker, (name, colour) in looks.items():
        axis.plot([], [], marker, color=colour, label=name)
    axis.set(xscale="log", xlim=(0.35, 9), ylim=(0, 100), xlabel="parameters, as named", ylabel="needles found (%)")
    axis.set_xticks([0.5, 1, 3], ["0.5B", "1B", "3B"])
    axis.minorticks_off()
    axis.legend(loc="upper left", fontsize=8.5)
    return figure


FIGURES = {
    "survey_figure5": survey_figure5,
    "survey_figure6a": survey_figure6a,
    "survey_figure6b": survey_figure6b,
    "benchmark_scores": benchmark_scores,
    "gains_a_year": gains_a_year,
    "open_and_closed": open_and_closed,
    "gain_and_noise": gain_and_noise,
    "four_needles": four_needles,
}
