"""A run is kept by all that its result depends on, and a lab that asks again gets the same bits without training."""

import dataclasses
import json

import pytest
import small_run as small
import torch

from slmkit.course.lab import Lab
from slmkit.data.packing import TokenData
from slmkit.training import kept
from slmkit.training.kept import run_folder


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    return tmp_path


def test_the_folder_changes_with_all_that_the_result_depends_on(monkeypatch, build):
    model, data, config = small.model(), small.data(), small.config()
    same = run_folder(model, data, config)
    assert same == run_folder(small.model(), small.data(), small.config(evaluate_every=3))
    other_text = TokenData(dataclasses.replace(data.train, tokens=data.train.tokens.flip(0)), data.held_out)
    other_test = TokenData(data.train, dataclasses.replace(data.held_out, tokens=data.held_out.tokens.flip(0)))
    others = [
        run_folder(small.model(seed=1), data, config),
        run_folder(small.model(activation="gelu"), data, config),
        run_folder(model, other_text, config),
        run_folder(model, other_test, config),
        run_folder(model, data, small.config(steps=31)),
    ]
    package = build / "slmkit" / "training" / "kept.py"
    monkeypatch.setattr(kept, "__file__", str(package))  # a package without code: a version that computes otherwise
    others.append(run_folder(model, data, config))
    assert len({same, *others}) == 1 + len(others)


def test_a_lab_trains_a_model_once(build, monkeypatch):
    lab = Lab("42", "cpu", torch.device("cpu"), {})
    first, second = small.model(), small.model()
    history = lab.train(first, small.data(), small.config())
    assert (lab.kept_s, history.earlier_cpu_seconds) == (0, 0)
    lab.train(small.model(), small.data(), small.config())
    assert lab.kept_s == 0, "it was trained by this very run"
    lab = Lab("42", "cpu", torch.device("cpu"), {})  # the lab runs again
    again = lab.train(second, small.data(), small.config())
    assert again.losses == history.losses
    assert again.held_out == history.held_out
    assert lab.kept_s == again.earlier_cpu_seconds == pytest.approx(history.cpu_seconds)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    log = next(build.glob("models/*/log.jsonl")).read_text().splitlines()
    assert sum("loss" in json.loads(line) for line in log) == 30, "the second time nothing was trained"


def test_a_lab_that_was_killed_goes_on_where_it_was(build):
    lab, config = Lab("42", "cpu", torch.device("cpu"), {}), small.config(checkpoint_every=10)
    model, data = small.model(), small.data()
    folder = run_folder(model, data, config)

    def kill(history):
        if len(history.losses) == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.train(model, data, config, folder, progress=False, on_step=kill)
    history = lab.train(resumed := small.model(), data, config)
    whole = small.model()
    small.train(whole, data, small.config(), progress=False)
    assert len(history.losses) == 30
    assert 0 < history.earlier_cpu_seconds < history.cpu_seconds
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
