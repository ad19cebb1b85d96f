"""The stopwatch: repeats, a median with its spread, CPU time beside wall time.

On a machine that others use too, wall time also counts the waiting. CPU time on one thread does not, so it is the
default there; with several threads CPU time adds them up, and wall time is the only honest clock.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch

WIDEST = 0.25  # a spread above this share of the median says more about the machine than about the code
SLACK = 0.05  # how far a throughput may pass a peak, which is a measurement itself


class UnsteadyError(RuntimeError):
    """The repeats differ too much for their median to mean anything."""


class AbovePeakError(RuntimeError):
    """A throughput higher than the machine can reach: the measurement, or the peak, is wrong."""


@dataclass(frozen=True)
class Timing:
    """Seconds of each repeat, on both clocks. The summaries use the one named by `clock`."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]  # of the whole process, all threads
    clock: str = "wall"  # or "cpu"

    @property
    def seconds(self) -> tuple[float, ...]:
        return self.cpu if self.clock == "cpu" else self.wall

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """The middle half of the repeats as a share of the median; infinite for a single repeat."""
        if len(self.seconds) < 2:
            return float("inf")
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median if self.median else float("inf")

    @property
    def steady(self) -> bool:
        return self.spread <= WIDEST

    def __str__(self):
        unit, size = next((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 0)) if self.median >= s)
        return f"{self.median / (size or 1e-9):.3g} {unit} (± {self.spread / 2:.0%})"

    def required(self) -> float:
        """The median; raises UnsteadyError when the spread is too wide to rely on it."""
        if not self.steady:
            raise UnsteadyError(
                f"the {len(self.seconds)} repeats spread over {self.spread:.0%} of their median (at most {WIDEST:.0%} "
                "is accepted); close other programs, or ask for more repeats or more work in each"
            )
        return self.median

    def each(self, parts: int) -> "Timing":
        """The time of one of `parts` equal pieces of the work."""
        return Timing(tuple(t / parts for t in self.wall), tuple(t / parts for t in self.cpu), self.clock)


def default_clock(device: str | torch.device = "cpu") -> str:
    """ "cpu" for one thread on a processor, "wall" for everything else."""
    return "cpu" if torch.device(device).type == "cpu" and torch.get_num_threads() == 1 else "wall"


def now(device: str | torch.device = "cpu") -> tuple[float, float]:
    """Wall and CPU seconds from an arbitrary start, after the device has finished what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.process_time()


def measure(work: Callable[[], object], **options) -> Timing:
    """Times `work()`; the options are those of `measure_in_turn`."""
    return measure_in_turn({"work": work}, **options)["work"]


def measure_in_turn(
    works: dict[str, Callable[[], object]], *, repeats: int = 7, warmup: int = 1, device="cpu", clock: str | None = None
) -> dict[str, Timing]:
    """Times several works side by side: one after the other in each round, so that a slow spell hits all alike.

    `warmup` rounds are thrown away: the first call allocates, compiles and fills caches.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats = {repeats} must be at least 1 and warmup = {warmup} at least 0")
    if clock not in (None, "cpu", "wall"):
        raise ValueError(f"clock is {clock!r}; it must be cpu or wall")
    laps = {name: [] for name in works}
    for _ in range(warmup + repeats):
        for name, work in works.items():
            start = now(device)
            work()
            laps[name].append(tuple(end - begin for begin, end in zip(start, now(device))))
    return {name: timing(kept[warmup:], clock or default_clock(device)) for name, kept in laps.items()}


def timing(laps: list[tuple[float, float]], clock: str) -> Timing:
    """A Timing from (wall, cpu) pairs."""
    wall, cpu = zip(*laps)
    return Timing(wall, cpu, clock)


def throughput(amount: float, seconds: float, peak: float | None = None, what: str = "the throughput") -> float:
    """amount / seconds. Raises AbovePeakError when that passes `peak`, the same unit a second, by more than 5%."""
    if seconds <= 0:
        raise ValueError(f"seconds is {seconds}; {what} needs a time above 0")
    rate = amount / seconds
    if peak is not None and rate > peak * (1 + SLACK):
        raise AbovePeakError(
            f"{what} comes out at {rate:.3g} a second, above the measured peak of {peak:.3g}; either the work is "
            "counted wrongly or the peak was taken while the machine was busy: measure both again"
        )
    return rate
