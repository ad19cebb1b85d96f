"""The roofline's arithmetic on made-up ceilings, and its measurement on small sizes."""

from dataclasses import replace

import pytest
import torch

from slmkit import ModelConfig, count_parameters
from slmkit.profiling import (
    Cost,
    Peaks,
    decode_cost,
    measure_peaks,
    order_agreement,
    predict_latency,
    prefill_cost,
    roofline,
)
from slmkit.profiling.roofline import default_array_bytes, gemm_flops, last_level_cache, read_bandwidth, weights_read
from slmkit.profiling.timing import Timing

# 100 FLOP/s in fp32; 10 bytes/s from memory and 40 from the cache: the ridge is at 10 FLOPs a byte.
PEAKS = Peaks("cpu", "made up", 1, {"float32": {8: 80.0, 16: 100.0}}, {100: 40.0, 1000: 9.0, 10000: 10.0})
TINY = dict(vocab_size=50, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=24, max_context=64)


def test_the_roof_is_the_lower_of_the_two_ceilings():
    assert PEAKS.ridge() == 10
    assert [PEAKS.attainable(i) for i in (1, 10, 1000)] == [10, 100, 100]
    with pytest.raises(ValueError, match="measured: float32"):
        PEAKS.peak_flops(torch.bfloat16)


def test_bandwidth_is_that_of_the_memory_that_holds_the_working_set():
    assert PEAKS.peak_bandwidth() == 10
    assert PEAKS.peak_bandwidth(50) == PEAKS.peak_bandwidth(500) == 40
    assert PEAKS.peak_bandwidth(1000) == PEAKS.peak_bandwidth(10**6) == 10


@pytest.mark.parametrize(
    ("flops", "size", "seconds", "bound"),
    [(1e6, 1e4, 1e4, "compute"), (1e3, 1e4, 1e3, "memory"), (1e5 + 1, 1e4, 1000.01, "compute")],
)
def test_a_pass_takes_as_long_as_its_slower_part(flops, size, seconds, bound):
    cost = Cost(flops, size)
    assert cost.seconds(PEAKS) == pytest.approx(seconds)
    assert cost.bound(PEAKS) == bound
    assert cost.intensity == flops / size


def test_decoding_reads_every_weight_and_the_cache_once():
    config = ModelConfig(**TINY)
    weights, cache = count_parameters(config).total * 4, 2 * 2 * 2 * 4 * 10 * 4  # K and V, layers, heads, width, tokens
    one, three = decode_cost(config, 10), decode_cost(config, 10, batch=3)
    assert one.bytes == weights + cache
    assert three.bytes == weights + 3 * cache
    assert three.flops == 3 * one.flops


def test_a_lookup_table_is_read_only_when_it_is_the_head():
    tied, untied = ModelConfig(**TINY), ModelConfig(**TINY, tied_embeddings=False)
    assert weights_read(tied) == weights_read(untied) == 4 * count_parameters(tied).total
    assert weights_read(tied, torch.bfloat16) == 2 * count_parameters(tied).total
    learned = ModelConfig(**TINY, positions="learned")
    assert weights_read(learned) == weights_read(tied)


def test_prefill_computes_the_logits_of_the_last_token_only():
    config = ModelConfig(**TINY)
    one_layer = 2 * (16 * 16 * 2 + 2 * 16 * 8 + 3 * 16 * 24)  # q and out, k and v, the three of the FFN
    scores = 2 * 2 * 16 * sum(range(1, 6))  # QKᵀ and ·V: query t sees t keys
    assert prefill_cost(config, 5).flops == pytest.approx(2 * (5 * one_layer + scores) + 2 * 50 * 16)
    assert prefill_cost(config, 1) == decode_cost(config, 1)


def test_predictions_are_lower_bounds_in_seconds():
    config = ModelConfig(**TINY)
    bound = predict_latency(config, PEAKS, prompt=60)
    assert bound["tpot"] == pytest.approx(decode_cost(config, 61).bytes / 10)  # memory-bound
    assert bound["ttft"] == pytest.approx(prefill_cost(config, 60).flops / 100)  # compute-bound
    assert predict_latency(config, PEAKS, prompt=60, batch=2)["tokens_per_second"] > bound["tokens_per_second"]
    assert bound["tokens_per_second"] == pytest.approx(1 / bound["tpot"])


def test_measured_peaks_are_those_of_the_work_asked_for():
    peaks = measure_peaks(dtypes=(torch.float32,), sides=(64, 128), array_bytes=(2**20, 2**22), repeats=2)
    assert set(peaks.flops) == {"float32"}
    assert set(peaks.flops["float32"]) == {64, 128}
    assert set(peaks.bandwidth) == {2**20, 2**22}
    assert peaks.threads == torch.get_num_threads()
    assert peaks.ridge() > 0
    assert peaks.processor


def test_a_second_look_keeps_the_higher_of_each_ceiling(monkeypatch):
    before = Peaks("cpu", "made up", torch.get_num_threads(), {"float32": {64: 1.0, 128: 9.0}}, {100: 9.0, 200: 1.0})
    again = replace(before, flops={"float32": {64: 5.0, 128: 5.0}}, bandwidth={100: 5.0, 200: 5.0})
    monkeypatch.setattr(roofline, "measure_peaks", lambda *_: again)
    best = roofline.measure_again(before)
    assert best.flops == {"float32": {64: 5.0, 128: 9.0}}
    assert best.bandwidth == {100: 9.0, 200: 5.0}
    with pytest.raises(ValueError, match="threads"):
        roofline.measure_again(replace(before, threads=1000))


def test_rates_do_not_depend_on_how_much_is_read_or_multiplied(monkeypatch):
    """With a stopwatch that always reads one second, the rate is the work done in it."""
    monkeypatch.setattr(roofline, "measure", lambda work, **_: (work(), Timing((1.0,), (1.0,)))[1])
    assert gemm_flops(1024) == 2 * 1024**3
    assert gemm_flops(512) == 2 * 2 * 512**3  # two products in one timing
    assert read_bandwidth(128 * 2**20) == 128 * 2**20
    assert read_bandwidth(2**22) == 64 * 2**20  # sixteen readings
    times = iter((4.0, 2.0, 1.0))
    monkeypatch.setattr(roofline, "measure", lambda work, **_: (work(), Timing((next(times),), (1.0,)))[1])
    assert read_bandwidth(128 * 2**20) == 128 * 2**20, "the quickest of three ways counts"


def test_arrays_reach_far_past_the_cache():
    sizes = default_array_bytes(torch.device("cpu"))
    assert list(sizes) == sorted(sizes)
    assert sizes[-1] >= min(4 * (last_level_cache() or 0), 2**28)
    with pytest.raises(ValueError, match="a single row"):
        read_bandwidth(100)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no GPU"):
        measure_peaks("cuda")


def test_the_order_of_times_is_compared_where_the_prediction_tells_them_apart():
    predicted = {"a": 1.0, "b": 1.04, "c": 2.0, "d": 3.0}
    held = order_agreement(predicted, {"a": 5.0, "b": 4.0, "c": 9.0, "d": 8.0})
    assert (held.pairs, held.held) == (5, 4)  # a and b are too close for a statement
    assert held.share == 0.8
    assert held.exceptions == ["d was to take 1.50 times as long as c, took 0.89"]
    assert "4 of 5 pairs in the predicted order (80%)" in str(held)


@pytest.mark.parametrize(
    ("predicted", "message"), [({"a": 1.0}, "measured are a, b"), ({"a": 1.0, "b": 1.01}, "no two predicted times")]
)
def test_an_order_that_cannot_be_compared_is_refused(predicted, message):
    with pytest.raises(ValueError, match=message):
        order_agreement(predicted, {"a": 1.0, "b": 2.0})
