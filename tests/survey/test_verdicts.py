"""The verdict follows from the interval by the rule alone."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmkit.survey import verdicts
from slmkit.survey.verdicts import CONTRADICTED, OWN_DATA, REPRODUCED, UNCLEAR, bounds, digits, interval, judge, verdict

number = st.floats(-1e6, 1e6)
size = st.floats(0, 1e6)


@given(number, size, number, size)
def test_above_is_below_seen_in_a_mirror(low, width, expected, tolerance):
    above = verdict(low, low + width, "above", expected, tolerance)
    assert above == verdict(-low - width, -low, "below", -expected, tolerance)
    other_way = verdict(low, low + width, "below", expected, tolerance)
    assert (above == REPRODUCED) == (other_way == CONTRADICTED)


@given(number, size, number, size, st.sampled_from(verdicts.RULES))
def test_a_wider_interval_never_makes_a_verdict_surer(low, width, expected, tolerance, rule):
    narrow = verdict(low, low + width, rule, expected, tolerance)
    wide = verdict(low - 1, low + width + 1, rule, expected, tolerance)
    assert wide in (narrow, UNCLEAR)
    assert verdict(-math.inf, math.inf, rule, expected, tolerance) == UNCLEAR


@given(number, number, size)
def test_a_value_without_spread_is_within_the_tolerance_or_not(value, expected, tolerance):
    inside = expected - tolerance <= value <= expected + tolerance
    assert verdict(value, value, "equal", expected, tolerance) == (REPRODUCED if inside else CONTRADICTED)
    above = REPRODUCED if value > expected + tolerance else CONTRADICTED if value < expected - tolerance else UNCLEAR
    assert verdict(value, value, "above", expected, tolerance) == above


@given(st.lists(number, min_size=2, max_size=40), st.floats(-100, 100))
def test_the_interval_holds_the_mean_and_moves_with_the_values(values, shift):
    low, high = interval(values)
    assert low <= sum(values) / len(values) + 1e-6
    assert sum(values) / len(values) - 1e-6 <= high
    moved = interval([value + shift for value in values])
    assert moved[0] - low == pytest.approx(shift, abs=1e-3)


def test_the_interval_covers_the_truth_19_times_in_20():
    source = random.Random(0)
    for n in (3, 5, 32):
        covered = 0
        for _ in range(2000):
            low, high = interval([source.gauss(7, 2) for _ in range(n)])
            covered += low < 7 < high
        assert 0.935 < covered / 2000 < 0.965


def test_the_interval_is_students():
    assert interval([1, 2, 3]) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    low, high = interval([0.0, 1.0] * 50)  # 99 degrees of freedom: t is 1.984
    assert (high - low) / 2 == pytest.approx(1.9842 * 0.502519 / 10, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, "over", 0), "'over'; it must be one of above, below, equal"),
        ((1, 0, "above", 0), "cannot judge"),
        ((0, 1, "above", math.nan), "cannot judge"),
        ((0, 1, "equal", 0, -1), "cannot judge"),
    ],
)
def test_verdict_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        verdict(*arguments)


def test_what_the_survey_s_own_tables_contradict_is_said_so():
    claim = {"rule": "above", "expected": "1", "tolerance": "0.1", "kind": "statistics"}
    assert judge(claim, 1.2, 1.2) == REPRODUCED
    assert judge(claim, 0.8, 0.8) == OWN_DATA
    assert judge(claim | {"kind": "computed"}, 0.8, 0.8) == CONTRADICTED
    assert judge(claim, 1.05, 1.05) == UNCLEAR
    assert judge(claim | {"rule": "equal"}, 1.05, 1.05) == REPRODUCED
    assert judge(claim | {"tolerance": ""}, 1.05, 1.05) == REPRODUCED


def test_an_interval_that_touches_the_edge_does_not_decide():
    for rule, low, high in (("equal", 0, 1), ("equal", 3, 4), ("above", 0, 1), ("below", 3, 4)):
        assert verdict(low, high, rule, 2, 1) == UNCLEAR


def test_numbers_for_people():
    assert [digits(value) for value in (0.123456, -2.5, 2513.2, 24290.4)] == ["0.1235", "-2.5", "2513", "24290"]
    assert bounds(1, 1) == ""
    assert bounds(-1.5, 20) == "-1.5 to 20"
