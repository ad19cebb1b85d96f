"""Numbers and drawings of the page on hardware: the survey's two devices on a roofline drawn from its own times.

A prompt's time is fitted by a line, a + b × tokens. What one more token takes is computing, what no token saves is
reading the weights; so 1/b gives the FLOP/s that a device reached and a decode step the bytes/s.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from slmkit.course import style
from slmkit.profiling.roofline import prefill_cost, weights_read
from slmkit.survey import zoo
from slmkit.survey.evidence import devices
from slmkit.survey.evidence.devices import JETSON, MEIZU

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = "Bloom-1.1B"  # the survey's Bloom-1B1
BITS = 4.5  # a weight in the engine's 4-bit formats, steps included
NAMES = {"jetson": JETSON, "phone": MEIZU}
LOOKS = {JETSON: ("o", style.COLOURS[0]), MEIZU: ("s", style.COLOURS[1])}
# The phones of the authors' table, from the oldest chip to the newest.
PHONES = ("MEIZU 18Pro", "Pixel 7Pro", "Xiaomi 12S", "Xiaomi 14")


@cache
def line(device: str) -> tuple[float, float]:
    """Milliseconds before any token, and for each token of the prompt: least squares over Figure 10a."""
    tokens, times = zip(*sorted(devices.curve("10a", device).items()))
    slope, start = np.polyfit(tokens, times, 1)
    return float(start), float(slope)


def knee(device: str) -> float:
    """Tokens of a prompt for which computing takes as long as what comes before it."""
    start, slope = line(device)
    return start / slope


def flops(device: str) -> float:
    """FLOP/s reached with the further tokens of a prompt."""
    config, (low, high) = zoo.config(MODEL), devices.SHORT
    each = (prefill_cost(config, high).flops - prefill_cost(config, low).flops) / (high - low)
    return 1e3 * each / line(device)[1]


def step(device: str) -> float:
    """Milliseconds of a generated token, the mean over Figure 10b."""
    return fmean(devices.curve("10b", device).values())


def bandwidth(device: str) -> float:
    """Bytes/s at which a decode step read the weights."""
    return 1e3 * weights_read(zoo.config(MODEL)) / 4 * BITS / 8 / step(device)


def ratio(of: Callable[[str], float]) -> float:
    """The Jetson's over the phone's."""
    return of(JETSON) / of(MEIZU)


def both(axis, figure: str):
    """The two devices' points of a figure of the survey."""
    for device, (marker, colour) in LOOKS.items():
        points = sorted(devices.curve(figure, device).items())
        axis.plot(*zip(*points), marker, color=colour, markersize=4.5, label=device)


def hardware_prefill() -> Figure:
    """Time to the first token against the prompt, with the two lines."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 3.4))
    both(axis, "10a")
    tokens = np.linspace(1, 50, 99)
    for device, (_, colour) in LOOKS.items():
        start, slope = line(device)
        axis.plot(
            tokens, start + slope * tokens, color=colour, linewidth=1, label=f"{start:.0f} + {slope:.2g} × tokens"
        )
    axis.set(xlabel="tokens of the prompt", ylabel="time to the first token, ms (log scale)", yscale="log",
             xlim=(0, 51), ylim=(20, 4000))  # fmt: skip
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def hardware_decode() -> Figure:
    """Time of each generated token."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axis = plt.subplots(figsize=(4.8, 2.8))
    both(axis, "10b")
    axis.axvline(devices.FIRST, color="#555555", linewidth=1, linestyle=":")
    axis.set(xlabel="generated token", ylabel="time of the token, ms", ylim=(0, 90))
    figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
    return figure


def hardware_phones() -> Figure:
    """Seven models on four phones, as times over those of the oldest: prefill above, decode below."""
    import matplotlib.pyplot as plt

    style.settings()
    figure, axes = plt.subplots(1, 2, figsize=(4.8, 3.2), sharey=True)
    for axis, metric, title in zip(axes, ("first token time", "latency per token"), ("prefill", "decode")):
        times = devices.phones(metric)
        models = sorted({model for _, model in times})
        for model in models:
            values = [100 * times[phone, model] / times["MEIZU 18Pro", model] for phone in PHONES]
            axis.plot(range(len(PHONES)), values, "-", color="#bbbbbb", linewidth=1, zorder=1)
            axis.plot(range(len(PHONES)), values, "o", color=style.COLOURS[0], markersize=3.5)
        axis.set_xticks(range(len(PHONES)), PHONES, rotation=40, ha="right", fontsize=8.5)
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel("time, % of the Meizu's")
    axes[0].set_ylim(0, 125)
    return figure


FIGURES = {"hardware_prefill": hardware_prefill, "hardware_decode": hardware_decode, "hardware_phones": hardware_phones}
FACTS: dict[str, Callable[[], str]] = {
    "hardware.ratio.flops": lambda: f"{ratio(flops):.0f}",
    "hardware.ratio.bandwidth": lambda: f"{ratio(bandwidth):.1f}",
    "hardware.phones": lambda: str(len(PHONES)),
    "hardware.models": lambda: str(len({model for _, model in devices.phones("first token time")})),
    "hardware.bits": partial("{:g}".format, BITS),
}
for _short, _device in NAMES.items():
    FACTS |= {
        f"hardware.{_short}.start": lambda device=_device: f"{line(device)[0]:.0f}",
        f"hardware.{_short}.each": lambda device=_device: f"{line(device)[1]:.2g}",
        f"hardware.{_short}.knee": lambda device=_device: (
            f"{knee(device):.1f}" if knee(device) < 10 else f"{knee(device):.0f}"
        ),
        f"hardware.{_short}.flops": lambda device=_device: f"{flops(device) / 1e9:.0f}",
        f"hardware.{_short}.step": lambda device=_device: f"{step(device):.0f}",
        f"hardware.{_short}.bandwidth": lambda device=_device: f"{bandwidth(device) / 1e9:.0f}",
        f"hardware.{_short}.balance": lambda device=_device: f"{flops(device) / bandwidth(device):.0f}",
        f"hardware.{_short}.spread": lambda device=_device: f"{devices.unsteadiness(device):.0f}",
        f"hardware.{_short}.later": lambda device=_device: f"{devices.unsteadiness(device, devices.FIRST):.0f}",
    }
