"""Two processes that share every batch end where one process ends, whether each keeps all weights or its part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
STEPS = 20


def run(folder, *options, launcher=()):
    """Weights and losses of a run of 20 steps with a checkpoint every 8, on small_run's options."""
    command = [sys.executable, *launcher, str(HERE / "small_run.py"), str(folder), str(STEPS), "8", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    newest = max(folder.glob("step_*"))
    return load_file(newest / "model.safetensors"), {
        what: [line[what] for line in lines if what in line] for what in ("loss", "bits_per_byte")
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("one"))


def same(one, other):
    for what, values in one[1].items():
        assert other[1][what] == pytest.approx(values, rel=1e-5)  # the mean over both, not the sum or one's own
    for name, tensor in one[0].items():
        assert torch.allclose(tensor, other[0][name], rtol=1e-4, atol=1e-5), name


@pytest.mark.slow
def test_two_gloo_processes_equal_one(alone, tmp_path):
    together = run(tmp_path, launcher=TWO)
    assert len(together[1]["loss"]) == STEPS  # one process writes
    same(alone, together)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["one", "two"])
def test_a_checkpoint_of_two_processes_resumes_in_one_and_the_other_way_round(first, alone, tmp_path):
    """The first run stops after 10 steps, past its checkpoint of step 8. The two spread their weights (FSDP)."""
    alone_first = first == "one"
    run(tmp_path, "10", *([] if alone_first else ["shard"]), launcher=() if alone_first else TWO)
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_00000008"]
    same(alone, run(tmp_path, *(["shard"] if alone_first else []), launcher=TWO if alone_first else ()))
