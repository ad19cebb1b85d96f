"""Solutions are taken out without a trace, and a run is told stale by what could change its outcome."""

import ast
import shutil
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

import slmkit
from slmkit.course import source
from slmkit.course.source import code_cells, labs, problem, read, reader_copy, with_solutions, without_solutions

CELL = '''def mask(n):
    """Lower triangle."""
    ### BEGIN SOLUTION
    secret = torch.ones(n, n)

    return secret.tril()
    ### END SOLUTION


### BEGIN HIDDEN TESTS
assert mask(2).sum() == 3
### END HIDDEN TESTS'''


def test_a_stub_raises_and_keeps_what_surrounds_it():
    stub = without_solutions(CELL)
    assert stub == 'def mask(n):\n    """Lower triangle."""\n    raise NotImplementedError("your turn")\n\n'
    names = {}
    exec(stub, names)
    with pytest.raises(NotImplementedError, match="your turn"):
        names["mask"](2)


def test_the_page_shows_the_solution_without_marks_and_hidden_tests():
    shown = with_solutions(CELL)
    assert "return secret.tril()" in shown
    assert "###" not in shown
    assert "assert" not in shown


def test_a_cell_without_marks_stays_as_it_is():
    assert without_solutions("x = 1\n\ny = 2  # ### BEGIN") == "x = 1\n\ny = 2  # ### BEGIN"


@pytest.mark.parametrize(
    "cell",
    [
        "### BEGIN SOLUTION\nx = 1",
        "x = 1\n### END SOLUTION",
        "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
        "### BEGIN SOLUTION\n### END HIDDEN TESTS",
    ],
)
def test_marks_that_do_not_pair_are_an_error(cell):
    with pytest.raises(ValueError, match=r"partner|never closed"):
        without_solutions(cell)


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_no_line_of_a_solution_is_handed_out(lab):
    notebook = read(lab.read_text())
    handed = reader_copy(ran(read(lab.read_text())))
    nbformat.validate(handed)
    text = "\n".join(cell.source for cell in handed.cells if cell.cell_type == "code")
    ast.parse(text)
    for cell in notebook.cells:
        if "### BEGIN SOLUTION" in cell.source:
            stub = set(without_solutions(cell.source).splitlines())
            solution = [line for line in cell.source.splitlines() if line not in stub and len(line.strip()) > 12]
            assert solution
            assert not [line for line in solution if line in text]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in handed.cells)
    assert "slmkit" not in handed.metadata


def test_a_copy_does_not_change_the_original():
    notebook = read("# %% [markdown]\n# # T\n\n# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    reader_copy(notebook)
    assert "x = 1" in notebook.cells[1].source


def test_cells_that_need_an_answer_are_marked_and_no_others():
    cells = {
        "x = 1": False,
        "def double(n):\n    ### BEGIN SOLUTION\n    return 2 * n\n    ### END SOLUTION": False,
        "print(double(1))": True,
        "early = x + 1\ny = double(early)\nlate = x": True,
        "print(early)": False,
        "print(late)": True,  # the cell stopped before it
        "def twice(n):\n    return double(n)": False,  # runs when it is called
        "twice(2)": True,
        "class Own:\n    factor = x": False,
        "z = Own.factor\nz": False,
        "[y for y in range(3)]": False,  # its own y
        "[late for y in range(3)]": True,
        "list(map(lambda late: late, [1]))": False,
        "table = {}": False,
        "table['twice'] = double(1)": True,
        "table['twice']": True,
        "rows = [{}]": False,
        "for row in rows:\n    row['twice'] = double(1)": True,
        "rows[0]['twice']": True,
        "late = 3": False,
        "late + 1": False,
        "for i in range(double(2)):\n    k = i": True,
        "k": True,
    }
    notebook = read("".join(f"# %%\n{cell}\n\n" for cell in cells))
    handed = reader_copy(notebook)
    source.mark_waiting(handed)
    marked = {cell.source: cell.metadata.get("tags") == ["raises-exception"] for cell in handed.cells}
    assert list(marked.values()) == list(cells.values())
    tried = {}
    for cell in handed.cells:
        with pytest.raises((NotImplementedError, NameError, KeyError)) if marked[cell.source] else nullcontext():
            exec(cell.source, tried)


def test_reading_is_the_same_each_time():
    text = labs()[0].read_text()
    assert nbformat.writes(read(text)) == nbformat.writes(read(text))
    assert len(code_cells(text)) > 5


def test_an_unknown_lab_names_those_there_are():
    with pytest.raises(ValueError, match=r"no lab '77'; the labs are 00"):
        labs(["77"])


# -- staleness -------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of slmkit that may be changed, and a lab."""
    copied = tmp_path / "slmkit"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(slmkit.__file__).parent, copied, ignore=ignore)
    monkeypatch.setattr(source, "__file__", str(copied / "course" / "source.py"))
    lab = tmp_path / "98_x.py"
    lab.write_text("# %%\n1\n")

    def digest(profile="cpu"):
        source._package_digest.cache_clear()
        return source.digest(lab, profile)

    yield copied, lab, digest
    source._package_digest.cache_clear()


@pytest.mark.parametrize("changed", ["model/attention.py", "survey/claims.csv", "course/records.py"])
def test_a_change_of_what_labs_run_makes_them_stale(package, changed):
    folder, _, digest = package
    before = digest()
    assert digest() == before
    with open(folder / changed, "a") as file:
        file.write("\n")
    assert digest() != before


@pytest.mark.parametrize("changed", ["course/sphinx_ext.py", "course/facts.py", "cli.py", "course/exercises/lab_00.py"])
def test_a_change_of_what_labs_do_not_run_leaves_them_fresh(package, changed):
    folder, _, digest = package
    before = digest()
    with open(folder / changed, "a") as file:
        file.write("\n")
    assert digest() == before


def test_text_profile_and_versions_count(package, monkeypatch):
    _, lab, digest = package
    seen = {digest(), digest("full")}
    lab.write_text("# %%\n2\n")
    seen.add(digest())
    monkeypatch.setattr(source.machine, "versions", lambda: {"torch": "99"})
    seen.add(digest())
    assert len(seen) == 4


def ran(notebook):
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.execution_count = i + 1
            cell.outputs = [new_output("stream", text="1")]
    notebook.metadata["slmkit"] = {"digest": "d"}
    return notebook


def test_what_makes_a_run_unusable():
    text = "# %% [markdown]\n# # T\n\n# %%\nprint(1)\n"
    assert problem(ran(read(text)), read(text), "d") is None
    assert "cells differ" in problem(ran(read(text)), read(text.replace("1", "2")), "d")
    assert "cells differ" in problem(ran(read(text)), read(text.replace("# T", "# U")), "d")
    assert "has changed" in problem(ran(read(text)), read(text), "e")
    stopped = ran(read(text := f"{text}\n# %%\nprint(2)\n"))
    stopped.cells[-1].execution_count = None
    assert problem(stopped, read(text), "d") == "it was not run to the end"
    assert "not run to the end" in problem(read(text), read(text), "d")
    failed = ran(read(text))
    failed.cells[1].outputs = [new_output("error", ename="E", evalue="", traceback=[])]
    assert "failed" in problem(failed, read(text), "d")
