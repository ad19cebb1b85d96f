"""The page on the harness: its commands run, on a model that takes no time, and its tables say what the code does."""

import re
import shlex
import sys
from functools import partial

import pytest
import torch

import slmkit
from slmkit import Decoder, ModelConfig
from slmkit.course.harness_page import CASES, FACTS, record
from slmkit.data.tokenizer import Tokenizer
from slmkit.evaluation import harness, taskfiles
from slmkit.paths import root
from slmkit.profiling import bench_evaluation

PAGE = (root() / "book" / "capability" / "harness.md").read_text(encoding="utf-8")
TASKS = root() / "book" / "capability" / "tasks"
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S) for line in block.splitlines()
            if "book/capability/tasks" in line]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train([path.read_text() for path in TASKS.glob("*.jsonl")], 300)
    made = tmp_path_factory.mktemp("model")
    return slmkit.save(Decoder(ModelConfig(tokenizer.vocab_size, 16, 1, 2, max_context=512)), made, tokenizer)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(command, folder, monkeypatch, capsys):
    from lm_eval import tasks

    monkeypatch.setattr(tasks, "TaskManager", partial(tasks.TaskManager, include_defaults=False))  # reading all is slow
    monkeypatch.setattr(sys, "argv", shlex.split(re.sub(r"path=\S+", f"path={folder}", command)))
    monkeypatch.chdir(root())
    assert harness.main() == 0
    said = capsys.readouterr().out
    for name in sys.argv[sys.argv.index("--tasks") + 1].split(","):
        assert re.search(rf"\|{name}\b", said), said


def test_the_table_of_kinds_is_that_of_the_files():
    heads = {path.stem: path.read_text() for path in TASKS.glob("*.yaml")}
    kinds = {name: re.search(r"^output_type: (\w+)", head, flags=re.M)[1] for name, head in heads.items()}
    assert {task: kind for kind, task in re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|$", PAGE, flags=re.M)} == kinds


def test_our_own_reader_takes_the_files_too(monkeypatch):
    monkeypatch.chdir(root())
    for name, items in (("everyday", 12), ("opposites", 12)):
        task = taskfiles.read(TASKS / f"{name}.yaml")
        assert (task.name, len(task.items), task.left_out) == (name, items, ())


def test_the_numbers_are_those_of_the_record():
    assert set(re.findall(r"\{fact\}`([^`]+)`", PAGE)) == set(FACTS)
    assert all(0 < len(fact()) < 60 for fact in FACTS.values())
    whats = [f"{name}, {shots} shots" for name, shots, _ in bench_evaluation.CASES] + ["all of these"]
    for row, what, case in zip(record()["rows"], whats, CASES, strict=True):
        assert what in row["what"]
        assert float(FACTS[f"harness.{case}.ratio"]()) == pytest.approx(row["ratio"], rel=0.01)
        assert row["threads"] == 1
    ratios = {case: row["ratio"] for case, row in zip(CASES, record()["rows"], strict=True)}
    assert min(ratios, key=ratios.get) == "letters", "as the page says"


def test_the_share_of_the_logits_by_hand():
    width, ffn, layers = 576, 1536, 30
    layer = 2 * (2 * width * width + 2 * width * 192 + 3 * width * ffn) + 4 * width * 16.5  # 16.5 tokens seen, the mean
    head = 2 * width * 49_152
    assert FACTS["harness.head"]() == f"{100 * head / (head + layers * layer):.0f}%" == "21%"
