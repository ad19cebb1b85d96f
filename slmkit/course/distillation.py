"""The numbers of the page on distillation, and its drawing of what the two directions of the KL do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.survey import trends, zoo
from slmkit.training.distillation import jensen_shannon, stored_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

REAL, KEPT, TOKENS = "SmolLM2-135M", 64, 10**9  # the example of stored outputs: k, and how many tokens
PRUNED = "pruning + KD"
UNMARKED = ("MiniMA-3B", "MiniMA-2-1B", "Minitron-4B")  # distilled, says the title of each one's paper


def _stored(k: int | None, tokens: int = 1) -> int:
    return stored_bytes(tokens, zoo.config(REAL).vocab_size, k)


FACTS: dict[str, Callable[[], str]] = {
    "distill.unmarked": lambda: ", ".join(UNMARKED[:-1]) + f" and {UNMARKED[-1]}",
    "distill.pruned": lambda: str(sum(row["training_algorithm"] == PRUNED for row in trends.since())),
    "distill.vocabulary": lambda: f"{zoo.config(REAL).vocab_size:,}",
    "distill.k": lambda: str(KEPT),
    "distill.all_bytes": lambda: f"{_stored(None):,}",
    "distill.top_bytes": lambda: f"{_stored(KEPT):,}",
    "distill.all_total": lambda: f"{_stored(None, TOKENS) / 1e12:.0f} TB",
    "distill.top_total": lambda: f"{_stored(KEPT, TOKENS) / 1e9:.0f} GB",
}


# -- the drawing -------------------------------------------------------------------------------------------------------


def two_peaks() -> tuple[Tensor, Tensor]:
    """Places, and the log-probabilities of a teacher with a higher peak at the left and a lower one at the right."""
    import torch

    place = torch.linspace(-6, 6, 121, dtype=torch.float64)
    left, right = (torch.exp(-((place - middle) ** 2)) for middle in (-2.5, 2.5))
    return place, (0.7 * left + 0.3 * right).log().log_softmax(-1)


def nearest_bell(beta: float) -> tuple[float, float]:
    """Middle and width of the bell curve with the least divergence from the two peaks, found on a grid."""
    import torch

    place, teacher = two_peaks()
    middles, widths = torch.linspace(-4, 4, 161).double(), torch.linspace(0.4, 4, 73).double()
    middle, width = (x.flatten()[:, None] for x in torch.meshgrid(middles, widths, indexing="ij"))
    bells = (-(((place - middle) / width) ** 2) / 2).log_softmax(-1)
    best = jensen_shannon(bells, teacher, beta).argmin()
    return middle[best].item(), width[best].item()


def cover_and_seek() -> Figure:
    """The teacher's two peaks and the bell curve nearest to it, by the forward and by the reverse KL."""
    import matplotlib.pyplot as plt

    style.settings()
    place, teacher = two_peaks()
    figure, axis = plt.subplots(figsize=(4.8, 2.9))
    axis.fill_between(place, teacher.exp(), color="#dddddd", label="teacher")
    for name, beta, line, colour in (
        ("forward KL", 0, "-", style.COLOURS[0]),
        ("reverse KL", 1, "--", style.COLOURS[1]),
    ):
        middle, width = nearest_bell(beta)
        bell = (-(((place - middle) / width) ** 2) / 2).softmax(-1)
        axis.plot(place, bell, line, color=colour, linewidth=2, label=name)
    axis.set(xlabel="outcome (arbitrary units)", ylabel="probability", ylim=(0, None))
    axis.legend(fontsize=9)
    return figure


FIGURES = {"cover_and_seek": cover_and_seek}
