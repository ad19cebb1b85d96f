"""start: the profile's table, one thread, the seed, and a lab card that tells the last run."""

import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from slmkit import ModelConfig, TrainingConfig
from slmkit.course import lab as lab_module
from slmkit.course import machine
from slmkit.course.lab import LabError, card, duration, start
from slmkit.training.sweep import Arm

TABLE = {
    "smoke": {"steps": 1, "seeds": (5,)},
    "cpu": {"steps": 2, "seeds": (6, 7)},
    "full": {"steps": 3, "seeds": (8,)},
}


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """A build folder of its own, and what `start` sets for the process put back."""
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    monkeypatch.delenv("SLMKIT_PROFILE", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(lab_module, "_current", None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_profile_comes_from_the_environment_and_is_cpu_by_default(monkeypatch, capsys):
    lab = start("42", TABLE)
    assert (lab.profile, lab.steps, lab.seeds, str(lab.device)) == ("cpu", 2, (6, 7), "cpu")
    monkeypatch.setenv("SLMKIT_PROFILE", "smoke")
    assert start("42", TABLE).steps == 1
    assert lab_module.current().profile == "smoke"
    assert "no run of this lab in this profile is known" in capsys.readouterr().out


def test_what_sweeps_read_back_is_counted_once_and_only_if_an_earlier_lab_trained_it():
    training = TrainingConfig(steps=3, batch_size=2, context=16, learning_rate=1e-2, compile=False, evaluate_tokens=64)
    arms = {
        "one": Arm(
            ModelConfig(vocab_size=280, d_model=16, n_layers=1, n_heads=2, max_context=16), training, "tinyworld"
        )
    }
    first = start("42", TABLE)
    assert first.tuned(arms, (1.0,), (0,)) == arms
    first.tuned(arms, (0.5, 1.0), (0,))
    table = first.sweep(arms, (0, 1))
    assert first.kept_s == 0
    again = start("42", TABLE)
    again.sweep(arms, (0, 1))
    again.sweep(arms, (0, 1))
    assert again.kept_s == pytest.approx(table.cpu_s.sum())


def test_one_thread_and_the_first_seed():
    torch.set_num_threads(2)
    start("42", TABLE)
    assert torch.get_num_threads() == 1
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(6)
    np.random.seed(6)
    random.seed(6)
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())


@pytest.mark.parametrize(
    ("profile", "table", "message"),
    [
        ("gpu", TABLE, "SLMKIT_PROFILE is 'gpu'; it must be one of smoke, cpu, full"),
        ("cpu", {"smoke": {}, "cpu": {}}, "no table for the profile 'full'"),
        ("cpu", TABLE | {"full": {"steps": 1}}, "'seeds' is not in every profile's table"),
    ],
)
def test_a_lab_that_cannot_start_says_why_in_one_line(monkeypatch, profile, table, message):
    monkeypatch.setenv("SLMKIT_PROFILE", profile)
    with pytest.raises(LabError, match=message) as error:
        start("42", table)
    assert len(error.value._render_traceback_()) == 1


def test_an_unknown_entry_names_those_there_are():
    with pytest.raises(AttributeError, match="no 'stepz'; its table has steps, seeds"):
        _ = start("42", TABLE).stepz


RUN = {"cpu_s": 161.2, "wall_s": 200.0, "peak_mb": 512, "date": "2026-01-02", "profile": "cpu"}
RUN["machine"] = {"cpu": "A <fast> one", "cores": 1, "memory_gb": 7.7, "gpu": None}


def test_the_card_tells_the_last_run(tmp_path, capsys):
    (tmp_path / "labs" / "cpu").mkdir(parents=True)
    (tmp_path / "labs" / "cpu" / "42.json").write_text(json.dumps(RUN))
    start("42", TABLE)
    said = capsys.readouterr().out
    for part in ("2 min 41 s of processor time", "512 MB", "2026-01-02, A <fast> one, 1 core, 8 GB"):
        assert part in said
    assert "A &lt;fast&gt; one" in card("42", "cpu", RUN)["text/html"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s")],
)
def test_durations_are_readable(seconds, words):
    assert duration(seconds) == words


def test_a_lab_is_plain_python_too_where_jupyter_is_not_installed(tmp_path):
    script = f"""
import sys
sys.modules["IPython"] = sys.modules["matplotlib_inline"] = None
from slmkit.course import check, start
lab = start("42", {TABLE})
import matplotlib.pyplot as plt
plt.plot([1, 2]); plt.show()
print("steps", lab.steps)
check("00/intensity", None)
"""
    environment = os.environ | {"SLMKIT_PROFILE": "smoke", "SLMKIT_BUILD": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "profile smoke" in done.stdout
    assert "steps 1" in done.stdout
    assert done.stderr == "✗ 00/intensity: expected a function, got None (NoneType)\n"
    assert done.returncode == 1


def test_usage_counts_the_work_of_this_process():
    before = machine.usage()
    held = np.ones(30_000_000)  # 240 MB, written to
    while machine.usage()["cpu_s"] < before["cpu_s"] + 0.3:
        held.sum()
    after = machine.usage()
    assert after["wall_s"] >= before["wall_s"] + 0.2
    assert after["peak_mb"] >= 240
    assert after["wall_s"] < 3600 * 24
