"""The drawings of the pages on latency and memory, and the one of the part's overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slmkit.course import latency_page as page
from slmkit.course import memory_page, style
from slmkit.survey.evidence import latency, memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
GREY = "#666666"
PHASES = {"prefill": ("o", ORANGE), "decode": ("s", BLUE)}
MODULES = {"Attention": (BLUE, None), "FFN": (ORANGE, "//"), "LM Head": (GREEN, "..")}
OPERATORS = {"mul_mat_vec_q": (BLUE, None), "cpy_f32_f16": (ORANGE, "//"), "k_bin_bcast": (GREEN, ".."),
             "quantize_q8_1": (PINK, "\\\\"), "gemm": ("#E69F00", "xx"), "other": ("#bbbbbb", None)}  # fmt: skip
HELD = {"weights": (BLUE, None), "cache": (ORANGE, "//"), "buffer": (GREEN, ".."), "other": (PINK, "\\\\")}


def token_roofline() -> Figure:
    """Time of a generated token against the bytes that it reads, with lines of equal bandwidth."""
    figure, axis = style.axes(4.8, 3.4)
    read = np.array([page.cost(name, "decode").bytes / 1e6 for name in page.names()])
    axis.plot(read, page.milliseconds("decode"), "s", color=BLUE, markersize=5, label="a model of the survey")
    ends = np.array([60, 2600])
    (bandwidth, _, _), (start, _, _) = page.line()
    many = np.geomspace(*ends, 50)
    axis.plot(many, start + many / bandwidth, color=ORANGE, label="line fitted to them")
    axis.plot(ends, ends / page.DATA_SHEET, "--", color=GREY, label="the memory's bandwidth, by its data sheet")
    for name, offset in (("SmolLM-135M", (-8, 9)), ("OpenELM-3B", (-62, 3)), ("Pythia-160M", (6, -9))):
        place = (page.cost(name, "decode").bytes / 1e6, latency.times(latency.DECODE)[name][1])
        axis.annotate(name, place, offset, textcoords="offset points", fontsize=8.5)
    axis.set(xscale="log", yscale="log", xlabel="read for a token (MB, log scale)", ylabel="time of a token (ms, log)")
    axis.set_xticks([100, 300, 1000, 2000], ["100", "300", "1000", "2000"])
    axis.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axis.minorticks_off()
    figure.legend(loc="outside upper center", ncols=1, fontsize=8.5)
    return figure


def survey_figure8() -> Figure:
    """Figures 8a and 8b: time against parameters, as the engine counts and counted once."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(1, 2, figsize=(4.8, 3.0), sharex=True)
    for axis, (phase, (marker, colour)) in zip(axes, PHASES.items()):
        for name, time in zip(page.names(), page.milliseconds(phase)):
            counted, unique = page.cost(name, phase)[:2]
            axis.plot(unique / 1e9, time, marker, color=colour, markersize=5)
            if counted > 1.05 * unique:
                axis.plot(counted / 1e9, time, marker, color=colour, markerfacecolor="white", markersize=5)
                axis.plot([unique / 1e9, counted / 1e9], [time] * 2, color=GREY, linewidth=0.8, zorder=1)
        axis.set(title=phase, ylim=(0, None), xlim=(0, 3.3), xlabel="parameters (billions)")
        axis.title.set_fontsize(10)
        axis.tick_params(labelsize=9)
    axes[0].set_ylabel("time (ms)")
    for fill, label in ((GREY, "counted once"), ("white", "as the engine counts, where a matrix counts twice")):
        axes[0].plot([], [], "o", color=GREY, markerfacecolor=fill, label=label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8,
                  handletextpad=0.2, columnspacing=0.8)  # fmt: skip
    return figure


def latency_residuals() -> Figure:
    """How far each model's times are from the fit in bytes, FLOPs and layers."""
    order = sorted(page.names(), key=page.residual("prefill").get, reverse=True)
    figure, axis = style.axes(4.8, 4.6)
    for y, name in enumerate(order):
        for phase, (marker, colour) in PHASES.items():
            axis.plot(page.residual(phase)[name], y, marker, color=colour, markersize=6, label="" if y else phase)
    axis.axvline(0, color="black", linewidth=1)
    style.rows(axis, order)
    axis.set_xlabel("time above the fit (%)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def survey_figure12() -> Figure:
    """Figure 12a: shares of time by module, and under each bar those of bytes and of FLOPs."""
    figure, axis = style.axes(4.8, 4.2)
    labels, y = [], 0.0
    for phase in page.FIGURES:
        for name in page.LABELLED:
            measured = {module: latency.shares("module")[name, phase, module] for module in MODULES}
            bars = {f"{name.removesuffix('-0.5B')}, {phase}: time": measured}
            bars |= {by: page.expected_shares(name, phase, by) for by in ("bytes", "flops")}
            for label, shares in bars.items():
                _stack(axis, y, shares, MODULES, 0.8 if "time" in label else 0.55)
                labels.append((y, label.replace("flops", "FLOPs")))
                y += 1
            y += 0.5
    axis.set_yticks(*zip(*labels), fontsize=8.5)
    axis.set(ylim=(y - 1, -0.7), xlim=(0, 100), xlabel="share (%)")
    axis.grid(axis="y", visible=False)
    _key(figure, {"attention": MODULES["Attention"], "FFN": MODULES["FFN"], "head": MODULES["LM Head"]}, 3)
    return figure


def survey_figure12b() -> Figure:
    """Figure 12b: shares of time by operator."""
    figure, axis = style.axes(4.8, 2.6)
    bars = [(name, phase) for phase in page.FIGURES for name in page.LABELLED]
    for y, bar in enumerate(bars):
        _stack(axis, y, {operator: latency.shares("operator")[(*bar, operator)] for operator in OPERATORS}, OPERATORS)
    style.rows(axis, [f"{name.removesuffix('-0.5B')}, {phase}" for name, phase in bars])
    axis.set(xlim=(0, 100), xlabel="share of time (%)")
    _key(figure, OPERATORS, 3)
    return figure


def memory_parts() -> Figure:
    """Figure 13a: memory by part, smallest first, with what the rules predict of the total."""
    names = _by_size()
    figure, axis = style.axes(4.8, 5.0)
    for y, name in enumerate(names):
        _stack(axis, y, memory_page.measured(name), HELD)
        axis.plot(sum(memory_page.predicted(name).values()), y, "|", color="black", markersize=13, markeredgewidth=2)
    style.rows(axis, names)
    axis.set_xlabel("memory at 2048 tokens (MB)")
    axis.plot([], [], "|", color="black", markersize=9, markeredgewidth=2, label="predicted total")
    _key(figure, HELD, 3, axis.get_legend_handles_labels())
    return figure


def memory_residuals() -> Figure:
    """What Figure 13a prints minus what the rules predict, part by part."""
    names = _by_size()
    figure, axis = style.axes(4.8, 5.0)
    for part, marker in zip(HELD, "osD^"):
        found = [memory_page.measured(name, False)[part] - memory_page.predicted(name)[part] for name in names]
        axis.plot(found, range(len(names)), marker, color=HELD[part][0], markersize=5, alpha=0.9, label=part)
    axis.axvline(0, color="black", linewidth=1)
    style.rows(axis, names)
    axis.set_xlabel("the figure minus the prediction (MB)")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8.5, handletextpad=0.2, columnspacing=0.9)
    return figure


FIGURES = {
    "token_roofline": token_roofline,
    "survey_figure8": survey_figure8,
    "latency_residuals": latency_residuals,
    "survey_figure12": survey_figure12,
    "survey_figure12b": survey_figure12b,
    "memory_parts": memory_parts,
    "memory_residuals": memory_residuals,
}


def _by_size() -> list[str]:
    return sorted(memory.measured(), key=lambda name: sum(memory_page.measured(name).values()))


def _stack(axis, y: float, parts: dict[str, float], looks: dict[str, tuple], height: float = 0.7):
    start = 0.0
    for part, (colour, hatch) in looks.items():
        axis.barh(y, parts[part], height, start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
        start += parts[part]


def _key(figure, looks: dict[str, tuple], ncols: int, more=((), ())):
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=colour, hatch=hatch, edgecolor="white") for colour, hatch in looks.values()]
    figure.legend([*patches, *more[0]], [*looks, *more[1]], loc="outside upper center", ncols=ncols, fontsize=8.5,
                  handlelength=1.5, columnspacing=0.9)  # fmt: skip
