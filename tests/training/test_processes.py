"""Two processes that share every batch end where one process ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


def run(folder, *launcher):
    command = [sys.executable, *launcher, str(HERE / "small_run.py"), str(folder), "12", "12"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return load_file(next(folder.glob("step_*")) / "model.safetensors"), losses


@pytest.mark.slow
def test_two_gloo_processes_equal_one(tmp_path):
    alone, losses = run(tmp_path / "one")
    together, shared = run(tmp_path / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert len(shared) == 12  # one process writes
    assert shared == pytest.approx(losses, rel=1e-4)  # the mean over both, not the sum or one's own
    for name, tensor in alone.items():
        assert torch.allclose(tensor, together[name], rtol=1e-4, atol=1e-6), name
