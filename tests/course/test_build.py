"""A lab becomes an executed notebook with its measurements; a failing one stops the build and says where."""

import json
from types import SimpleNamespace

import nbformat
import pytest

from slmkit.course import build, source
from slmkit.course.lab import CARD

GOOD = """# %% [markdown]
# # Tiny

# %%
import numpy as np
from slmkit.course import start

lab = start("98", {"smoke": {"n": 1}, "cpu": {"n": 2}, "full": {"n": 3}})

# %%
held = np.ones(30_000_000)  # 240 MB
print("n is", lab.n)
"""
BAD = '# %%\nx = 1\n\n# %%\nprint(x)\nraise ValueError("no such thing")\n'


@pytest.fixture
def clone(tmp_path, monkeypatch):
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "98_tiny.py").write_text(GOOD)
    monkeypatch.setattr(source, "root", lambda: tmp_path)
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    return tmp_path


def test_a_lab_runs_once_and_again_when_it_has_changed(clone, capfd):
    assert build.main(["--profile", "smoke"]) == 0
    said = capfd.readouterr().out
    assert "98_tiny: runs, it has not run yet" in said
    assert "98_tiny: cell 2 of 2" in said
    folder = clone / "build" / "labs" / "smoke"
    notebook = nbformat.read(folder / "98_tiny.ipynb", as_version=4)
    assert notebook.cells[2].outputs[0].text == "n is 1\n"
    assert [output.metadata for output in notebook.cells[1].outputs] == [CARD]
    run = json.loads((folder / "98.json").read_text())
    assert run["peak_mb"] > 240
    assert run["cpu_s"] > 0
    assert run["threads"] == 1
    assert run["machine"]["cores"]

    assert build.main(["--profile", "smoke"]) == 0
    assert capfd.readouterr().out == "98_tiny: unchanged since its last run\n"
    lab = clone / "labs" / "98_tiny.py"
    assert build.stale(lab, "cpu") == "it has not run yet"
    lab.write_text(GOOD.replace("n is", "n was"))
    assert build.stale(lab, "smoke") == "its cells differ from the lab's source"
    lab.write_text(GOOD)
    (folder / "98.json").unlink()
    assert build.stale(lab, "smoke") == "its measurements are missing"


def test_a_failing_lab_stops_the_build_and_leaves_its_cells_so_far(clone, capfd):
    (clone / "labs" / "97_bad.py").write_text(BAD)
    assert build.main(["--profile", "smoke", "--workers", "1"]) == 1
    said = capfd.readouterr()
    for part in ("labs/97_bad.py stopped in code cell 2 of 2", "    print(x)", "ValueError: no such thing",
                 "Repeat it: make lab LAB=97 PROFILE=smoke"):  # fmt: skip
        assert part in said.err
    assert "Traceback" not in said.err
    assert "98_tiny: cell" not in said.out, "the build went on"
    left = list((clone / "build").rglob("*.ipynb"))
    assert [path.name for path in left] == ["97_bad.failed.ipynb"]
    assert str(left[0]) in said.err
    so_far = nbformat.read(left[0], as_version=4)
    assert so_far.cells[-1].outputs[-1].ename == "ValueError", "the cells so far show what happened"

    (clone / "labs" / "97_bad.py").write_text(GOOD.replace("98", "97"))
    assert build.main(["--profile", "smoke", "--workers", "1"]) == 0
    assert not left[0].exists(), "a failed notebook goes when its lab runs to the end"


def test_a_lab_that_never_starts_is_told_so(clone, capfd):
    (clone / "labs" / "98_tiny.py").write_text("# %%\nx = 1\n")
    assert build.main(["--profile", "smoke"]) == 1
    assert 'must call start("98", …)' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lab", "77"], "no lab '77'; the labs are 98"),
        (["--workers", "0"], "at least 1"),
        (["--profile", "x"], "invalid"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(clone, arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        build.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_nbmake_gets_every_lab_unexecuted_and_budgets_are_told(clone, monkeypatch, capsys):
    """nbmake itself runs in `make test`; here, what it is given."""
    folder = clone / "build" / "labs" / "smoke"

    def pytest_run(command, env):
        assert "--nbmake" in command
        assert "--overwrite" in command
        assert command[-1] == str(folder / "98_tiny.ipynb")
        assert (env["SLMKIT_PROFILE"], env["SLMKIT_LAB_RUNS"], env["OMP_NUM_THREADS"]) == ("smoke", str(folder), "1")
        assert nbformat.read(command[-1], as_version=4).metadata["slmkit"]["digest"]
        assert not (folder / "98.json").exists()
        (folder / "98.json").write_text('{"cpu_s": 3.0}')
        return SimpleNamespace(returncode=1)

    folder.mkdir(parents=True)
    (folder / "98.json").write_text("{}")
    monkeypatch.setattr(build.subprocess, "run", pytest_run)
    assert build.main(["--profile", "smoke", "--nbmake"]) == 1
    assert "98_tiny: 3.0 s of processor time, budget 20 s" in capsys.readouterr().out
