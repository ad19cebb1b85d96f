"""Submissions get the points that their exercises deserve, whatever else is wrong with them."""

import csv
import json

import nbformat
import pytest
from invented import BROKEN, Copies

from slmkit import cli
from slmkit.course import assignments
from slmkit.course.grading import Key, grade, read_cells
from slmkit.course.sandbox import Limits
from slmkit.course.source import code_cells, labs, read, reader_copy, with_solutions, without_solutions
from slmkit.course.submissions import grade_folder

LIMITS = Limits(seconds=10, megabytes=1024)
ZERO = labs(["00"])[0]
TEXT = ZERO.read_text()
RIGHT = [with_solutions(cell) for cell in code_cells(TEXT)]
INTENSITY, ATTAINABLE, BYTES, BATCH = (f"00/{name}" for name in ("intensity", "attainable", "decode_bytes",
                                                                 "turning_batch"))  # fmt: skip
PERFECT = {INTENSITY: "", ATTAINABLE: "", BYTES: "", BATCH: ""}


@pytest.fixture(scope="module")
def key():
    return Key(ZERO)


def changed(**answers) -> list[str]:
    """The cells of a perfect copy of lab 00, some answers replaced; None deletes the cell."""
    cells = []
    for cell in RIGHT:
        names = [name for name in answers if cell.startswith(f"def {name}(")]
        cells += [cell] if not names else [answers[names[0]]] if answers[names[0]] is not None else []
    return cells


def said(cells, key, limits=LIMITS) -> dict[str, str]:
    graded = grade(cells, key, limits)
    assert all(one.passed == (not one.said) for one in graded)
    return {one.exercise: one.said for one in graded}


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_a_perfect_a_partial_and_an_untouched_copy_of_every_lab(lab):
    key, cells = Key(lab), code_cells(lab.read_text())
    perfect = grade([with_solutions(cell) for cell in cells], key, LIMITS)
    assert [one for one in perfect if not one.passed] == []
    assert len(perfect) == len(key.exercises) >= 4
    first = next(cell for cell in cells if "### BEGIN SOLUTION" in cell)
    partial = grade([without_solutions(cell) if cell == first else with_solutions(cell) for cell in cells], key, LIMITS)
    missing = {name for name, function in key.exercises.items() if f"def {function}(" in first}
    assert {one.exercise for one in partial if not one.passed} == missing
    untouched = grade([without_solutions(cell) for cell in cells], key, LIMITS)
    assert all("not written yet" in one.said for one in untouched)


def test_a_loop_a_hog_and_an_exit_cost_their_own_exercise_alone(key):
    cells = changed(
        intensity="def intensity(*given):\n    while True:\n        pass",
        attainable="def attainable(*given):\n    held = []\n    while True:\n        held.append(bytes(2**24))",
        decode_bytes="import os\nos._exit(0)\ndef decode_bytes(*given):\n    pass",
    )
    got = said(cells, key, Limits(seconds=2, megabytes=256))
    assert "loop that never ends" in got[INTENSITY]
    assert "MemoryError" in got[ATTAINABLE]
    assert "without a result" in got[BYTES]
    assert got[BATCH] == ""


def test_edited_tests_and_other_cells_do_not_count(key):
    cheat = "def check(*given):\n    pass\nimport slmkit.course\nslmkit.course.check = check"
    wrong = "def intensity(m, k, n, bytes_per_number=4):\n    return 0.0"
    cells = [cheat, *[cell.replace("check(", "print(") for cell in changed(intensity=wrong)], "raise SystemExit"]
    got = said(cells, key)
    assert got.pop(INTENSITY)
    assert not any(got.values())


def test_a_deleted_cell_and_one_that_is_there_twice(key):
    wrong = "def attainable(intensity, peak_flops, bandwidth):\n    return peak_flops"
    got = said([*changed(intensity=None), wrong], key)
    assert got[INTENSITY] == "no cell of the notebook defines `intensity`"
    assert "lower of the two" in got[ATTAINABLE]
    assert "defined in 2 cells; the last one counts" in got[ATTAINABLE]
    assert not got[BYTES]
    assert said([wrong, *RIGHT], key) == PERFECT


def test_cells_that_python_cannot_read(key):
    magic = "%time 3\ndef intensity(m, k, n, b=4):\n    return 2 * m * k * n / (b * (m * k + k * n + m * n))"
    got = said(
        changed(intensity=magic, attainable="def attainable(:\n    pass", decode_bytes="decode_bytes = 1 / 0"), key
    )
    assert got[INTENSITY] == ""
    assert "cannot read the cell" in got[ATTAINABLE]
    assert "ZeroDivisionError" in got[BYTES]
    assert "`decode_bytes = 1 / 0`" in got[BYTES]
    assert got[BATCH] == ""


def test_our_solutions_are_out_of_reach(key):
    taken = "given = intensity\ndef intensity(*numbers):\n    return given(*numbers)"
    lab = f"text = open({str(ZERO)!r}).read()\ndef attainable(*numbers):\n    return 1"
    got = said(changed(intensity=taken, attainable=lab), key)
    assert "not written yet" in got[INTENSITY]
    assert "is not there for an exercise" in got[ATTAINABLE]


def test_a_later_exercise_works_with_our_solution_of_an_earlier_one():
    lab = labs(["02"])[0]
    cells = [with_solutions(cell) for cell in code_cells(lab.read_text())]
    place = next(i for i, cell in enumerate(cells) if cell.startswith("def count_pairs"))
    cells[place] = cells[place].replace("pairs[pair] += times", "pairs[pair] += 1")
    got = {one.exercise: one.passed for one in grade(cells, Key(lab), LIMITS)}
    assert [name for name, passed in got.items() if not passed] == ["02/count_pairs"]


# -- folders ---------------------------------------------------------------------------------------------------------


def handed_in(path, cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def submitted(tmp_path):
    folder, name = tmp_path / "submitted", f"{ZERO.stem}.ipynb"
    handed_in(folder / "ada" / name, RIGHT)
    handed_in(
        folder / "ben" / ZERO.stem / name, changed(intensity=None, turning_batch="def turning_batch(a):\n    return 1")
    )
    notebook = reader_copy(read(TEXT))
    for cell in notebook.cells:
        cell["id"] = "same"
    (folder / "cy").mkdir()
    (folder / "cy" / name).write_text(json.dumps(notebook))
    (folder / "cy" / "thoughts.ipynb").write_text("{}")
    for student, text in {"dan": "{", "eve": "[1]", "flo": '{"cells": [{"cell_type": "code", "source": 3}]}'}.items():
        (folder / student).mkdir()
        (folder / student / name).write_text(text)
    (folder / "gus" / name).mkdir(parents=True)
    (folder / "hal").mkdir()
    handed_in(folder / "ida" / f"{ZERO.stem} (1).ipynb", RIGHT)
    handed_in(folder / "ida" / f"{ZERO.stem}-copy.ipynb", RIGHT[:3])
    handed_in(folder / "jo" / f"{ZERO.stem} (1).ipynb", RIGHT[:3])
    handed_in(folder / "jo" / name, RIGHT)
    (folder / "read me.txt").write_text("no student")
    (folder / "loose.ipynb").write_text("{}")
    (folder / "kim").mkdir()
    (folder / "kim" / "00.ipynb").write_text("{}")
    return folder


def test_a_folder_of_submissions(submitted, tmp_path, capsys):
    out = tmp_path / "graded"
    assert cli.main(["grade", str(submitted), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    with open(out / "points.csv", newline="") as file:
        table = {(row["student"], row["lab"]): row for row in csv.DictReader(file)}
    points = {student: f"{row['points']}/{row['of']}" for (student, lab), row in table.items()
              if lab not in ("thoughts", "loose")}  # fmt: skip
    assert points == {"ada": "4/4", "ben": "2/4", "cy": "0/4", "dan": "0/4", "eve": "0/4", "flo": "0/4", "gus": "0/4",
                      "hal": "0/0", "ida": "4/4", "jo": "4/4", "kim": "0/0"}  # fmt: skip
    assert table["ben", ZERO.stem]["missed"] == f"{INTENSITY} {BATCH}"
    assert table["cy", "thoughts"]["note"].startswith("no lab has this name; one that has begins with two digits")
    assert [(key, row["note"][:20]) for key, row in table.items() if key[0] == "kim"] == [
        (("kim", "00"), "no lab has this name")
    ]
    assert table["", "loose"]["note"] == "lies in no student's folder; not graded"
    notes = {student: row["note"] for (student, lab), row in table.items() if lab != "thoughts"}
    assert "no JSON" in notes["dan"]
    assert "not a notebook" in notes["eve"]
    assert "not a notebook" in notes["flo"]
    assert "not a file" in notes["gus"]
    assert "nothing" in notes["hal"] or "no notebook" in notes["hal"]
    assert "2 notebooks of this lab" in notes["ida"]
    assert f"ben  {ZERO.stem}  2 of 4" in said
    page = (out / "ben.md").read_text()
    assert page.startswith(f"# Feedback for ben\n\n## {ZERO.stem}: 2 of 4 points\n\n- ✗ {INTENSITY}: no cell")
    assert f"- ✓ {ATTAINABLE}\n" in page
    assert (
        out / "hal.md"
    ).read_text() == "# Feedback for hal\n\n## Nothing to grade: 0 of 0 points\n\nNo notebook of a lab was handed in.\n"
    assert sorted(path.name for path in out.iterdir()) == sorted([*(f"{name}.md" for name in points), "points.csv"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["."], "holds no folder of a student"),
        ([".", "--lab", "77"], "there is no lab '77'"),
        ([".", "--seconds", "0"], "whole number of at least 1"),
    ],
)
def test_bad_input_of_the_command_is_told_in_one_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", *words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "00_x.ipynb"
    with open(path, "wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(ValueError, match="more than 20 MB"):
        read_cells(path)


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_every_broken_kind_of_every_lab_gets_what_it_deserves(lab, tmp_path):
    assignments.write(tmp_path, [lab])
    copies = Copies(tmp_path, lab.stem)
    deserved = {kind: copies.hand_in(kind) for kind in BROKEN}
    results = grade_folder(tmp_path / "submitted", tmp_path / "graded", Limits(seconds=3, megabytes=1024))
    got = {result.student: [one.exercise for one in result.graded if one.passed] for result in results}
    assert got == deserved
    assert all(0 < len(solved) <= len(copies.exercises) for solved in deserved.values())
