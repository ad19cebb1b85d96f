"""Formulas against scipy, lm-eval and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from slmkit.evaluation.comparing import (
    accuracy_interval,
    chance_corrected,
    detectable,
    mcnemar,
    paired_bootstrap,
    standard_error,
)

rights = st.lists(st.booleans(), min_size=2, max_size=60)


@given(rights)
def test_the_standard_error_is_lm_evals(right):
    from lm_eval.api.metrics import mean_stderr

    assert standard_error(right) == pytest.approx(mean_stderr([float(one) for one in right]))


@given(rights, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_wilsons(right, level):
    expected = stats.binomtest(sum(right), len(right)).proportion_ci(level, method="wilson")
    found = accuracy_interval(right, level)
    assert found == pytest.approx((np.mean(right), expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_binomial_test_of_the_items_that_differ(pairs):
    first, second = np.array(pairs).T
    found = mcnemar(first, second)
    b, c = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert found[:2] == (b, c)
    assert found.p == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1)
    assert mcnemar(second, first).p == found.p


def test_mcnemar_is_exact_with_many_items():
    first, second = np.ones(3000), np.r_[np.zeros(900), np.ones(2100)]
    assert mcnemar(first, second) == (900, 0, 2.0**-899)
    assert mcnemar(np.ones(3000), np.zeros(3000)).p == 0  # below what a float holds


def test_the_bootstrap_interval_is_scipys():
    rng = np.random.default_rng(5)
    first = rng.random(200) < 0.6
    second = np.where(rng.random(200) < 0.8, first, rng.random(200) < 0.5)
    expected = stats.bootstrap((first - second * 1.0,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    found = paired_bootstrap(first, second, seed=2)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found[1:] == pytest.approx(tuple(expected.confidence_interval), abs=0.006)
    assert paired_bootstrap(first, second, seed=2) == found
    assert paired_bootstrap(second, first, seed=2).value == -found.value
    wide, narrow = found.high - found.low, np.subtract(*paired_bootstrap(first, second, level=0.5)[:0:-1])
    assert narrow < wide / 2


def test_the_bootstrap_keeps_each_items_pair_together():
    right = np.arange(100) % 2 == 0
    assert paired_bootstrap(right, right) == (0, 0, 0)


def test_the_bootstrap_covers_what_it_should():
    rng, inside = np.random.default_rng(0), 0
    for seed in range(200):
        first, second = rng.random((2, 150)) < [[0.6], [0.5]]
        _, low, high = paired_bootstrap(first, second, repeats=1000, seed=seed)
        inside += low <= 0.1 <= high
    assert 180 <= inside <= 199  # 190 expected


def test_the_bootstrap_in_pieces_draws_enough(monkeypatch):
    from slmkit.evaluation import comparing

    values = np.random.default_rng(0).random((2, 50))
    whole = paired_bootstrap(*values, repeats=2000)
    monkeypatch.setattr(comparing, "DRAWS_AT_ONCE", 333)
    assert paired_bootstrap(*values, repeats=2000) == pytest.approx(whole, abs=0.02)


def test_what_can_be_detected_is_detected_as_often_as_asked():
    items, accuracy = 400, 0.5
    difference = detectable(items, accuracy, power=0.8)
    assert difference == pytest.approx(0.099, abs=0.001)  # (1.96 + 0.84) √(0.5 / 400)
    rng, found = np.random.default_rng(1), 0
    for _ in range(2000):
        first = rng.random(items) < accuracy + difference / 2
        second = rng.random(items) < accuracy - difference / 2
        error = np.hypot(standard_error(first), standard_error(second))
        found += abs(first.mean() - second.mean()) > 1.96 * error
    assert found / 2000 == pytest.approx(0.8, abs=0.03)
    assert detectable(items, agreement=0.75) == pytest.approx(detectable(items) / 2)
    assert detectable(4 * items) == pytest.approx(detectable(items) / 2)


@settings(max_examples=50)
@given(st.floats(0, 1), st.floats(0, 0.9))
def test_chance_corrected(accuracy, chance):
    assert chance_corrected(chance, chance) == 0
    assert chance_corrected(1, chance) == 1
    assert chance_corrected(accuracy, chance) * (1 - chance) + chance == pytest.approx(accuracy)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: standard_error([1]), "2 or more"),
    (lambda: standard_error([[1, 0]]), r"shape \[1, 2\]"),
    (lambda: accuracy_interval([0.5, 1]), "0 and 1"),
    (lambda: accuracy_interval([1, 0], 95), "level is 95"),
    (lambda: chance_corrected(0.5, 1), "chance is 1"),
    (lambda: mcnemar([1, 0], [1]), "2 and 1 items"),
    (lambda: paired_bootstrap([], []), "1 or more"),
    (lambda: detectable(0), "items = 0"),
])  # fmt: skip
def test_what_has_no_answer_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
