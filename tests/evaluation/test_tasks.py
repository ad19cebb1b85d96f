"""Tasks of BIG-bench, on a small package of the same shape and on the real one; prompts."""

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from itertools import pairwise

import pytest

from slmkit.data.packages import Package
from slmkit.evaluation import tasks
from slmkit.evaluation.tasks import Item, Task, chance, few_shot, load, names, purpose

CHOICE = {"canary": "keep me", "task_prefix": "Judge. ", "example_input_prefix": "\n\nS: ",
          "example_output_prefix": " \nJ: ",
          "examples": [{"input": f"sentence {i} ", "target_scores": {"good": i % 2, "bad": 1 - i % 2, "ugly": 0}}
                       for i in range(12)]}  # fmt: skip
TEXT = {"canary": "keep me", "example_input_prefix": "Today I ", "example_output_prefix": ". Yesterday I ",
        "few_shot_example_separator": ". ",
        "examples": [{"input": "walk", "target": "walked"},
                     {"input": "burn", "target": ["burned", "burnt"]}]}  # fmt: skip
PLAIN = {"examples": [{"input": "Which?", "target_scores": {"this": 1, "": 0}},
                      {"input": "Why?", "target_scores": {"so": 1, "no": 0}}]}  # fmt: skip


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small package with three of the tasks, put where a reader puts a copy."""
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / tasks.PACKAGE.file
    files = {"winowhy/task.json": CHOICE, "linguistic_mappings/past_tense_json/task.json": TEXT,
             "social_iqa/task.json": PLAIN, "gem/task.json": {"examples": []}, "winowhy/README.md": {}}  # fmt: skip
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member, text = tarfile.TarInfo(tasks.INSIDE + name), json.dumps(content).encode()
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(tasks, "PACKAGE", Package("bigbench", "1.0.0", path.name, digest, 1, "none"))
    return tmp_path / "data" / "bigbench-1.0.0"


def test_a_task_reads_as_its_prompt_is_written(small):
    task = load("winowhy")
    assert task.kind == "choice"
    assert len(task.items) == 12
    for i, item in enumerate(task.items):
        assert item.context == f"Judge.\n\nS: sentence {i} \nJ:"
        assert sorted(item.choices) == [" bad", " good", " ugly"]
        assert item.choices[item.answer] == (" good" if i % 2 else " bad")
    assert len({item.answer for item in task.items}) == 3  # the right one is not always at the same place
    assert load("winowhy") == task
    listed = load("winowhy", listed=True).items[0]
    expected = "".join(f"\n  choice:{choice}" for choice in listed.choices)
    assert listed.context == f"Judge.\n\nS: sentence 0{expected} \nJ:"


def test_only_the_tasks_are_kept_with_their_canary_and_few_items(small, monkeypatch):
    monkeypatch.setattr(tasks, "KEPT", 5)
    items = load("winowhy").items
    assert len(items) == 5
    assert len({item.context for item in items}) == 5
    files = sorted(path.name for path in small.iterdir())
    assert files == ["linguistic_mappings-past_tense_json.json", "social_iqa.json", "winowhy.json"]
    assert json.loads((small / "winowhy.json").read_text())["canary"] == "keep me"
    (small.parent / tasks.PACKAGE.file).unlink()
    assert load("winowhy").items == items  # from what was kept


def test_a_limit_draws_items_and_leaves_the_others_for_examples(small):
    whole, task, other = load("winowhy"), load("winowhy", 4, seed=1), load("winowhy", 4, seed=2)
    assert len(task.items) == 4
    assert sorted(task.items + task.pool) == sorted(whole.items)
    assert task.items != other.items
    assert load("winowhy", 4, seed=1) == task
    assert load("winowhy", 12).pool == ()
    for limit in (0, 13):
        with pytest.raises(ValueError, match=f"limit is {limit} and winowhy has 12"):
            load("winowhy", limit)


def test_written_answers_have_every_right_one(small):
    task = load("past_tense")
    assert task.kind == "text"
    assert task.items[0] == Item("0", "Today I walk. Yesterday I", (" walked",), 0)
    assert task.items[1].choices == (" burned", " burnt")
    assert chance(task) == 0
    shown = few_shot(load("past_tense", 1), 1).items[0].context
    assert shown in ("Today I walk. Yesterday I walked. Today I burn. Yesterday I",
                     "Today I burn. Yesterday I burned. Today I walk. Yesterday I")  # fmt: skip
    assert task.until == (". ",)  # the example after it would begin there


def test_an_item_that_cannot_be_asked_is_told(small, capsys):
    task = load("social_iqa")
    assert [item.context for item in task.items] == ["Q: Why?\nA:"]
    assert len(task.left_out) == 1
    assert task.left_out[0].startswith("social_iqa, item 0: choice ")
    assert task.left_out[0].endswith(" is empty; left out")
    assert capsys.readouterr().err.strip() == task.left_out[0]


def test_another_name_is_refused():
    for call in (load, purpose):
        with pytest.raises(ValueError, match=r"no task 'hellaswag'; there are copying, "):
            call("hellaswag")


def test_without_network_one_line_says_what_to_do(tmp_path):
    code = "from slmkit.evaluation import tasks; tasks.fetch()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"SLMKIT_BUILD": str(tmp_path), "PIP_NO_INDEX": "1"})  # fmt: skip
    said = done.stderr.strip().splitlines()
    assert done.returncode == 0
    assert len(said) == 2
    assert "358 MB, licence Apache-2.0" in said[0]
    assert f"copy bigbench-1.0.0.tar.gz to {tmp_path / 'data'}" in said[1]


# -- prompts

POOL = tuple(Item(str(i), f"Go.\nQ: {i}?\nA:", (" no", " yes"), i % 2) for i in range(20))
TASK = Task("t", POOL[:3], "choice", pool=POOL[3:], head="Go.\n", between="\n\n")


def test_examples_come_solved_from_the_pool_the_same_for_every_item():
    prompts = [item.context for item in few_shot(TASK, 2, seed=4).items]
    first, second, last = prompts[0].removeprefix("Go.\n").split("\n\n")
    assert last == "Q: 0?\nA:"
    for example in (first, second):
        number = int(example[3 : example.index("?")])
        assert 3 <= number < 20
        assert example == f"Q: {number}?\nA:{' yes' if number % 2 else ' no'}"
    head = prompts[0].removesuffix(last)
    assert prompts == [f"{head}Q: {i}?\nA:" for i in range(3)]


def test_more_examples_begin_with_the_fewer_and_seeds_differ():
    prompts = [few_shot(TASK, shots, seed=4).items[0].context.removesuffix("Q: 0?\nA:") for shots in range(18)]
    assert prompts[0] == "Go.\n"
    assert all(longer.startswith(shorter) and len(longer) > len(shorter)
               for shorter, longer in pairwise(prompts))  # fmt: skip
    assert len({few_shot(TASK, 3, seed).items[0].context for seed in range(5)}) == 5
    assert few_shot(TASK, 0) == TASK


def test_too_few_items_for_the_examples_is_told():
    with pytest.raises(ValueError, match="18 shots are asked for and 17 items"):
        few_shot(TASK, 18)


def test_chance_is_the_mean_over_items():
    items = (Item("0", "", (" a", " b"), 0), Item("1", "", (" a", " b", " c", " d"), 0))
    assert chance(Task("t", items, "choice")) == pytest.approx(0.375)


# -- the real package


def test_the_real_tasks(fetched):
    for name in names():
        task = fetched(load, name)
        assert purpose(name)
        assert len(task.items) > 65, name
        assert task.kind == ("choice" if name in names("choice") else "text")
        assert not any(item.context.endswith((" ", "\n")) for item in task.items), name
        assert all(choice.startswith(" ") for item in task.items for choice in item.choices), name
        if task.kind == "choice":
            places = [item.answer / (len(item.choices) - 1) for item in random.Random(0).sample(task.items, 66)]
            assert 0.3 < sum(places) / 66 < 0.7, name  # the right one is anywhere
    assert load("similarities").items[0].context.startswith("Q: Tell me how an apple and a banana are alike.")
    assert len(load("social_iqa").items) == 1954
    folder = tasks.folder()
    assert all("canary" in json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
