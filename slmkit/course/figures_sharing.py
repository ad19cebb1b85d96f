"""The drawings of the pages on vocabulary, on sharing parameters, and on layer-wise scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.course.sharing import ELM, counted_rows, embedding_share, layer_parameters
from slmkit.survey import trends, zoo
from slmkit.survey.evidence import memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PINK = style.COLOURS[:4]
GREY = "#bbbbbb"
# Vocabulary classes drawn alike: colour and marker.
GROUPED = {
    "up to 50k": (("up to 50k",), BLUE, "o"),
    "50k to 150k": (("50k-100k", "100k-150k"), ORANGE, "s"),
    "above 150k": (("150k-200k", "above 200k"), GREEN, "^"),
}
NAMED = {"Gemma-3-270M": (7, -3), "Bloom-560M": (7, -3), "Pythia-160M": (7, -3), "OPT-125M": (7, -4),
         "Minitron-4B": (-61, 3)}  # fmt: skip
HELD = (-0.1, 0.15)  # where the attention and the FFN stand that a model holds; a token passes at 1
MEASURED = ("Gemma-2B", "Bloom-560M", "Qwen2-0.5B", "Pythia-1.4B", "SmolLM-360M", "OpenELM-1.1B")


def embedding_shares() -> Figure:
    """The embedding's share of the parameters against size, a marker a model; the survey's filled, ours hollow."""
    figure, axis = style.axes(4.8, 3.9)
    for group, rows in counted_rows().items():
        for row in rows:
            _, colour, marker = next(look for look in GROUPED.values() if trends.option(row, "vocabulary") in look[0])
            x, y = float(row["params_exact"]), 100 * embedding_share(row)
            axis.plot(x, y, marker, color=colour, markerfacecolor=colour if group == "then" else "white", markersize=5)
            if row["name"] in NAMED:
                axis.annotate(row["name"], (x, y), NAMED[row["name"]], textcoords="offset points", fontsize=8)
    for label, (_, colour, marker) in GROUPED.items():
        axis.plot([], [], marker, color=colour, markersize=5, label=label)
    axis.plot([], [], "o", color="black", markerfacecolor="white", markersize=5, label="hollow: since the survey")
    axis.set_xscale("log")
    ticks = {1e8: "100M", 3e8: "300M", 1e9: "1B", 3e9: "3B"}
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()
    axis.set(xlim=(0.9e8, 6e9), ylim=(0, 68))
    axis.set_xlabel("parameters (log scale)")
    axis.set_ylabel("in embedding and head, %")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, title="vocabulary", title_fontsize=8.5,
                  handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    return figure


def memory_and_vocabulary() -> Figure:
    """Parts of the memory that the survey measured, and where the buffer would end by the vocabulary alone."""
    figure, axis = style.axes(4.8, 3.6)
    parts = {"compute buffer": (ORANGE, "//"), "model parameters": (BLUE, ""), "KV cache": (GREEN, ".."),
             "other memory": (GREY, "")}  # fmt: skip
    for y, name in enumerate(MEASURED):
        left = 0.0
        for part, (colour, hatch) in parts.items():
            size = memory.parts()[name, part]
            axis.barh(
                y, size, 0.6, left=left, color=colour, hatch=hatch, edgecolor="white", label=part if not y else None
            )
            left += size
        axis.plot([memory.logits_mb(name)] * 2, [y - 0.42, y + 0.42], color="black", linewidth=2,
                  label=None if y else f"{memory.UBATCH} × vocabulary × 4 bytes")  # fmt: skip
    sizes = [f"{name}\n{int(memory.row_of(name)['vocab_size']):,}" for name in MEASURED]
    axis.set_yticks(range(len(sizes)), sizes, fontsize=8.5)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(f"memory at {memory.CONTEXT:,} tokens, MiB")
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5, columnspacing=0.9, handlelength=1.6)
    return figure


def sharing_kinds() -> Figure:
    """Three models of six layers: what each holds at the left, what a token passes through at the right."""
    import matplotlib.pyplot as plt

    style.settings()
    layers = 6
    # For each kind, which layers read the same attention, and which the same FFN.
    kinds = {
        "nothing shared": (range(layers), range(layers)),
        "neighbouring\nblocks": ([i // 2 for i in range(layers)],) * 2,
        "one FFN for\nall layers": (range(layers), [0] * layers),
    }
    figure, panels = plt.subplots(1, 3, figsize=(4.8, 4.2), sharey=True)
    for axis, (name, owners) in zip(panels, kinds.items()):
        held = {}  # (part, owner) -> its height, the mean of the places that read it
        for part, owner in enumerate(owners):
            for one in dict.fromkeys(owner):
                places = [_height(i, part) for i in range(layers) if owner[i] == one]
                held[part, one] = sum(places) / len(places)
                for place in places:
                    axis.plot([HELD[part], 1], [held[part, one], place], color="#999999", linewidth=0.9, zorder=1)
        axis.annotate(
            "", (1, 2 * layers - 0.1), (1, -0.8), arrowprops={"arrowstyle": "-|>", "color": "black"}, zorder=1
        )
        for part, (colour, marker) in enumerate(((ORANGE, "s"), (BLUE, "o"))):
            heights = [height for (kind, _), height in held.items() if kind == part]
            axis.scatter([HELD[part]] * len(heights), heights, 62, colour, marker=marker, zorder=2)
            axis.scatter([1] * layers, [_height(i, part) for i in range(layers)], 62, "white", marker=marker,
                         edgecolors=colour, linewidths=1.5, zorder=2)  # fmt: skip
        axis.set_title(name, fontsize=9.5)
        axis.set_xticks([sum(HELD) / 2, 1], ["held", "passed"], fontsize=9)
        axis.set(xlim=(-0.35, 1.35), ylim=(-1, 2 * layers))
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
    panels[0].scatter([], [], 50, ORANGE, marker="s", label="attention")
    panels[0].scatter([], [], 50, BLUE, marker="o", label="feed-forward layer")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, handletextpad=0.1)
    return figure


def _height(layer: int, part: int) -> int:
    """Where attention (0) and FFN (1) of a layer stand, from the bottom up."""
    return 2 * layer + part


def openelm_layers() -> Figure:
    """OpenELM-1.1B layer by layer: heads, ratio, and the weights of attention and FFN."""
    import matplotlib.pyplot as plt

    style.settings()
    config = zoo.config(ELM)
    layers = range(1, config.n_layers + 1)
    figure, (heads, ratio, weights) = plt.subplots(3, 1, figsize=(4.8, 5.2), sharex=True)
    heads.step(layers, config.n_heads, "-", where="mid", color=BLUE, label="query heads")
    heads.step(layers, config.n_kv_heads, "--", where="mid", color=ORANGE, label="key/value heads")
    heads.set(ylim=(0, 36), ylabel="heads")
    heads.legend(fontsize=8.5, loc="center right", bbox_to_anchor=(1, 0.52))
    ratio.step(layers, [width / config.d_model for width in config.d_ff], where="mid", color=BLUE)
    mean = sum(config.d_ff) / config.n_layers / config.d_model
    ratio.axhline(mean, color="black", linestyle=":", linewidth=1)
    ratio.text(1, mean + 0.12, "the mean", fontsize=8.5)
    ratio.set(ylim=(0, 4.4), ylabel="FFN width /\nmodel width")
    ffn = [3 * config.d_model * width / 1e6 for width in config.d_ff]
    rest = [layer_parameters(config, i) / 1e6 - ffn[i] for i in range(config.n_layers)]
    weights.bar(layers, rest, color=ORANGE, label="attention", edgecolor="white")
    weights.bar(layers, ffn, bottom=rest, color=BLUE, hatch="//", edgecolor="white", label="feed-forward layer")
    weights.set(ylabel="parameters,\nmillions", xlabel="layer")
    weights.legend(fontsize=8.5, loc="upper left")
    weights.set_xticks((1, 7, 14, 21, 28))
    for axis in figure.axes:
        axis.grid(axis="x", visible=False)
        axis.yaxis.label.set_fontsize(9.5)
    figure.align_ylabels()
    return figure


PATTERNS = ("Gemma-2-2B", "Gemma-3-1B", "MobileLLM-Pro-1B", "Tiny-Aya-3.35B", "SmolLM3-3B")


def layer_patterns() -> Figure:
    """What each of a model's first 18 layers sees: everything or a window, with positions or without."""
    figure, axis = style.axes(4.8, 2.7)
    looks = {"a window": (BLUE, "o", "white"), "everything": (ORANGE, "s", ORANGE),
             "everything, no positions": (GREEN, "D", GREEN)}  # fmt: skip
    for y, name in enumerate(PATTERNS):
        config = zoo.config(name)
        for i in range(18):
            kind = "a window" if config.layer(i).window else "everything"
            kind += ", no positions" * (config.rotation(i) is None)
            colour, marker, face = looks[kind]
            axis.plot(i + 1, y, marker, color=colour, markerfacecolor=face, markersize=6.5)
    for label, (colour, marker, face) in looks.items():
        axis.plot([], [], marker, color=colour, markerfacecolor=face, label=label)
    axis.set_yticks(range(len(PATTERNS)), PATTERNS, fontsize=8.5)
    axis.set_xticks((1, 6, 12, 18))
    axis.set(ylim=(len(PATTERNS) - 0.5, -0.5), xlabel="layer")
    axis.grid(visible=False)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8.5, handletextpad=0.1, columnspacing=0.8)
    return figure


FIGURES = {
    "embedding_shares": embedding_shares,
    "memory_and_vocabulary": memory_and_vocabulary,
    "sharing_kinds": sharing_kinds,
    "openelm_layers": openelm_layers,
    "layer_patterns": layer_patterns,
}
