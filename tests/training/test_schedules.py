"""The schedules' promises, for any valid configuration."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmkit import TrainingConfig
from slmkit.training import learning_rate

configs = st.integers(2, 400).flatmap(
    lambda steps: st.builds(
        TrainingConfig,
        steps=st.just(steps),
        warmup=st.integers(0, steps - 1),
        schedule=st.sampled_from(["cosine", "wsd", "constant"]),
        decay=st.floats(0, 1),
        final_rate=st.floats(0, 1),
        learning_rate=st.floats(1e-6, 1),
    )
)


@given(configs)
def test_rises_to_the_peak_and_never_rises_again(config):
    rates = [learning_rate(config, step) for step in range(config.steps)]
    assert max(rates) <= config.learning_rate * (1 + 1e-9)
    warm, rest = rates[: config.warmup], rates[config.warmup :]
    assert all(a < b for a, b in itertools.pairwise(warm))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rest))
    assert rest[0] == pytest.approx(config.learning_rate)
    assert min(rates) > 0 or config.final_rate == 0
    assert min(rest) >= config.final_rate * config.learning_rate - 1e-12


def test_cosine_by_hand():
    config = TrainingConfig(steps=110, warmup=10, learning_rate=1.0, final_rate=0.1)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 9) == pytest.approx(1.0)
    assert learning_rate(config, 60) == pytest.approx(0.55)  # half way: the mean of 1 and 0.1
    assert learning_rate(config, 109) == pytest.approx(0.1, abs=1e-3)


def test_wsd_is_flat_then_straight():
    config = TrainingConfig(steps=100, warmup=5, schedule="wsd", decay=0.2, learning_rate=1.0, final_rate=0.0)
    assert {learning_rate(config, step) for step in range(5, 81)} == {1.0}
    assert learning_rate(config, 90) == pytest.approx(0.5)
    assert learning_rate(config, 99) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(steps=0), "steps is 0; it must be a whole number of at least 1"),
        (dict(steps=2.5), "steps is 2.5"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(accumulation=3), "accumulation = 3 does not divide batch_size = 16"),
        (dict(warmup=10), "warmup = 10 steps leaves nothing of the 10 steps"),
        (dict(schedule="linear"), "schedule is 'linear'; it must be one of cosine, wsd, constant"),
        (dict(precision="fp8"), "precision is 'fp8'; it must be one of auto, fp32, bf16"),
        (dict(learning_rate=0), "learning_rate is 0; it must be above 0"),
        (dict(learning_rate=float("nan")), "learning_rate is nan"),
        (dict(weight_decay=-0.1), "weight_decay is -0.1"),
        (dict(clip=0), "clip is 0; it must be above 0, or None"),
        (dict(decay=1.5), "decay is 1.5; it is a share"),
        (dict(beta2=1.0), "beta2 is 1.0"),
        (dict(seed=-1), "seed is -1"),
    ],
)
def test_values_that_cannot_work_are_refused(options, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(")) as error:
        TrainingConfig(**dict(steps=10) | options)
    assert "\n" not in str(error.value)


def test_dictionaries_and_back():
    config = TrainingConfig(steps=7, clip=None, compile=False)
    assert TrainingConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown training field 'lr'; the fields are steps, batch_size"):
        TrainingConfig.from_dict({"steps": 1, "lr": 1})
