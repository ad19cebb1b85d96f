"""The breakdown by part and operator: its sums, what counts as whose, and a model left as it was."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from slmkit import Decoder, ModelConfig
from slmkit.profiling import operators
from slmkit.profiling.operators import (
    LAP,
    OTHER,
    PARTS,
    Breakdown,
    breakdown,
    laps_of,
    parts,
    recording,
    rows_of,
)

CONFIG = ModelConfig(vocab_size=2000, d_model=192, n_layers=2, n_heads=4, n_kv_heads=2, max_context=256)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Decoder(CONFIG)


def event(name, own, *children, kernels=()):
    """A node of the profiler's tree, times in microseconds."""
    launched = [SimpleNamespace(duration=duration) for duration in kernels]
    total = own + sum(child.cpu_time_total for child in children)
    return SimpleNamespace(
        name=name, self_cpu_time_total=own, cpu_time_total=total, cpu_children=children, kernels=launched
    )


TREE = event(
    LAP,
    100,
    event("aten::arange", 3),
    event(
        "attention",
        20,
        event("aten::linear", 1, event("aten::t", 2), event("aten::mm", 40, kernels=(30, 7))),
        event("norms", 5, event("aten::rms_norm", 6, event("aten::mul", 7, kernels=(2,)))),
        kernels=(1000,),  # what a range spans on the device is not a kernel
    ),
    event("norms", 8, event("aten::rms_norm", 9, kernels=(4,))),
    event("aten::add", 10, kernels=(5,)),
    kernels=(2000,),
)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_both_sums_are_the_total_within_two_percent(model, phase):
    found = breakdown(model, prompt=128, new_tokens=4, phase=phase, repeats=4)
    for rows in found.by_module, found.by_operator:
        assert sum(rows.values()) == pytest.approx(found.total, rel=0.02)
    assert list(found.by_module) == [*PARTS, OTHER]
    assert all(seconds > 0 for seconds in found.by_module.values())
    assert {"linear", "rms_norm", "scaled_dot_product_attention", "silu", "argmax", OTHER} <= found.by_operator.keys()
    assert list(found.by_operator.values()) == sorted(found.by_operator.values(), reverse=True)
    assert 0 < found.products < 1
    assert found.plain > 0


def test_the_outermost_part_and_operator_get_the_time_of_all_within():
    by_module, by_operator = rows_of(TREE)
    seconds = {name: round(1e6 * value) for name, value in by_module.items()}
    assert seconds == {"embedding": 0, "attention": 81, "ffn": 0, "norms": 17, "head": 0, OTHER: 113}
    seconds = {name: round(1e6 * value) for name, value in by_operator.items()}
    assert seconds == {OTHER: 133, "linear": 43, "rms_norm": 22, "add": 10, "arange": 3}


def test_on_a_gpu_kernels_are_counted_where_they_were_launched_and_the_rest_is_other():
    by_module, by_operator = rows_of(TREE, "cuda")
    assert TREE.cpu_time_total == 211
    seconds = {name: round(1e6 * value) for name, value in by_module.items()}
    assert seconds == {"embedding": 0, "attention": 39, "ffn": 0, "norms": 4, "head": 0, OTHER: 211 - 43}
    seconds = {name: round(1e6 * value) for name, value in by_operator.items()}
    assert seconds == {OTHER: 211 - 48, "linear": 37, "rms_norm": 6, "add": 5}


def test_laps_are_found_in_their_order_and_on_the_processor_alone():
    cpu, cuda = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA
    events = [
        SimpleNamespace(name=name, device_type=device, time_range=SimpleNamespace(start=start))
        for name, device, start in ((LAP, cpu, 5), (LAP, cuda, 3), ("aten::add", cpu, 1), (LAP, cpu, 2), (LAP, cuda, 6))
    ]
    assert laps_of(events) == [events[3], events[0]]


def test_a_part_that_is_made_slow_gets_the_time(model):
    big = torch.ones(512, 512)
    for block in model.blocks:
        block.ffn.activation = lambda x: (big @ big, torch.relu(x))[1]
    found = breakdown(model, prompt=8, new_tokens=4, repeats=3)
    assert max(found.module_shares, key=found.module_shares.get) == "ffn"
    assert next(iter(found.by_operator)) == "matmul"
    assert found.products > 0.5


def test_a_lap_is_one_prefill_or_one_step(model, monkeypatch):
    shapes, hidden = [], model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, *rest: (shapes.append(tuple(ids.shape)), hidden(ids, *rest))[1])
    breakdown(model, prompt=64, new_tokens=3, repeats=2, batch=2)
    assert shapes == [(2, 64), (2, 1), (2, 1)] * 5  # to warm up, without the profiler and with it
    shapes.clear()
    breakdown(model, prompt=64, phase="prefill", repeats=2)
    assert shapes == [(1, 64)] * 5


def test_the_rows_are_those_of_the_lap_that_was_timed(model, monkeypatch):
    """The first step is made slow, so the fastest is another one."""
    hidden = model.hidden

    def slow_at_first(ids, cache, padding=None):
        time.sleep(0.5 * (cache.length == 64))
        return hidden(ids, cache, padding)

    monkeypatch.setattr(model, "hidden", slow_at_first)
    assert breakdown(model, prompt=64, new_tokens=4, repeats=2).total < 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"tied_embeddings": False},
        {"sharing": "block_pairs"},
        {"attention": "mla", "n_kv_heads": 4, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "v_head_dim": 16},
        {"qk_norm": "head"},
    ],
)
def test_every_layer_is_named_and_the_model_stays_as_it_was(change):
    torch.manual_seed(0)
    model = Decoder(replace(CONFIG, n_layers=4, **change))
    layers = len(model.config.unique_layers)
    names = [name for name, _ in parts(model)]
    assert {name: names.count(name) for name in set(names)} == {
        "attention": layers,
        "ffn": layers,
        "norms": 2 * layers + 1,
    }
    before = set(vars(model))
    with pytest.raises(ValueError, match="max_context"), recording(model, torch.device("cpu")):
        model(torch.zeros(1, 500, dtype=torch.long))
    ids = torch.arange(6)[None]
    with torch.no_grad(), recording(model, torch.device("cpu")) as profiler:
        model(ids)
    names = [event.name for event in profiler.events()]
    assert [names.count(name) for name in PARTS] == [1, 4, 4, 9, 1]  # a shared block works twice
    assert set(vars(model)) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phase": "training"}, "must be prefill or decode"),
        ({"new_tokens": 1}, "at least 2"),
        ({"repeats": 0}, "repeats is 0"),
        ({"prompt": 300}, "max_context of 256"),
    ],
)
def test_bad_arguments_say_what_is_right(model, options, message):
    with pytest.raises(ValueError, match=message):
        breakdown(model, **options)


def test_shares_and_overhead():
    found = Breakdown("decode", 4.0, 3.2, {"ffn": 3.0, OTHER: 1.0}, {"linear": 2.0, "einsum": 1.0, "silu": 1.0})
    assert found.module_shares == {"ffn": 0.75, OTHER: 0.25}
    assert found.products == 0.75
    assert found.overhead == pytest.approx(0.25)


@pytest.mark.parametrize(("off", "found"), [(1.019, True), (0.981, True), (1.03, False), (0.97, False)])
def test_rows_that_miss_the_stopwatch_are_refused(model, monkeypatch, off, found):
    """Rows that sum to `off` times what the stopwatch says, in every lap."""
    laps = iter(range(1, 100))
    monkeypatch.setattr(operators, "lap_times", lambda *_: [float(next(laps))])
    monkeypatch.setattr(operators, "laps_of", lambda _: [None])
    sums = iter((3.0, 5.0, 7.0) if not found else (99.0, 5.0))  # the profiled ones: each after a plain one
    monkeypatch.setattr(operators, "rows_of", lambda *_: ({"ffn": off * next(sums)}, {}))
    if found:
        assert breakdown(model, prompt=8, repeats=3).total == 5  # the fastest that agrees
    else:
        with pytest.raises(RuntimeError, match="more than 2% apart, as in all 3 laps"):
            breakdown(model, prompt=8, repeats=3)
