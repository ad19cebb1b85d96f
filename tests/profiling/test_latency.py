"""Latency on tiny models: what is timed, and what the record says."""

import json

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.profiling import (
    AbovePeakError,
    Latency,
    Peaks,
    Timing,
    UnsteadyError,
    measure_latency,
    measure_memory,
    measure_steps,
    profile_model,
    steady_latency,
    use_threads,
)
from slmkit.profiling import latency as latency_module

CONFIG = ModelConfig(vocab_size=50, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, max_context=64)


def peaks(flops=1e15, bandwidth=1e15, threads=1):
    return Peaks("cpu", "made up", threads, {"float32": {64: flops}}, {1000: bandwidth})


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(CONFIG)


def test_first_token_and_further_tokens_are_told_apart(model, monkeypatch):
    """On a clock that the model itself turns, 100 seconds for a prompt and 10 for a token, exactly these come out."""
    shapes, hidden, clock = [], model.hidden, [0.0]

    def slow(ids, *rest):
        shapes.append(tuple(ids.shape))
        clock[0] += 100 if ids.shape[1] > 1 else 10
        return hidden(ids, *rest)

    monkeypatch.setattr(model, "hidden", slow)
    monkeypatch.setattr(latency_module, "now", lambda device: (clock[0], 2 * clock[0]))
    latency = measure_latency(model, prompt=7, new_tokens=4, repeats=3, warmup=1, batch=2, clock="wall")
    assert shapes == [(2, 7), (2, 1), (2, 1), (2, 1)] * 4
    assert latency.ttft.wall == (100,) * 3
    assert latency.ttft.cpu == (200,) * 3
    assert latency.tpot.wall == (10,) * 3
    assert latency.tpot.cpu == (20,) * 3
    assert latency.tokens_per_second == pytest.approx(2 / 10)


@pytest.mark.parametrize(("options", "message"), [({"new_tokens": 1}, "at least 2"), ({"repeats": 0}, "repeats = 0")])
def test_bad_arguments_say_what_is_right(model, options, message):
    with pytest.raises(ValueError, match=message):
        measure_latency(model, 4, **options)


def test_the_record_is_json_and_complete():
    record = profile_model(
        CONFIG, name="tiny", threads=1, prompt=5, new_tokens=3, repeats=4, peaks=peaks(), anyway=True
    )
    assert json.loads(json.dumps(record)) == record
    assert (record["model"], record["threads"], record["clock"], record["dtype"]) == ("tiny", 1, "cpu", "float32")
    assert len(record["ttft_ms_repeats"]) == len(record["tpot_ms_repeats"]) in (4, 8, 12)
    assert record["tokens_per_second"] == pytest.approx(1e3 / record["tpot_ms"])
    assert record["cache_mb"] == pytest.approx(2 * 2 * 2 * 4 * 7 * 4 / 1e6)  # K, V · layers · heads · width · tokens
    assert record["peak_memory_mb"] > record["weights_mb"]
    parts = measure_memory(Decoder(CONFIG), 5, 3).columns()
    assert {name: record[name] for name in parts} == parts
    assert record["roofline_tpot_ms"] < record["tpot_ms"]


@pytest.mark.parametrize(("low", "unit"), [({"flops": 1.0}, "FLOPs"), ({"bandwidth": 1.0}, "bytes")])
def test_a_latency_better_than_the_machine_is_refused_after_a_second_look(low, unit, monkeypatch):
    options = {"threads": 1, "prompt": 5, "new_tokens": 3, "repeats": 1, "anyway": True}
    monkeypatch.setattr(latency_module, "measure_again", lambda peaks: peaks)
    with pytest.raises(AbovePeakError, match=unit):
        profile_model(CONFIG, peaks=peaks(**low), **options)
    threads = []
    monkeypatch.setattr(
        latency_module, "measure_again", lambda low: (threads.append(torch.get_num_threads()), peaks())[1]
    )
    profile_model(CONFIG, peaks=peaks(**low), **options)  # the first look was in a slow spell
    assert set(threads) == {1}


def test_peaks_of_another_thread_count_are_refused():
    with pytest.raises(ValueError, match="measured with 2 threads"):
        profile_model(CONFIG, threads=1, prompt=5, new_tokens=3, peaks=peaks(threads=2))


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with use_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="at least 1"), use_threads(0):
        pass


def test_a_step_reads_one_token_after_all_but_one_of_the_context(model, monkeypatch):
    seen, hidden = [], model.hidden

    def watched(ids, cache, padding=None):
        seen.append((tuple(ids.shape), cache.length))
        return hidden(ids, cache, padding)

    monkeypatch.setattr(model, "hidden", watched)
    times = measure_steps({"one": model, "two": model}, 8, repeats=2)
    assert seen == [((1, 1), 7)] * 6  # two models, a warm-up and two repeats
    assert list(times) == ["one", "two"]


def test_a_configuration_is_built_without_touching_the_global_seed():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    profile_model(CONFIG, prompt=4, new_tokens=2, repeats=1, anyway=True)
    assert torch.equal(torch.rand(1), expected)


# -- steady or not, on times that are made up


def made(ttft, tpot=(1.0, 1.0, 1.0, 1.0), cpu=1.0):
    """A latency of these wall seconds, with `cpu` times as much processor time."""
    first, rest = (Timing(tuple(t), tuple(cpu * x for x in t)) for t in (ttft, tpot))
    return Latency(50, 50, 1, first, rest)


def measured_as(*latencies):
    """A stand-in for a measurement that gives one latency after another, and what was asked of it."""
    asked, left = [], iter(latencies)
    return asked, lambda warmup: asked.append(warmup) or next(left)


STEADY, WILD = (1.0, 1.0, 1.0, 1.1), (1.0, 2.0, 3.0, 1.5)


def test_a_steady_machine_is_measured_once():
    asked, measure = measured_as(made(STEADY))
    assert steady_latency(measure, 1).ttft.wall == STEADY
    assert asked == [1]


def test_a_short_disturbance_is_made_up_for_by_more_repeats():
    asked, measure = measured_as(made(WILD), made(STEADY), made(STEADY))
    latency = steady_latency(measure, 1)
    assert asked == [1, 0, 0]  # warmed up once
    assert latency.ttft.wall == WILD + STEADY + STEADY
    assert latency.tpot.wall == (1.0,) * 12
    assert not latency.trouble


@pytest.mark.parametrize(("latency", "message"), [
    (made(WILD), r"time to the first token: the 12 repeats spread over \d+% of their median"),
    (made(STEADY, WILD), "time per further token: the 12 repeats spread"),
    (made(WILD, cpu=0.5), r"it had 0.5 of 1 processors\. Close other programs"),
])  # fmt: skip
def test_a_busy_machine_is_refused_with_the_reason_and_the_remedy(latency, message):
    asked, measure = measured_as(*[latency] * 3)
    with pytest.raises(UnsteadyError, match=message) as error:
        steady_latency(measure, 1)
    assert asked == [1, 0, 0]
    assert "--anyway" in str(error.value)
    assert ("processors" in str(error.value)) == (latency.tpot.busy < 0.9)


def test_a_busy_machine_is_reported_with_a_mark_when_asked():
    latency = steady_latency(measured_as(*[made(WILD)] * 3)[1], 1, anyway=True)
    columns = latency.columns()
    assert columns["steady"] is False
    assert "spread over" in columns["trouble"]
    assert made(STEADY).columns()["steady"] is True


def test_columns_hold_percentiles_drift_and_processors():
    columns = made([0.001 * i for i in range(1, 21)], [0.01] * 5 + [0.02] * 5, cpu=2.0).columns()
    assert columns["ttft_ms_p90"] == pytest.approx(18.1)
    assert columns["ttft_ms_p95"] == pytest.approx(19.05)
    assert (columns["tpot_ms_p90"], columns["tpot_ms_p95"]) == (pytest.approx(20), None)
    assert columns["tpot_drift"] == pytest.approx(1.0)
    assert columns["busy_processors"] == pytest.approx(2.0)


def test_the_record_refuses_a_busy_machine(monkeypatch):
    monkeypatch.setattr(latency_module, "measure_latency", lambda *_, **__: made(WILD))
    with pytest.raises(UnsteadyError, match="not steady enough"):
        profile_model(CONFIG, prompt=5, new_tokens=3)
    assert profile_model(CONFIG, prompt=5, new_tokens=3, anyway=True)["steady"] is False


def test_a_bar_is_shown_when_asked(model, monkeypatch, capsys):
    monkeypatch.setattr(latency_module, "BAR_DELAY", 0)
    measure_latency(model, 4, 2, repeats=2, progress=True)
    assert "/3" in capsys.readouterr().err  # a warm-up and two repeats
    measure_latency(model, 4, 2, repeats=2)
    assert capsys.readouterr().err == ""
