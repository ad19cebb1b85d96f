"""Two processes that share every batch end where one process ends, whether each keeps all weights or its part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from slmkit import Decoder, ModelConfig
from slmkit.data.tokenizer import Tokenizer
from slmkit.model import storage

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


# -- a run from a file, with a teacher ---------------------------------------------------------------------------------

TAUGHT = """
[model]
d_model = 16
n_layers = 2
n_heads = 2
[data]
tokenizer = "teacher"
sources = { one = "one", two = "two" }
[training]
batch_size = 4
context = 16
learning_rate = 0.01
precision = "fp32"
compile = false
shard = SHARD
[[stage]]
steps = 14
weights = { one = 1 }
[[stage]]
steps = 6
[teacher]
model = "teacher"
beta = 0.5
temperature = 2.0
hard = 0.25
"""


def taught(folder, shard=False, launcher=()):
    """Weights and losses of `slmkit train --config` on the file above, run in `folder`."""
    (folder / "run.toml").write_text(TAUGHT.replace("SHARD", str(shard).lower()))
    out = f"student-{len(launcher)}-{shard}"
    command = [sys.executable, *launcher, "-m", "slmkit.cli", "train", "--config", "run.toml", "--out", out,
               "--device", "cpu"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SLMKIT_BUILD": str(folder / "build")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (folder / out / "log.jsonl").read_text().splitlines()]
    return load_file(folder / out / storage.WEIGHTS), {"loss": [line["loss"] for line in lines if "loss" in line]}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A folder with two texts and a teacher, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("classroom")
    texts = {name: [f"{name} {i} and {j} make {i + j}. " * 9 for i in range(9) for j in range(9)]
             for name in ("one", "two")}  # fmt: skip
    for name, documents in texts.items():
        (folder / name).mkdir()
        for i, document in enumerate(documents):
            (folder / name / f"{i}.txt").write_text(document)
    tokenizer = Tokenizer.train(texts["one"] + texts["two"], 300)
    torch.manual_seed(1)
    storage.save(Decoder(ModelConfig(tokenizer.vocab_size, 24, 1, 2, max_context=16)), folder / "teacher", tokenizer)
    return folder, taught(folder)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_a_file_with_a_teacher_gives_the_same_losses_in_two_processes(shard, classroom):
    folder, alone = classroom
    assert len(alone[1]["loss"]) == STEPS
    assert alone[1]["loss"][-1] < alone[1]["loss"][0]
    same(alone, taught(folder, shard, TWO))
