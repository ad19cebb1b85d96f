"""The drawings of the pages on the feed-forward layer, its ratio, its activation, and normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.course.feedforward import CUBIC, GROUPS, MATCHING, PRINTED_CUBIC, gelu, ratios, tanh_gelu

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
ARROW = {"arrowstyle": "-|>", "color": "black", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
BINS = [1.875 + 0.25 * i for i in range(26)]  # of ratios: 8/3 to 2.8 are one bar, and 4 is in the middle of one


def ffn_blocks() -> Figure:
    """The two layers at equal parameters, from the bottom up: each matrix a box whose area is its parameters."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, panels = plt.subplots(1, 2, figsize=(4.8, 3.3), sharey=True, width_ratios=(4.2, 6))
    side = MATCHING / 2 + 0.2  # of the gated layer's two halves, from the middle
    kinds = {"standard": {"up": (0, 4)}, "gated": {"gate": (-side, MATCHING), "up": (side, MATCHING)}}
    for axis, (kind, halves) in zip(panels, kinds.items()):
        width = next(iter(halves.values()))[1]
        for x, _ in halves.values():
            axis.annotate("", (x, 1.05), (0, 0.35), arrowprops=ARROW)
            axis.annotate("", (0, 3.8) if x == 0 else (0.25 * x / side, 3.35), (x, 2.4), arrowprops=ARROW)
        axis.text(next(iter(halves.values()))[0] * 0.75, 2.9, "activation", ha="center", va="center", fontsize=8.5,
                  bbox={"boxstyle": "round,pad=0.25", "facecolor": "white"})  # fmt: skip
        if kind == "gated":
            axis.text(0, 3.45, "×", ha="center", va="center", fontsize=13)
        for name, (x, _) in halves.items():
            _matrix(axis, name, x, 1.05, width)
            _vector(axis, x, 2.05, width)
        axis.annotate("", (0, 5.8), (0, 5.15), arrowprops=ARROW)
        _vector(axis, 0, 3.8, width)
        _matrix(axis, "down", 0, 4.15, width)
        for y in (0, 5.8):
            _vector(axis, 0, y, 1)
        axis.set_title(f"{kind}, {len(halves) + 1} matrices", fontsize=10)
        axis.margins(0.02)
        axis.set_aspect("equal")
        axis.set_axis_off()
    return figure


def _vector(axis, x: float, y: float, width: float):
    axis.barh(y + 0.175, width, 0.35, left=x - width / 2, color=ORANGE if width == 1 else BLUE)
    label = {1: "D", 4: "4 D"}.get(width, "8/3 D")
    axis.text(x, y + 0.16, label, ha="center", va="center", fontsize=8, color="white")


def _matrix(axis, name: str, x: float, y: float, width: float):
    axis.barh(y + 0.5, width, 1, left=x - width / 2, facecolor="#e6e6e6", edgecolor="#777777")
    axis.text(x, y + 0.48, name, ha="center", va="center", fontsize=9.5)


def ratio_counts() -> Figure:
    """How many models have which ratio: standard and gated layers of the survey's table, and ours since."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(2, 1, figsize=(4.8, 3.9), sharex=True)
    for axis, (group, title) in zip(axes, (("then", "the survey's table"), ("since", "ours, after the survey"))):
        kinds = ("standard", "gated")
        values = [ratios(GROUPS[group](), ffn) for ffn in kinds]
        look = {"color": (BLUE, ORANGE), "hatch": ("//", ""), "edgecolor": "white"}
        axis.hist(values, BINS, stacked=True, label=kinds, **look)
        axis.axvline(MATCHING, color="black", linestyle="--", linewidth=1)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylabel("models")
        axis.grid(axis="x", visible=False)
    axes[0].annotate(
        "8/3", (MATCHING, axes[0].get_ylim()[1]), (-3, -8), textcoords="offset points", ha="right", fontsize=9
    )
    axes[0].legend(title="feed-forward layer", fontsize=9, title_fontsize=9)
    axes[1].set_xlabel("ratio: inner width / width of the model")
    return figure


def activation_curves() -> Figure:
    """The activations, their derivatives, what the tanh form of GELU misses, and SiLU with the survey's extra x."""
    import matplotlib.pyplot as plt
    import torch

    from slmkit.model.feedforward import ACTIVATION

    style.settings()
    figure, ((curves, slopes), (errors, silu)) = plt.subplots(2, 2, figsize=(4.8, 4.8))
    looks = {"relu": (BLUE, "-", "ReLU"), "relu2": (PINK, "-.", "ReLU²"), "gelu": (ORANGE, "--", "GELU"),
             "silu": (GREEN, ":", "SiLU")}  # fmt: skip
    x = torch.linspace(-4, 4, 801, dtype=torch.float64, requires_grad=True)
    for name, (colour, line, label) in looks.items():
        y = ACTIVATION[name](x)
        look = {"color": colour, "linestyle": line, "linewidth": 1.8}
        curves.plot(x.detach(), y.detach(), label=label, **look)
        slopes.plot(x.detach(), torch.autograd.grad(y.sum(), x)[0], **look)
    curves.set(title="activation", xlim=(-4, 3), ylim=(-0.5, 3.5))
    slopes.set(title="its derivative", xlim=(-4, 3), ylim=(-0.3, 2.6))
    places = x.detach().tolist()
    for constant, line in ((CUBIC, "-"), (PRINTED_CUBIC, "--")):
        missed = [1000 * (tanh_gelu(value, constant) - gelu(value)) for value in places]
        errors.plot(places, missed, line, label=f"{constant}")
    errors.set(title="tanh form minus GELU", ylabel="thousandths", ylim=(-1, 2.9))
    bent = ACTIVATION["silu"](x.detach())
    silu.plot(places, bent, ":", color=GREEN, linewidth=1.8, label="x σ(x)")
    silu.plot(places, x.detach() * bent, "--", color="black", label="x · x σ(x)")
    silu.set(title="SiLU as printed", xlim=(-4, 3), ylim=(-0.5, 5.5))
    for axis in (curves, errors, silu):
        axis.legend(fontsize=8, loc="upper left", handlelength=1.8, borderpad=0.1)
    for axis in figure.axes:
        axis.set_xlabel("input")
        axis.title.set_fontsize(10)
        axis.tick_params(labelsize=9)
    return figure


PLACEMENTS = {  # what a branch passes on its way, then what stands on the stream behind the sum; who has it
    "pre": (("norm", "f"), (), "most models"),
    "post": (("f", "norm"), (), "OLMo 2"),
    "both": (("norm", "f", "norm"), (), "Gemma 2, 3"),
    "after the sum": (("f",), ("norm",), "the first\ntransformer"),
}


def norm_placements() -> Figure:
    """Where norms stand around a branch f: four columns, each with the residual stream at the left, from the bottom."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, panels = plt.subplots(1, 4, figsize=(4.8, 3.3), sharey=True)
    for axis, (name, (branch, stream, users)) in zip(panels, PLACEMENTS.items()):
        axis.annotate("", (0, 6.6), (0, 0), arrowprops=ARROW)
        axis.plot([0, 1.2, 1.2], [0.5, 0.5, 4.6], color="black", linewidth=1)
        axis.annotate("", (0.17, 4.6), (1.2, 4.6), arrowprops=ARROW)
        axis.text(0, 4.6, "+", ha="center", va="center", bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white"})
        for place, part in zip((1.3, 2.5, 3.7) if len(branch) == 3 else (1.8, 3.2), branch):
            _box(axis, 1.2, place, part)
        for part in stream:
            _box(axis, 0, 5.6, part)
        axis.set(title=name, xlim=(-0.75, 2), ylim=(-1.2, 6.8))
        axis.title.set_fontsize(9.5)
        axis.text(0.6, -0.3, users, ha="center", va="top", fontsize=8.5)
        axis.set_axis_off()
    return figure


def _box(axis, x: float, y: float, part: str):
    colour = "#fbe5d6" if part == "norm" else "#d9efe6"
    axis.text(x, y, part, ha="center", va="center", fontsize=9, bbox={"boxstyle": "round,pad=0.3", "facecolor": colour})


def norm_effect() -> Figure:
    """One vector of eight numbers with an offset, and what LayerNorm and RMSNorm make of it."""
    import matplotlib.pyplot as plt
    import torch
    import torch.nn.functional as F

    style.settings()
    x = torch.tensor([3.0, 1.0, 4.0, 1.5, 5.5, 2.0, 6.5, 2.5])
    made = {"input": x, "LayerNorm": F.layer_norm(x, x.shape), "RMSNorm": F.rms_norm(x, x.shape)}
    figure, axes = plt.subplots(1, 3, figsize=(4.8, 2.3))
    for axis, (name, values), colour in zip(axes, made.items(), ("#666666", BLUE, ORANGE)):
        axis.bar(range(1, 9), values, color=colour)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.axhline(values.mean(), color="black", linestyle="--", linewidth=1)
        axis.set(title=name, xticks=(1, 8), xlabel="number", ylim=(0, 7) if name == "input" else (-1.6, 2.2))
        axis.title.set_fontsize(10)
        axis.tick_params(labelsize=9)
    axes[0].set_ylabel("value")
    return figure


FIGURES = {"ffn_blocks": ffn_blocks, "ratio_counts": ratio_counts, "activation_curves": activation_curves,
           "norm_placements": norm_placements, "norm_effect": norm_effect}  # fmt: skip
