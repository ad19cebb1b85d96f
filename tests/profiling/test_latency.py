"""Latency on tiny models: what is timed, and what the record says."""

import json

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.profiling import AbovePeakError, Peaks, measure_latency, measure_steps, profile_model, use_threads
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
    record = profile_model(CONFIG, name="tiny", threads=1, prompt=5, new_tokens=3, repeats=4, peaks=peaks())
    assert json.loads(json.dumps(record)) == record
    assert (record["model"], record["threads"], record["clock"], record["dtype"]) == ("tiny", 1, "cpu", "float32")
    assert len(record["ttft_ms_repeats"]) == len(record["tpot_ms_repeats"]) == 4
    assert record["tokens_per_second"] == pytest.approx(1e3 / record["tpot_ms"])
    assert record["cache_mb"] == pytest.approx(2 * 2 * 2 * 4 * 7 * 4 / 1e6)  # K, V · layers · heads · width · tokens
    assert record["peak_memory_mb"] > record["weights_mb"]
    assert record["roofline_tpot_ms"] < record["tpot_ms"]


@pytest.mark.parametrize(("low", "unit"), [({"flops": 1.0}, "FLOPs"), ({"bandwidth": 1.0}, "bytes")])
def test_a_latency_better_than_the_machine_is_refused_after_a_second_look(low, unit, monkeypatch):
    options = {"threads": 1, "prompt": 5, "new_tokens": 3, "repeats": 1}
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
    profile_model(CONFIG, prompt=4, new_tokens=2, repeats=1)
    assert torch.equal(torch.rand(1), expected)
