"""The drawings of the page on quantization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import quantization, style
from slmkit.profiling.quantization import FORMATS
from slmkit.survey.evidence import devices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
# Bits of one block for each kind of number: code, floats shared by the block, scales and offsets of 6 bits.
LAYOUT = {"Q8_0": (8 * 32, 16, 0), "Q4_0": (4 * 32, 16, 0), "Q4_1": (4 * 32, 32, 0), "Q4_K": (4 * 256, 32, 2 * 8 * 6)}


def quant_layouts() -> Figure:
    """Bits a weight of each format, split into codes and what the weights of a block share."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 2.4))
    parts = (("codes", BLUE, None), ("16-bit floats", ORANGE, "//"), ("6-bit scales and offsets", GREEN, ".."))
    for y, (name, layout) in enumerate(LAYOUT.items()):
        start, size = 0.0, FORMATS[name].size
        for bits, (_, colour, hatch) in zip(layout, parts, strict=True):
            axis.barh(y, bits / size, 0.6, start, color=colour, hatch=hatch, edgecolor="white")
            start += bits / size
        axis.annotate(f"{start:g}", (start, y), (4, 0), textcoords="offset points", va="center", fontsize=9.5)
    named = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=label) for label, colour, hatch in parts]
    axis.set_yticks(range(len(LAYOUT)), LAYOUT)
    axis.set(ylim=(len(LAYOUT) - 0.5, -0.5), xlim=(0, 9.4), xlabel="bits a weight")
    axis.grid(axis="y", visible=False)
    figure.legend(handles=named, loc="outside upper center", ncols=3, fontsize=8.5, handlelength=1.5, columnspacing=0.9)
    return figure


def quant_six_bits() -> Figure:
    """The twelve bytes with the eight scales and eight offsets of a super-block: which bit belongs to which."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.6))
    for byte in range(12):
        kind, i = "so"[byte // 4 % 2], byte % 4
        if byte < 8:
            fields = ((0, 2, kind, i + 4, "high"), (2, 6, kind, i, ""))
        else:
            fields = ((0, 4, "o", i + 4, "low"), (4, 4, "s", i + 4, "low"))
        for left, width, letter, index, which in fields:
            colour = {"s": "#dceaf5", "o": "#fbe5d6"}[letter]
            hatch = None if letter == "s" else "///"
            axis.barh(byte, width, 0.86, left, color=colour, edgecolor="#777777", linewidth=0.8)
            axis.barh(byte, width, 0.86, left, color="none", edgecolor="#eccab2", hatch=hatch, linewidth=0)
            label = f"{letter}{index} {which}".strip()
            axis.text(left + width / 2, byte, label, ha="center", va="center", fontsize=8.5 if width > 2 else 7.5)
    axis.set_xticks([i + 0.5 for i in range(8)], [str(7 - i) for i in range(8)])
    axis.set_yticks(range(12), [str(byte) for byte in range(12)])
    axis.set(xlim=(0, 8), ylim=(11.6, -0.6), xlabel="bit, the highest at the left", ylabel="byte")
    axis.grid(visible=False)
    return figure


def quant_noise() -> Figure:
    """The error of each format on normal weights, and with one outlier in 256."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 2.4))
    for y, name in enumerate(LAYOUT):
        plain, outlier = quantization.noise(name), quantization.noise(name, True)
        axis.plot([plain, outlier], [y, y], color="#bbbbbb", linewidth=1.5, zorder=1)
        axis.plot(plain, y, "o", color=BLUE, markersize=7, label="normal weights" if y == 0 else None)
        axis.plot(outlier, y, "s", color=ORANGE, markersize=6.5, label="one outlier in 256" if y == 0 else None)
    axis.set_yticks(range(len(LAYOUT)), LAYOUT)
    axis.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.set(ylim=(len(LAYOUT) - 0.5, -0.5), xlabel="error over weights, RMS, % (log scale)")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return figure


def quant_survey() -> Figure:
    """How much less time and how many fewer bytes than FP16: the five quantizations of the survey's Figure 9."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 2.9))
    looks = (("bytes of weights", "|", "#555555"), ("time in decode", "s", BLUE), ("time in prefill", "o", ORANGE))
    for y, name in enumerate(devices.QUANTS):
        values = (quantization.fewer_bytes(name), devices.reduction(devices.DECODE, name),
                  devices.reduction(devices.PREFILL, name))  # fmt: skip
        for value, (label, marker, colour) in zip(values, looks, strict=True):
            axis.plot(value, y, marker, color=colour, markersize=14 if marker == "|" else 7,
                      markeredgewidth=2.5 if marker == "|" else 1, label=label if y == 0 else None)  # fmt: skip
    axis.set_yticks(range(len(devices.QUANTS)), devices.QUANTS)
    axis.set(ylim=(len(devices.QUANTS) - 0.5, -0.5), xlim=(0, 100), xlabel="less than FP16, %")
    legend = figure.legend(loc="outside upper center", ncols=3, fontsize=8.5, handletextpad=0.3, columnspacing=0.9)
    legend.legend_handles[0].set_markersize(10)
    return figure


FIGURES = {"quant_layouts": quant_layouts, "quant_six_bits": quant_six_bits, "quant_noise": quant_noise,
           "quant_survey": quant_survey}  # fmt: skip
