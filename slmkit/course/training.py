"""Numbers of the pages on training algorithms, and the drawing of why a loss falls with the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from slmkit.course import style
from slmkit.survey import statistics, trends
from slmkit.survey.tables import findings, rows
from slmkit.survey.verdicts import OPEN
from slmkit.training.config import TrainingConfig
from slmkit.training.schedules import learning_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECTION = "2.4"
METHODS = {"mup": "µP", "kd": "KD", "two_stage": "two-stage", "multi_stage": "multi-stage"}


def users(models: Sequence[trends.Row], method: str) -> list[trends.Row]:
    """The models whose entry names a method, in order of release; an entry may name several."""
    found = [row for row in models if METHODS[method] in row["training_algorithm"].replace(" + ", ", ").split(", ")]
    return sorted(found, key=lambda row: row["release"])


def _verdict(claim: str) -> str:
    return findings().get(claim, {}).get("verdict") or OPEN


GROUPS = {"then": partial(statistics.listed, "v3"), "since": trends.since}
FACTS = {f"training.{method}.{group}": lambda method=method, rows=rows: str(len(users(rows(), method)))
         for method in METHODS for group, rows in GROUPS.items()}  # fmt: skip
FACTS |= {f"training.models.{group}": lambda rows=rows: str(len(rows())) for group, rows in GROUPS.items()}
FACTS |= {f"training.verdict.{row['id']}": partial(_verdict, row["id"])
          for row in rows("claims") if row["section"] == SECTION}  # fmt: skip


# -- a loss in two directions ------------------------------------------------------------------------------------------

STEPS, RATE = 400, 0.5
STEEP = {"curvature": 1.0, "noise": 1.0, "w": 2.0}
FLAT = {"curvature": 0.01, "noise": 0.0, "w": 20.0}
SCHEDULES = {"constant": "-", "cosine": "--", "wsd": "-."}


def rates(schedule: str) -> list[float]:
    """The rate at each step of the drawn run."""
    config = TrainingConfig(STEPS, learning_rate=RATE, schedule=schedule, warmup=0, decay=0.2, final_rate=0.0)
    return [learning_rate(config, step) for step in range(STEPS)]


def quadratic(rates: Sequence[float], curvature: float, noise: float, w: float) -> list[float]:
    """The mean of ½ h w² before the first step and after each, for w ← w - rate (h w + noise ξ), ξ of variance 1."""
    square, losses = w**2, [curvature * w**2 / 2]
    for rate in rates:
        square = (1 - rate * curvature) ** 2 * square + (rate * noise) ** 2
        losses.append(curvature * square / 2)
    return losses


def noise_floor() -> Figure:
    """Learning rates over the steps, and what each does in a steep and noisy direction, a flat one, and both."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(3, 1, figsize=(4.8, 5.6), sharex=True)
    for (schedule, line), colour in zip(SCHEDULES.items(), style.COLOURS):
        taken = rates(schedule)
        steep, flat = quadratic(taken, **STEEP), quadratic(taken, **FLAT)
        for axis, values in zip(axes, (taken, steep, flat)):
            axis.plot(values, line, color=colour, label={"wsd": "stable, then decay"}.get(schedule, schedule))
    axes[0].set(ylabel="learning rate", ylim=(0, 0.78))
    axes[0].legend(ncols=3, fontsize=9, loc="upper center", columnspacing=1, handlelength=1.6)
    for axis, title in zip(axes[1:], ("steep and noisy direction", "flat direction")):
        axis.set_title(title, fontsize=10, loc="left")
        axis.set(ylabel="mean loss", yscale="log")
    axes[2].set_xlabel("step")
    return figure


FIGURES = {"noise_floor": noise_floor}
