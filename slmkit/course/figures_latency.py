"""The drawings of lab 14: time against lengths, shapes of one size, memory's and time's shares, guess and verify."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from slmkit.config import ModelConfig
from slmkit.profiling.roofline import Peaks, decode_cost, prefill_cost
from slmkit.profiling.timing import Timing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lengths(reads: Sequence[Mapping[int, Timing]], steps: Sequence[Mapping[int, Timing]], config: ModelConfig,
            peaks: Peaks) -> "Figure":  # fmt: skip
    """Prefill by prompt and a step of decoding by context, a mapping a seed; the roofline's least times beside them."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.6))
    for axes, runs, cost, x in zip(panels, (reads, steps), (prefill_cost, decode_cost), ("prompt", "context")):
        counts = list(runs[0])
        for run in runs:
            axes.plot(counts, [1e3 * run[n].median for n in counts], "o", color="C0", markersize=4, alpha=0.6)
        fine = np.unique(np.geomspace(counts[0], counts[-1], 60).astype(int))
        bounds = [1e3 * cost(config, int(n)).seconds(peaks) for n in fine]
        axes.plot(fine, bounds, color="black", label="roofline, the least possible")
        axes.plot([], [], "o", color="C0", label="measured, a point a seed")
        axes.set(xlabel=f"{x} (tokens)")
    panels[0].set(xscale="log", yscale="log", ylabel="time of the prefill (ms)")
    panels[1].set(ylabel="time of a step (ms)", ylim=(0, None))
    panels[0].legend()
    return figure


def shapes(ratios: Mapping[str, Sequence[float] | float]) -> "Figure":
    """`ratios["PHASE_NAME"]`, a number a seed, and `ratios["bytes_NAME"]`, each to the base; a row for each name."""
    import matplotlib.pyplot as plt

    names = [key.removeprefix("bytes_") for key in ratios if key.startswith("bytes_")]
    figure, axes = plt.subplots(figsize=(6.4, 1.4 + 0.45 * len(names)))
    axes.barh(range(len(names)), [ratios[f"bytes_{name}"] for name in names], color="#dddddd", label="bytes of a step")
    for marker, colour, phase, offset in (("o", "C0", "prefill", -0.15), ("s", "C1", "decode", 0.15)):
        for y, name in enumerate(names):
            values = ratios[f"{phase}_{name}"]
            label = None if y else f"{phase}, a marker a seed"
            axes.plot(values, [y + offset] * len(values), marker, color=colour, markersize=4, label=label)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(yticks=range(len(names)), yticklabels=[name.replace("_", " ") for name in names])
    axes.set(ylim=(len(names) - 0.4, -0.6), xlabel="times the base's")
    figure.legend(loc="outside upper center", ncols=3, fontsize=9)
    return figure


def gains(found: Mapping[int, Mapping[str, Sequence[float]]]) -> "Figure":
    """`found[k]["predicted"]` and `found[k]["gain"]`, a number a prompt, for k drafted tokens."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    for marker, colour, key, offset, label in (
        ("_", "black", "predicted", -0.06, "predicted from acceptance and costs"),
        ("o", "C0", "gain", 0.06, "measured, a marker a prompt"),
    ):
        for i, made in enumerate(found.values()):
            place = [i + offset] * len(made[key])
            axes.plot(place, made[key], marker, color=colour, markersize=7, label=None if i else label)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(xticks=range(len(found)), xticklabels=list(found), ylim=(0, None))
    axes.set(xlabel="drafted tokens a pass", ylabel="times as fast as the target alone")
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    return figure
