"""What `slmkit lab list` knows: exercises passed in a copy without solutions, kept in one file, and finished runs."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from filelock import FileLock

from slmkit.course import lab as lab_module
from slmkit.course import machine, progress
from slmkit.course.source import labs, read, without_solutions

OWN = ["", "def intensity(): ...", 'check("00/intensity", intensity)']  # a notebook's cells so far, as IPython has them


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    """Lab 00 is running in a notebook without solutions, with a build folder of its own."""
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    monkeypatch.delenv("SLMKIT_LAB_RUNS", raising=False)
    monkeypatch.setattr(lab_module, "current", lambda: SimpleNamespace(number="00"))
    monkeypatch.setattr(lab_module, "notebook", lambda: SimpleNamespace(user_ns={"In": OWN}))


def test_the_first_day_is_kept(monkeypatch):
    assert progress.days() == {}
    monkeypatch.setattr(machine, "today", lambda: "2026-01-02")
    progress.passed("00/intensity")
    monkeypatch.setattr(machine, "today", lambda: "2026-01-03")
    progress.passed("00/intensity")
    progress.passed("00/attainable")
    assert progress.days() == {"00/intensity": "2026-01-02", "00/attainable": "2026-01-03"}


def test_solutions_the_build_and_other_labs_do_not_count(monkeypatch):
    progress.passed("01/shares")
    monkeypatch.setenv("SLMKIT_LAB_RUNS", "folder")
    progress.passed("00/intensity")
    monkeypatch.delenv("SLMKIT_LAB_RUNS")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")  # what nbgrader tells the notebooks of a class
    progress.passed("00/intensity")
    monkeypatch.delenv("NBGRADER_EXECUTION")
    solved = [*OWN, "def intensity():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"]
    monkeypatch.setattr(lab_module, "notebook", lambda: SimpleNamespace(user_ns={"In": solved}))
    progress.passed("00/intensity")
    monkeypatch.setattr(lab_module, "current", lambda: None)
    progress.passed("00/intensity")
    assert progress.days() == {}
    assert not progress.file().exists()


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"00/intensity": 3}', b"\xff\xfe{}"])
def test_a_broken_file_is_put_aside(text):
    kept = text if isinstance(text, bytes) else text.encode()
    progress.file().write_bytes(kept)
    assert progress.days() == {}
    progress.passed("00/intensity")
    assert list(progress.days()) == ["00/intensity"]
    assert progress.file().with_suffix(".broken").read_bytes() == kept


def test_several_notebooks_at_once_lose_nothing(monkeypatch):
    def slow(path, read=progress._read):
        found = read(path)
        time.sleep(0.02)  # between reading and writing, where another may write
        return found

    monkeypatch.setattr(progress, "_read", slow)
    names = [f"00/exercise_{i}" for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(progress.passed, names))
    assert sorted(progress.days()) == names


def test_a_file_that_cannot_be_written_costs_no_exercise(monkeypatch, capsys):
    monkeypatch.setattr(progress, "WAIT_S", 0.01)
    with FileLock(progress.file().with_suffix(".lock")):
        progress.passed("00/intensity")
    assert progress.days() == {}
    assert capsys.readouterr().out.startswith("(passed, but it could not be noted")


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_every_exercise_of_a_lab_is_known(lab):
    """None is missed because its check does not begin a line."""
    found = progress.overview(lab, {})
    assert len(set(found["exercises"])) == len(found["exercises"])
    assert all(name.startswith(f"{lab.name[:2]}/") for name in found["exercises"])
    cells = [cell.source for cell in read(lab.read_text()).cells]
    assert sum(cell.count('check("') for cell in cells) == len(found["exercises"])
    assert f"# {found['title']}" in cells[0].splitlines()


def test_a_run_counts_when_its_notebook_was_written(tmp_path):
    lab, folder = labs(["00"])[0], tmp_path / "labs" / "cpu"
    folder.mkdir(parents=True)
    run = {"cpu_s": 61, "wall_s": 70, "peak_mb": 123, "date": "2026-01-02", "threads": 1}
    (folder / "00.json").write_text(json.dumps(run))  # the lab is still running, or it failed
    assert progress.overview(lab, {})["runs"] == []
    (folder / f"{lab.stem}.ipynb").write_text("{}")
    found = progress.overview(lab, {"00/intensity": "2026-01-02", "00/renamed": "2026-01-02"})
    assert found["runs"] == [{"profile": "cpu", "cpu_s": 61, "wall_s": 70, "peak_mb": 123, "date": "2026-01-02"}]
    assert found["passed"] == {"00/intensity": "2026-01-02"}


LAB = """
from slmkit.course import check, start

start("00", {profile: {} for profile in ("smoke", "cpu", "full")})


def intensity(m, k, n, size=4):
    ### BEGIN SOLUTION
    return 2 * m * k * n / (size * (m * k + k * n + m * n))
    ### END SOLUTION


check("00/intensity", intensity)
"""


@pytest.mark.parametrize("solved", [True, False])
def test_a_script_counts_too_unless_it_is_the_solved_one(solved, tmp_path):
    answer = "return 2 * m * k * n / (size * (m * k + k * n + m * n))"
    own = without_solutions(LAB).replace('raise NotImplementedError("your turn")', answer)
    script = tmp_path / "00_mine.py"
    script.write_text(LAB if solved else own)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=os.environ, check=False)
    assert "✓ 00/intensity" in done.stdout, done.stderr
    assert list(progress.days()) == ([] if solved else ["00/intensity"])
