"""Runs that are killed at any moment go on to the same bits; a bad checkpoint is named and the one before it used."""

import json
import multiprocessing
import os
import random
import signal
import time

import pytest
import small_run as small
import torch
from safetensors.torch import load_file, save_file

from slmkit import train
from slmkit.training import checkpoint
from slmkit.training.checkpoint import BadCheckpoint, found

STEPS = 40
OPTIONS = dict(steps=STEPS, checkpoint_every=3, evaluate_every=10)


def run(folder, **options):
    model = small.model(**{name: options.pop(name) for name in ("d_model",) if name in options})
    return model, train(model, small.data(), small.config(**OPTIONS | options), folder, progress=False)


def killed(folder, steps: int, delay: float = 0.0):
    """A run in a process of its own that gets SIGKILL `delay` seconds after it has logged `steps` steps."""
    child = multiprocessing.get_context("fork").Process(target=run, args=(folder,))
    child.start()
    log = folder / "log.jsonl"
    while child.is_alive() and (not log.exists() or log.read_text().count("loss") < steps):
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode in (-signal.SIGKILL, 0)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    model, history = run(tmp_path_factory.mktemp("unbroken"))
    return {name: p.detach().clone() for name, p in model.named_parameters()}, history


def assert_same(model, history, unbroken):
    parameters, whole = unbroken
    for name, p in model.named_parameters():
        assert torch.equal(p, parameters[name]), name
    assert history.losses == whole.losses
    assert history.held_out == whole.held_out
    assert history.tokens == whole.tokens


def test_ten_kills_at_random_moments_end_in_the_same_bits(tmp_path, unbroken):
    chance = random.Random(0)
    for i in range(10):
        folder = tmp_path / str(i)
        killed(folder, chance.randint(1, STEPS - 3), chance.uniform(0, 0.02))
        assert_same(*run(folder), unbroken)


def test_killed_again_and_again(tmp_path, unbroken):
    for steps in (7, 15, 16, 30):
        killed(tmp_path, steps)
    assert_same(*run(tmp_path), unbroken)
    assert_same(*run(tmp_path), unbroken)  # a finished run is only read


def test_muon_goes_on_to_the_same_bits_too(tmp_path, monkeypatch):
    whole, history = run(tmp_path / "whole", optimizer="muon")
    stop_after(18, monkeypatch, tmp_path / "broken", optimizer="muon")
    again, other = run(tmp_path / "broken", optimizer="muon")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert history.losses == other.losses


def test_two_checkpoints_are_kept_and_no_rest(tmp_path):
    (tmp_path / "step_00000007.partial").mkdir()  # left by a kill of an earlier run
    run(tmp_path)
    assert [path.name for path in found(tmp_path)] == ["step_00000040", "step_00000039"]
    assert not list(tmp_path.glob("*.partial"))


def stop_after(steps, monkeypatch, folder, **options):
    """A run that stops right after it has written the checkpoint of so many steps."""
    original = checkpoint.save

    def save_then_stop(folder, step, *rest, **options):
        original(folder, step, *rest, **options)
        if step == steps:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder, **options)


@pytest.fixture
def broken_off(tmp_path, monkeypatch):
    """A folder with checkpoints of 15 and 18 steps and a log that says no more than them."""
    stop_after(18, monkeypatch, tmp_path)
    assert [path.name for path in found(tmp_path)] == ["step_00000018", "step_00000015"]
    return tmp_path


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def put_nan(path):
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, path)
    state = json.loads((path.parent / "state.json").read_text())  # a NaN that was saved in good order
    state["sha256"][path.name] = checkpoint._sha256(path)
    (path.parent / "state.json").write_text(json.dumps(state))


def remove(path):
    path.unlink()


DAMAGE = [
    ("model.safetensors", cut, "model.safetensors is cut short or changed"),
    ("optimizer.safetensors", cut, "optimizer.safetensors is cut short or changed"),
    ("state.json", cut, "is not whole"),
    ("model.safetensors", remove, "is not whole"),
    ("state.json", remove, "is not whole"),
    ("model.safetensors", put_nan, "attention.k.weight holds a NaN or an infinity"),
    ("optimizer.safetensors", put_nan, "/exp_avg holds a NaN or an infinity"),
]


@pytest.mark.parametrize(("name", "damage", "says"), DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(broken_off, unbroken, capsys, name, damage, says):
    damage(found(broken_off)[0] / name)
    model, history = run(broken_off)
    told = capsys.readouterr().err
    assert says in told
    assert "step_00000018" in told
    assert told.count("\n") == 1
    assert_same(model, history, unbroken)


def test_without_a_good_one_the_run_stops_in_one_line_and_changes_nothing(broken_off):
    for path in found(broken_off):
        cut(path / "model.safetensors")
    before = sorted(path.name for path in broken_off.iterdir())
    with pytest.raises(
        BadCheckpoint, match=r"no checkpoint in .* can be used .*; delete it or choose another"
    ) as error:
        run(broken_off)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in broken_off.iterdir()) == before


def test_another_configuration_is_named_by_field(broken_off):
    with pytest.raises(BadCheckpoint, match=r"another training configuration: learning_rate = 0\.01, not 0\.02"):
        run(broken_off, learning_rate=0.02)
    with pytest.raises(BadCheckpoint, match=r"another model configuration: d_ff = .*, not"):
        run(broken_off, d_model=64)


def test_how_often_to_look_may_change(broken_off, unbroken):
    model, _ = run(broken_off, checkpoint_every=7, evaluate_every=None)
    assert all(torch.equal(p, unbroken[0][name]) for name, p in model.named_parameters())


def test_a_full_disk_loses_nothing(broken_off, unbroken, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(
            OSError, match=r"step 21 .*No space left on device.*make room and run the same command"
        ) as error:
            run(broken_off)
    assert "\n" not in str(error.value)
    assert [path.name for path in found(broken_off)] == ["step_00000018", "step_00000015"]
    assert_same(*run(broken_off), unbroken)
