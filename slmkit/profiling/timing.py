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
DRIFT = 0.1  # a second half that is so much slower or faster than the first: the machine warms up, or was not alone
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

    def percentile(self, percent: int) -> float | None:
        """The time that `percent` of the repeats stay below; None where so few repeats leave none above it."""
        if len(self.seconds) * (100 - percent) < 100:
            return None
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]

    @property
    def halves(self) -> tuple["Timing", "Timing"]:
        """The earlier and the later repeats; of an odd number the middle one is in neither."""
        half = len(self.wall) // 2
        return tuple(Timing(self.wall[part], self.cpu[part], self.clock) for part in (slice(half), slice(-half, None)))

    @property
    def drift(self) -> float:
        """How much longer the later half of the repeats took, as a share; 0 for fewer than four repeats."""
        if len(self.wall) < 4:
            return 0.0
        first, second = self.halves
        return second.median / first.median - 1 if first.median else 0.0

    @property
    def drifting(self) -> bool:
        """Whether the drift is large, and larger than what the repeats of either half differ by."""
        return abs(self.drift) > max(DRIFT, *(half.spread for half in self.halves)) if self.drift else False

    @property
    def busy(self) -> float:
        """Processors at work for this process, on average. One thread that never waits comes out at 1."""
        return sum(self.cpu) / sum(self.wall) if sum(self.wall) else 0.0

    @property
    def steady(self) -> bool:
        return self.spread <= WIDEST and not self.drifting

    @property
    def trouble(self) -> str:
        """Why the median is not to be relied on; empty when it is."""
        if self.spread > WIDEST:
            return (f"the {len(self.wall)} repeats spread over {self.spread:.0%} of their median (at most {WIDEST:.0%} "
                    "is accepted)")  # fmt: skip
        if self.drifting:
            way = "longer" if self.drift > 0 else "less"
            return (f"the later half of the {len(self.wall)} repeats took {abs(self.drift):.0%} {way} than the earlier "
                    f"(at most {DRIFT:.0%} is accepted)")  # fmt: skip
        return ""

    def __str__(self):
        unit, size = next((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("µs", 1e-6), ("ns", 0)) if self.median >= s)
        return f"{self.median / (size or 1e-9):.3g} {unit} (± {self.spread / 2:.0%})"

    def required(self) -> float:
        """The median; raises UnsteadyError when the repeats differ or drift too much to rely on it."""
        if trouble := self.trouble:
            raise UnsteadyError(f"{trouble}; close other programs, or ask for more repeats or more work in each")
        return self.median

    def __add__(self, later: "Timing") -> "Timing":
        """These repeats and later ones of the same work."""
        return Timing(self.wall + later.wall, self.cpu + later.cpu, self.clock)

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
    works: dict[str, Callable[[], object]], *, prepare: dict[str, Callable[[], object]] | None = None, repeats: int = 7,
    warmup: int = 1, device="cpu", clock: str | None = None,
) -> dict[str, Timing]:  # fmt: skip
    """Times several works side by side: one after the other in each round, so that a slow spell hits all alike.

    `prepare` has what a work needs done before each of its turns, outside the time. `warmup` rounds are thrown away:
    the first call allocates, compiles and fills caches.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats = {repeats} must be at least 1 and warmup = {warmup} at least 0")
    if clock not in (None, "cpu", "wall"):
        raise ValueError(f"clock is {clock!r}; it must be cpu or wall")
    laps = {name: [] for name in works}
    for _ in range(warmup + repeats):
        for name, work in works.items():
            if prepare:
                prepare[name]()
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
