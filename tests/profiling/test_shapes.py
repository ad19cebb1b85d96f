"""Shapes side by side: shortened models, what is picked by other seeds, the spread of logarithms."""

import math
from dataclasses import replace

import pytest

from slmkit.config import ModelConfig
from slmkit.model.counting import count_parameters
from slmkit.profiling.shapes import measure_shapes, shortened, slowest_over_fastest, spread
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
    assert {name: {phase: len(values) for phase, values in one.items()} for name, one in found.items()} == {
        name: {"prefill": 3, "decode": 3} for name in "ab"
    }
    assert all(t > 0 for one in found.values() for values in one.values() for t in values)
