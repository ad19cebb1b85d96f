"""nbgrader's own commands, as the page on grading gives them, on invented submissions of two labs.

tools/nbgrader_table.py does the same for every lab; the kinds of submissions are in invented.py.
"""

import csv
import re
import shlex

import nbformat
import pytest
from invented import Copies
from nbgrader_course import Course

from slmkit.course import progress
from slmkit.paths import root

pytestmark = [pytest.mark.grading, pytest.mark.slow]
PAGE = (root() / "book" / "reference" / "grading.md").read_text()
# Those of the page, in its order, without the program; the page's example is lab 00.
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^\S*/nbgrader .*", PAGE, flags=re.M)]


def run(course, lab, command) -> int:
    return course.nbgrader(*[lab if word == "00_your_machine" else word for word in command])


def graded_as_deserved(course, lab, deserved):
    """Both graders and the pages of feedback agree, exercise by exercise."""
    assert {student: course.gradebook(lab)[student] for student in deserved} == deserved
    assert {student: course.feedback(lab, student) for student in deserved} == {
        student: len(solved) for student, solved in deserved.items()
    }
    ours = course.graded_by_slmkit(lab)
    got = {student: [one.exercise for one in ours[student].graded if one.passed] for student in deserved}
    assert got == deserved


def test_right_partly_right_endless_and_greedy(tmp_path):
    course, lab = Course(tmp_path, ["00"]), "00_your_machine"
    generate, autograde, feedback, export = COMMANDS
    copy = Copies(tmp_path, lab).released
    assert run(course, lab, generate) == 0, course.said
    theirs = nbformat.read(tmp_path / "release" / lab / f"{lab}.ipynb", as_version=4)
    assert [cell.source for cell in theirs.cells] == [cell.source for cell in copy.cells]

    deserved = course.hand_in(lab, ["perfect", "partial", "endless_loop", "memory_hog"])
    torn = tmp_path / "submitted" / "a_torn_file" / lab / f"{lab}.ipynb"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"cells": [')
    assert run(course, lab, autograde) == 1
    assert "There was an error processing assignment '00_your_machine' for student 'a_torn_file'" in course.said
    assert run(course, lab, feedback) == 0, course.said
    graded_as_deserved(course, lab, deserved)
    assert len(deserved["partial"]) == 1
    page = (tmp_path / "feedback" / "endless_loop" / lab / f"{lab}.html").read_text()
    assert "stopped after 10 s of processor time" in page
    assert "MemoryError" in (tmp_path / "feedback" / "memory_hog" / lab / f"{lab}.html").read_text()

    assert run(course, lab, export) == 0, course.said
    with open(tmp_path / "points.csv", newline="") as file:
        points = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    assert points == {"a_torn_file": (0, 4)} | {student: (len(solved), 4) for student, solved in deserved.items()}


def test_deleted_duplicated_and_edited_cells(tmp_path):
    course, lab = Course(tmp_path, ["01"]), "01_the_survey_as_data"
    generate, autograde, feedback, _ = COMMANDS
    assert run(course, lab, generate) == 0, course.said
    deserved, before = course.hand_in(lab, ["deleted_cell", "duplicated_id", "edited_test"]), progress.days()
    assert run(course, lab, autograde) == 0, course.said
    assert progress.days() == before, "what a class has solved is not the instructor's"
    assert "The cell '01-answer-shares' is missing" in course.said
    assert "The mark '01-check-shares' stands on a cell too many" in course.said
    assert run(course, lab, feedback) == 0, course.said
    graded_as_deserved(course, lab, deserved)
    assert len(deserved["deleted_cell"]) == len(deserved["edited_test"]) == 4


DEAF = """import time
while True:
    try:
        time.sleep(1)
    except KeyboardInterrupt:
        pass"""
HOG = "held = []\nwhile True:\n    held.append(bytes(2**28))"  # address space alone; nothing is written


def test_what_hangs_or_hoards_outside_the_exercises_ends_too(tmp_path):
    course, lab = Course(tmp_path, ["00"]), "00_your_machine"
    settings = tmp_path / "nbgrader_config.py"
    limits = "CELL_SECONDS, NOTEBOOK_SECONDS = 120, 900"
    assert limits in settings.read_text()
    settings.write_text(settings.read_text().replace(limits, "CELL_SECONDS, NOTEBOOK_SECONDS = 60, 80"))
    generate, autograde, *_ = COMMANDS
    assert run(course, lab, generate) == 0, course.said
    for student, text in (("deaf", DEAF), ("hoards", HOG)):
        deserved = course.hand_in(lab, ["perfect"])["perfect"]
        (tmp_path / "submitted" / "perfect").rename(tmp_path / "submitted" / student)
        path = tmp_path / "submitted" / student / lab / f"{lab}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        answer = next(i for i, cell in enumerate(notebook.cells) if cell.source.startswith("def "))
        notebook.cells.insert(answer, nbformat.v4.new_code_cell(text))
        nbformat.write(notebook, path)
    # A kernel that does not answer is given up, and its student named; behind the hog it goes on.
    assert run(course, lab, autograde) == 1
    assert "There was an error processing assignment '00_your_machine' for student 'deaf'" in course.said
    assert "'hoards'" not in course.said.split("There was an error")[-1]
    assert course.gradebook(lab) == {"deaf": [], "hoards": deserved}
    hoarded = nbformat.read(tmp_path / "autograded" / "hoards" / lab / f"{lab}.ipynb", as_version=4)
    assert any(output.get("ename") == "MemoryError" for cell in hoarded.cells for output in cell.get("outputs", ()))
