"""Shapes side by side: shortened models, what is picked by other seeds, the spread of logarithms."""

import math
from dataclasses import replace

import pytest

from slmkit.config import ModelConfig
from slmkit.model.counting import count_parameters
from slmkit.model.decoder import Decoder
from slmkit.profiling import shapes
from slmkit.profiling.operators import Breakdown
from slmkit.profiling.shapes import (
    measure_breakdowns,
    measure_lengths,
    measure_shapes,
    of_phase,
    of_survey,
    products_share,
    ratio,
    shortened,
    slowest_over_fastest,
    spread,
)
from slmkit.survey import config

TINY = ModelConfig(vocab_size=64, d_model=16, n_layers=2, n_heads=2, max_context=64)


@pytest.mark.parametrize("name", ["Qwen1.5-0.5B", "Pythia-1.4B"])
def test_a_shortened_model_keeps_its_layers_and_the_shares_of_its_parts(name):
    whole = config(name)
    short = shortened(whole, 6)
    assert (short.layer(0), short.d_model, short.n_layers) == (whole.layer(0), whole.d_model, whole.n_layers // 6)
    a, b = count_parameters(short), count_parameters(whole)
    assert a.total == pytest.approx(b.total / 6, rel=1e-3)
    assert a.embedding / a.total == pytest.approx(b.embedding / b.total, rel=1e-3)


def test_models_of_the_survey_come_by_name():
    assert of_survey({"Qwen1.5-0.5B": 12}, 99) == {"Qwen1.5-0.5B": shortened(config("Qwen1.5-0.5B"), 12, 99)}
    assert of_survey({"Qwen1.5-0.5B": 12}, 99)["Qwen1.5-0.5B"].max_context == 99


def test_layers_that_do_not_divide_or_differ_are_refused():
    with pytest.raises(ValueError, match="must divide the 2 layers"):
        shortened(TINY, 3)
    with pytest.raises(ValueError, match="differ in shape"):
        shortened(replace(TINY, d_ff=(8, 16)), 2)


def test_slowest_and_fastest_are_picked_by_the_other_seeds():
    assert slowest_over_fastest({"a": [1.0, 1.0, 1.0], "b": [2.0, 4.0, 3.0]}) == [2.0, 4.0, 3.0]
    # By its own seed each would be above 1; the others pick the wrong way round.
    assert slowest_over_fastest({"a": [1.0, 2.0], "b": [2.0, 1.0]}) == [0.5, 0.5]


def test_the_spread_is_that_of_logarithms_and_knows_no_unit():
    times = {"a": [1.0, 3.0], "b": [math.e, 3.0]}
    assert spread(times) == pytest.approx([math.sqrt(0.5), 0.0])
    assert spread({name: [1e3 * t for t in values] for name, values in times.items()}) == pytest.approx(spread(times))


@pytest.mark.parametrize("times", [{"a": [1.0, 2.0]}, {"a": [1.0], "b": [2.0]}, {"a": [1.0, 2.0], "b": [1.0]}])
def test_too_few_times_are_refused(times):
    for summary in (slowest_over_fastest, spread):
        with pytest.raises(ValueError, match="two or more seeds"):
            summary(times)


def test_every_shape_is_timed_in_both_phases_by_every_seed():
    found = measure_shapes({"a": TINY, "b": replace(TINY, n_layers=1)}, (0, 1, 2), repeats=1, prompt=4, context=8)
    assert {name: len(times) for name, times in found.items()} == dict.fromkeys(
        ("prefill_a", "decode_a", "prefill_b", "decode_b"), 3
    )
    assert of_phase("decode", found) == {"a": found["decode_a"], "b": found["decode_b"]}
    assert ratio(found, "a", "b") == [a / b for a, b in zip(found["prefill_a"], found["prefill_b"])]
    assert ratio(found, "b", "b", "decode") == [1.0] * 3
    assert all(t > 0 for times in found.values() for t in times)


def test_lengths_are_timed_by_every_seed():
    reads, steps = measure_lengths(Decoder(TINY), (2, 8), (4, 16, 32), (0, 1), repeats=2)
    assert [list(run) for run in reads] == [[2, 8]] * 2
    assert [list(run) for run in steps] == [[4, 16, 32]] * 2
    assert {len(timing.seconds) for run in reads for timing in run.values()} == {2}
    assert {len(timing.seconds) for run in steps for timing in run.values()} == {6}


def test_a_breakdown_that_was_broken_into_is_tried_again_but_not_for_ever(monkeypatch):
    tried = []

    def broken(model, phase, seed, failures):
        tried.append((phase, seed))
        if len(tried) <= failures:
            raise RuntimeError("the rows miss the total")
        return phase, seed

    monkeypatch.setattr(shapes, "breakdown", broken)
    assert measure_breakdowns({"a": None}, (0, 1), failures=3) == {
        ("prefill", "a"): [("prefill", 0), ("prefill", 1)],
        ("decode", "a"): [("decode", 0), ("decode", 1)],
    }
    tried.clear()
    with pytest.raises(RuntimeError, match="miss the total"):
        measure_breakdowns({"a": None}, (0, 1), failures=1000)
    assert len(tried) == shapes.ATTEMPTS


def test_the_share_of_products_weighs_the_phases_by_their_time():
    prefill = Breakdown("prefill", 4.0, 4.0, {"ffn": 4.0}, {"linear": 3.0, "mul": 1.0})
    decode = Breakdown("decode", 2.0, 2.0, {"ffn": 2.0}, {"linear": 0.5, "mul": 1.5})
    found = {("prefill", "a"): [prefill, decode], ("decode", "a"): [decode, decode]}
    assert products_share(found, "a", 0) == pytest.approx([0.75, 0.25])
    assert products_share(found, "a", 4) == pytest.approx([5 / 12, 0.25])
