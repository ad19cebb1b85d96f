"""The instruments themselves: a stopwatch against a known sleep and known work, a meter against known bytes."""

import platform
import time

import numpy as np
import pytest
import torch

from slmkit.profiling import (
    AbovePeakError,
    PeakMemory,
    Timing,
    UnsteadyError,
    measure,
    measure_in_turn,
    peak_memory,
    tensor_bytes,
    throughput,
    use_threads,
)


def count_to(n):
    total = 0
    for i in range(n):
        total += i
    return total


def test_a_sleep_takes_wall_time_and_no_processor_time():
    slept = measure(lambda: time.sleep(0.1), repeats=3, clock="wall")
    assert 0.1 <= slept.minimum < 0.2
    assert min(slept.cpu) < 0.03


def test_twice_the_work_takes_twice_the_processor_time():
    laps = measure_in_turn({"once": lambda: count_to(400_000), "twice": lambda: count_to(800_000)}, clock="cpu")
    assert 1.5 < laps["twice"].minimum / laps["once"].minimum < 2.7


def test_warm_up_is_thrown_away_and_works_alternate():
    calls = []
    laps = measure_in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert len(laps["a"].wall) == len(laps["b"].cpu) == 3


def test_what_prepares_a_turn_comes_before_each_and_is_not_timed():
    calls = []
    prepare = {name: lambda name=name: calls.append(f"for {name}") or time.sleep(0.1) for name in "ab"}
    laps = measure_in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, prepare=prepare, repeats=2,
                           clock="wall")  # fmt: skip
    assert calls == ["for a", "a", "for b", "b"] * 3
    assert laps["a"].median < 0.05


def test_a_slow_first_call_does_not_count():
    delays = iter([0.2, 0.0, 0.0])
    assert max(measure(lambda: time.sleep(next(delays)), repeats=2, clock="wall").wall) < 0.19


def test_summaries_are_of_the_named_clock():
    laps = Timing(wall=(4.0, 5.0, 9.0), cpu=(1.0, 2.0, 3.0), clock="cpu")
    assert (laps.median, laps.minimum, laps.spread) == (2.0, 1.0, 0.5)
    assert Timing(laps.wall, laps.cpu, "wall").median == 5.0
    assert laps.each(2).cpu == (0.5, 1.0, 1.5)


def test_a_timing_reads_in_units_that_fit():
    assert str(Timing((2.0, 2.0, 4.0, 4.0), (0.0,) * 4)) == "3 s (± 33%)"
    assert [str(Timing((t, t), (0.0,) * 2)) for t in (0.25, 4.56e-5, 2e-9)] == [
        "250 ms (± 0%)", "45.6 µs (± 0%)", "2 ns (± 0%)"
    ]  # fmt: skip


def test_the_clock_is_cpu_time_on_one_thread_only():
    with use_threads(1):
        assert measure(lambda: None, repeats=1).clock == "cpu"
    with use_threads(2):
        assert measure(lambda: None, repeats=1).clock == "wall"


def test_a_wide_spread_is_flagged_and_refused():
    steady, wild = Timing((1.0, 1.1, 1.0, 1.0), (0.0,) * 4), Timing((1.0, 2.0, 3.0, 1.5), (0.0,) * 4)
    assert steady.steady
    assert steady.required() == steady.median
    assert not wild.steady
    with pytest.raises(UnsteadyError, match="more repeats"):
        wild.required()
    with pytest.raises(UnsteadyError):
        Timing((1.0,), (1.0,)).required()  # one repeat says nothing about its spread


def made(*seconds):
    """A Timing of these wall seconds, with twice as much processor time."""
    return Timing(seconds, tuple(2 * t for t in seconds))


def test_a_machine_that_slows_down_is_noticed_whatever_the_spread():
    slower = made(1.0, 1.01, 1.0, 1.02, 1.15, 1.16, 1.15, 1.16)
    assert slower.spread < 0.25
    assert slower.drift == pytest.approx(1.155 / 1.005 - 1)
    assert slower.drifting
    assert not slower.steady
    assert slower.trouble.startswith("the later half of the 8 repeats took 15% longer than the earlier")
    faster = made(*reversed(slower.wall))
    assert faster.trouble.startswith("the later half of the 8 repeats took 13% less")
    with pytest.raises(UnsteadyError, match="close other programs"):
        slower.required()


def test_what_is_no_drift():
    assert made(1.0, 1.0, 1.0, 1.09, 1.09, 1.09).steady  # less than a tenth
    noisy = made(1.0, 1.1, 1.2, 1.3, 1.1, 1.2, 1.3, 1.35)  # a tenth, and each half differs by as much
    assert noisy.drift > 0.08
    assert noisy.steady
    assert made(1.0, 1.2, 1.2).drift == 0  # too few repeats to have halves
    assert made(1.0, 1.0, 9.0, 1.2, 1.2).drift == pytest.approx(0.2)  # the middle one is in neither half
    assert made(1.0, 1.0, 9.0, 1.2, 1.2).halves[1].cpu == (2.4, 2.4)


def test_percentiles_need_repeats_above_them():
    assert made(*range(1, 11)).percentile(90) == pytest.approx(9.1)
    assert made(*range(1, 10)).percentile(90) is None
    assert made(*range(1, 21)).percentile(95) == pytest.approx(19.05)
    assert made(*range(1, 20)).percentile(95) is None
    assert made(3.0, 1.0).percentile(50) == 2.0


def test_processors_at_work_are_processor_time_by_wall_time():
    assert Timing((1.0, 3.0), (0.5, 2.5)).busy == 0.75
    slept = measure(lambda: time.sleep(0.05), repeats=3, clock="wall")
    assert slept.busy < 0.5


def test_later_repeats_come_behind():
    both = Timing((1.0,), (2.0,), "cpu") + Timing((3.0,), (4.0,), "cpu")
    assert (both.wall, both.cpu, both.clock) == ((1.0, 3.0), (2.0, 4.0), "cpu")


def test_a_throughput_above_the_peak_is_rejected():
    assert throughput(100, 2.0, peak=50) == 50
    with pytest.raises(AbovePeakError, match="decode"):
        throughput(100, 1.0, peak=50, what="decode")
    with pytest.raises(ValueError, match="above 0"):
        throughput(100, 0.0)


def test_bad_arguments_say_what_is_right():
    with pytest.raises(ValueError, match="repeats = 0"):
        measure(count_to, repeats=0)
    with pytest.raises(ValueError, match="cpu or wall"):
        measure(count_to, clock="sun")


@pytest.mark.parametrize("megabytes", [64, 200])
def test_the_memory_meter_sees_an_array_that_comes_and_goes(megabytes):
    with PeakMemory() as memory:
        array = np.ones(megabytes * 10**6 // 8)
        time.sleep(0.1)  # on a busy machine the watching thread waits for its turn
        del array
    assert megabytes * 0.9e6 < memory.grown < megabytes * 1.3e6
    assert memory.grown < memory.peak <= peak_memory() * 1.01


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries cannot be asked to give memory back")
def test_memory_that_was_freed_before_counts_when_it_is_used_again():
    before = [np.ones(1000) for _ in range(8000)]  # 64 MB in small pieces
    kept = before[-1]  # at the end of the heap, so that what lies below it stays with the process
    del before
    with PeakMemory() as memory:
        again = [np.ones(1000) for _ in range(8000)]
    assert memory.grown > 50e6
    del again, kept


def test_tensor_bytes_counts_shared_storage_once():
    x = torch.zeros(1000)
    assert tensor_bytes(x) == 4000
    assert tensor_bytes([x, x.view(10, 100), torch.zeros(10, dtype=torch.float16)]) == 4020
    layer = torch.nn.Linear(8, 4)
    assert tensor_bytes(layer) == 4 * (8 * 4 + 4)
