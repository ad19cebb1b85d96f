"""Sweeps: every arm on every seed, once; the same numbers in one process or several; differences paired by seed."""

import math
from dataclasses import replace

import pandas
import pytest

from slmkit import ModelConfig, TrainingConfig, count_parameters
from slmkit.training import sweep as sweeping
from slmkit.training.sweep import Arm, Workers, paired, sweep, tuned, with_parameters


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    return tmp_path


def arm(rate=1e-2, **model) -> Arm:
    shape = dict(vocab_size=280, d_model=16, n_layers=1, n_heads=2, max_context=16) | model
    training = TrainingConfig(steps=6, batch_size=4, context=16, learning_rate=rate, precision="fp32", compile=False,
                              evaluate_tokens=256)  # fmt: skip
    return Arm(ModelConfig(**shape), training, "tinyworld")


ARMS = {"gated": arm(), "standard": arm(ffn="standard")}


def test_every_arm_on_every_seed_and_the_same_with_two_processes(monkeypatch, tmp_path):
    table = sweep(ARMS, (0, 1))
    assert list(zip(table.arm, table.seed)) == [("gated", 0), ("gated", 1), ("standard", 0), ("standard", 1)]
    assert table.bits_per_byte.nunique() == 4
    assert table.tokens.tolist() == [6 * 64] * 4
    assert (table.parameters > table.non_embedding).all()
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "other"))
    apart = sweep(ARMS, (0, 1), workers=2)
    pandas.testing.assert_frame_equal(table.drop(columns="cpu_s"), apart.drop(columns="cpu_s"))
    again = sweep(ARMS, (0, 1))  # read back from what the processes kept, their times too
    pandas.testing.assert_frame_equal(apart.drop(columns="kept_s"), again.drop(columns="kept_s"))
    assert (apart.kept_s == 0).all()
    assert again.kept_s.tolist() == again.cpu_s.tolist()


def test_a_run_is_trained_with_its_seed_whatever_ran_before():
    alone = sweep({"standard": ARMS["standard"]}, (1,))
    assert alone.bits_per_byte[0] == sweep(ARMS, (0, 1)).bits_per_byte[3]


def test_a_diverged_run_loses_to_all_others(monkeypatch, capsys):
    original = sweeping.train

    def train(model, data, config, *rest, **options):
        if config.learning_rate > 0.05:
            raise FloatingPointError
        return original(model, data, config, *rest, **options)

    monkeypatch.setattr(sweeping, "train", train)
    best = tuned({"gated": arm()}, (0.01, 1, 10), (0,))
    assert best["gated"].training.learning_rate == 1e-2
    assert best["gated"].training.muon_rate == arm().training.muon_rate
    assert math.isinf(sweep({"fast": arm(rate=0.1)}, (0,)).bits_per_byte[0])
    assert "slmkit:" not in capsys.readouterr().err
    best = tuned({"gated": arm()}, (0.01, 0.1, 1), (0,))
    assert "gated is best at 1, an end of the factors tried" in capsys.readouterr().err


@pytest.mark.parametrize("options", [dict(ffn="standard", ffn_bias=True), dict(n_layers=3, n_kv_heads=1)])
def test_no_other_width_in_eights_comes_nearer_to_the_parameters_asked_for(options):
    config = arm(**options).model
    for wanted in (2_000, 7_654, 9_000):
        nearest = min(range(8, 400, 8), key=lambda n: abs(count_parameters(replace(config, d_ff=n)).total - wanted))
        assert with_parameters(config, wanted) == replace(config, d_ff=nearest)


def test_differences_are_paired_by_seed():
    rows = [("a", 0, 1.0), ("a", 1, 2.0), ("a", 2, 3.0), ("b", 0, 1.5), ("b", 1, 2.5), ("b", 2, 3.5)]
    table = pandas.DataFrame(rows, columns=["arm", "seed", "bits_per_byte"])
    found = paired(table.sample(frac=1, random_state=1), "a")
    assert found.loc["b"].to_dict() == {"mean": 0.5, "low": 0.5, "high": 0.5, "seeds": 3}
    table.loc[5, "bits_per_byte"] = 3.8  # differences 0.5, 0.5, 0.8: Student's t with two degrees of freedom
    found = paired(table, "a").loc["b"]
    assert found["mean"] == pytest.approx(0.6)
    assert found["high"] - found["mean"] == pytest.approx(4.303 * 0.1732050808 / math.sqrt(3), rel=1e-6)


def test_what_cannot_be_compared_is_told():
    table = pandas.DataFrame([("a", 0, 1.0), ("b", 1, 2.0)], columns=["arm", "seed", "bits_per_byte"])
    with pytest.raises(ValueError, match="'a' was not run on every seed"):
        paired(table, "b")
    with pytest.raises(ValueError, match="no arm 'c'; the arms are a, b"):
        paired(table, "c")
    with pytest.raises(ValueError, match="at least one arm and one seed"):
        sweep(ARMS, ())


def test_a_process_that_dies_is_told(capfd):
    with Workers(1) as pool, pytest.raises(RuntimeError, match="a process of the sweep stopped"):
        pool.run(arm()._replace(corpus="no such corpus"), 0)
    assert "no such corpus" in capfd.readouterr().err
