"""The bundles: nothing of a solution or a hidden test is handed out, and nbgrader finds what it needs."""

import json
import re
import subprocess
import sys
from collections import Counter

import nbformat
import pytest

from slmkit.course import assignments, grading
from slmkit.course.checking import ExerciseError
from slmkit.course.grading import definitions, exercises
from slmkit.course.sandbox import Limits
from slmkit.course.source import code_cells, labs

STUB = 'raise NotImplementedError("your turn")'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    built = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLMKIT_BUILD", str(built))
        assignments.main()
    return built / "assignments"


def notebook(folder, version, lab):
    return nbformat.read(folder / version / lab.stem / f"{lab.stem}.ipynb", as_version=4)


def lines(notebook, kind="code") -> list[str]:
    cells = [cell for cell in notebook.cells if cell.cell_type == kind]
    return [line.strip() for cell in cells for line in cell.source.splitlines() if line.strip()]


def sorted_lines(found: list[str]) -> dict[str, list[str]]:
    """Lines by where they stand: "open", "SOLUTION", "HIDDEN TESTS". Written apart from the code under test."""
    kinds, place = {"open": [], "SOLUTION": [], "HIDDEN TESTS": []}, "open"
    for line in found:
        if line.startswith("### BEGIN "):
            place = line.removeprefix("### BEGIN ")
            kinds["open"] += [STUB] if place == "SOLUTION" else []
        elif line.startswith("### END "):
            place = "open"
        else:
            kinds[place].append(line)
    return kinds


def test_no_role_of_the_site_is_left_and_its_words_are_there(folder):
    texts = {lab.stem: "\n".join(lines(notebook(folder, "release", lab), "markdown")) for lab in labs()}
    assert not [stem for stem, text in texts.items() if re.search(r"\{\w+\}`", text)]
    assert "([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415))" in texts["05_feedforward"], "two authors"
    assert "([Shazeer 2019](https://arxiv.org/abs/1911.02150)" in texts["04_attention_and_cache"], "one"
    assert "([Ba et al. 2016](https://arxiv.org/abs/1607.06450))" in texts["05_feedforward"], "three"
    assert any("lab 00" in text and "00_your_machine" not in text for text in texts.values())


def test_a_notebook_with_answers_is_kept(tmp_path, capsys):
    assignments.write(tmp_path, labs(["00"]))
    path = tmp_path / "release" / labs(["00"])[0].stem / f"{labs(['00'])[0].stem}.ipynb"
    fresh = path.read_text()
    assignments.write(tmp_path, labs(["00"]))
    assert not (tmp_path / "kept").exists()
    path.write_text(fresh.replace("your turn", "my answer"))
    assignments.write(tmp_path, labs(["00"]))
    (kept,) = (tmp_path / "kept" / "release").iterdir()
    assert "my answer" in kept.read_text()
    assert path.read_text() == fresh
    assert f"it is kept as {kept}" in capsys.readouterr().out
    path.write_text(fresh.replace("your turn", "another answer"))
    assignments.write(tmp_path, labs(["00"]))  # within the same second, most likely
    texts = [one.read_text() for one in (tmp_path / "kept" / "release").iterdir()]
    assert sorted("my answer" in text for text in texts) == [False, True]


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_no_line_of_a_solution_or_hidden_test_is_released(folder, lab):
    kinds = sorted_lines(lines(notebook(folder, "source", lab)))
    released = notebook(folder, "release", lab)
    assert kinds["SOLUTION"]
    assert kinds["HIDDEN TESTS"]
    # Line by line: what stands in the release is what stands outside the marks, as often, and a stub for each solution.
    assert Counter(lines(released)) == Counter(kinds["open"])
    # And nowhere else in the file: no metadata, output or text holds a line that only a solution or hidden test has.
    raw = (folder / "release" / lab.stem / f"{lab.stem}.ipynb").read_text()
    elsewhere = "\n".join(kinds["open"] + lines(released, "markdown"))
    own = [line for line in kinds["SOLUTION"] + kinds["HIDDEN TESTS"] if line not in elsewhere]
    assert len(own) > len(kinds["HIDDEN TESTS"])
    for line in own:
        assert json.dumps(line, ensure_ascii=False)[1:-1] not in raw or len(line) < 8, line
    assert "### BEGIN" not in raw
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in released.cells)
    assert sorted(path.name for path in (folder / "release" / lab.stem).iterdir()) == [f"{lab.stem}.ipynb"]


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_metadata_is_what_nbgrader_needs(folder, lab):
    asked = exercises(code_cells(lab.read_text()))
    for version in ("source", "release"):
        made = notebook(folder, version, lab)
        nbformat.validate(made)
        graded = {cell.source: cell.metadata.nbgrader for cell in made.cells if "nbgrader" in cell.metadata}
        ids = [data.grade_id for data in graded.values()]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) and name.startswith(lab.name[:2]) for name in ids)
        assert {data.schema_version for data in graded.values()} == {3}
        tests = {text: data for text, data in graded.items() if data.grade}
        assert [data.points for data in tests.values()] == [1] * len(asked)
        assert all(data.locked and not data.solution for data in tests.values())
        assert [text.splitlines()[-1] for text in tests] == [f'check("{name}", {asked[name]})' for name in asked]
        answers = {text: data for text, data in graded.items() if not data.grade}
        assert all(data.solution and not data.locked and "points" not in data for data in answers.values())
        solved = [cell.source for cell in made.cells if "### BEGIN SOLUTION" in cell.source or STUB in cell.source]
        assert list(answers) == solved
        assert {name for data in answers.values() for name in data.grade_id.split("-")[2:]} == {*asked.values()}
    assert [cell.metadata for cell in made.cells] == [
        cell.metadata for cell in notebook(folder, "source", lab).cells
    ]  # of the release, then of the source


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_cutting_cells_loses_and_moves_no_line(folder, lab):
    written = [line.strip() for cell in code_cells(lab.read_text()) for line in cell.splitlines() if line.strip()]
    made, hidden = [], False
    for line in lines(notebook(folder, "source", lab)):
        hidden = hidden or line == "### BEGIN HIDDEN TESTS"
        made += [] if hidden else [line]
        hidden = hidden and line != "### END HIDDEN TESTS"
    assert made == written


@pytest.fixture
def judged(folder):
    """Runs the test cell of an exercise of lab 00 in a notebook with these answers; gives the notebook's names."""
    lab = labs(["00"])[0]
    cells = {cell.metadata.nbgrader.grade_id: cell.source for cell in notebook(folder, "source", lab).cells
             if "nbgrader" in cell.metadata}  # fmt: skip

    def run(exercise, **answers):
        names = definitions(code_cells(lab.read_text())) | answers
        names = {name: value for name, value in names.items() if value is not None}
        try:
            exec(cells[f"00-check-{exercise}"], names)
        except ExerciseError as error:
            return str(error), names
        return "", names

    return run


def test_a_hidden_test_holds_when_check_was_replaced(judged):
    said, _ = judged("intensity", check=lambda *given: None, intensity=lambda *given: 0.0)
    assert said.startswith("00/intensity: the intensity")


def test_one_mistake_costs_one_point(judged):
    for answer in (lambda *given: 0.0, None):
        said, names = judged("intensity", intensity=answer)
        assert said
        assert names["intensity"](2, 2, 2, 1) == pytest.approx(16 / 12)  # ours, for what comes after
    assert said == "00/intensity: no cell of the notebook defines `intensity`"


def test_an_answer_runs_once_and_in_a_process_of_its_own(judged, capfd):
    right = definitions(code_cells(labs(["00"])[0].read_text()))["intensity"]

    def loud(*given):
        calls.append(given)
        print("a warning", file=sys.stderr)  # for which nbgrader would give no point
        return right(*given)

    calls = []
    assert judged("intensity", intensity=loud)[0] == ""
    assert calls == []
    out, err = capfd.readouterr()
    assert (out, err) == ("✓ 00/intensity\n", "")


def test_an_endless_answer_ends(judged, monkeypatch):
    def endless(*given):
        while True:
            pass

    monkeypatch.setattr(grading, "NOTEBOOK_LIMITS", Limits(seconds=1, megabytes=256))
    assert "loop that never ends" in judged("intensity", intensity=endless)[0]


def test_the_kernel_is_this_interpreter_with_a_limit_on_its_memory(folder):
    kernel = json.loads((folder / "kernels" / "python3" / "kernel.json").read_text())
    assert kernel["env"]["SLMKIT_PROFILE"] == "smoke"
    *shell, program = kernel["argv"][: kernel["argv"].index("-m")]
    assert program == sys.executable
    asked = "import resource; print(resource.getrlimit(resource.RLIMIT_AS)[1] // 2**20)"
    said = subprocess.run([*shell, program, "-c", asked], check=True, capture_output=True, text=True).stdout
    assert int(said) == assignments.KERNEL_MIB
