"""The page on grading: its numbers and its tables are those of the CSV files."""

import re

import pytest
from invented import BROKEN

from slmkit.course import killtable
from slmkit.course.source import labs
from slmkit.paths import root

TABLE = "exercise,wrong,refused,right,accepted\n00/a,5,5,2,2\n01/b,1400,1399,4,1\n"
GRADERS = (
    "lab,submission,exercises,solved,nbgrader,feedback,slmkit\n"
    "00_a,perfect,4,4,4,4,4\n00_a,partial,4,2,2,3,2\n01_b,endless_loop,5,4,3,3,4\n"
)


@pytest.fixture
def _tables(tmp_path, monkeypatch):
    for name, text in (("TABLE", TABLE), ("GRADERS", GRADERS)):
        (tmp_path / f"{name}.csv").write_text(text)
        monkeypatch.setattr(killtable, name, tmp_path / f"{name}.csv")


def cells(directive) -> tuple[str, list[str]]:
    html = directive.run(None)[0].astext()
    return html, re.findall(r">([^<>\n]+)</t[hd]>", html)


@pytest.mark.usefixtures("_tables")
def test_numbers_and_tables():
    assert {name: value() for name, value in killtable.FACTS.items()} == {
        "grading.exercises": "2",
        "grading.wrong": "1,405",
        "grading.right": "6",
        "grading.least_wrong": "5",
        "grading.least_right": "2",
        "grading.false_positives": "1",
        "grading.false_negatives": "3",
        "grading.seconds": "10",
        "grading.mebibytes": "1024",
        "grading.cell_seconds": "120",
        "grading.notebook_minutes": "15",
        "grading.kernel_gibibytes": "8",
        "grading.submissions": "3",
        "grading.labs": "2",
        "grading.by_nbgrader": "1",
        "grading.by_slmkit": "3",
    }
    html, found = cells(killtable.KillTable)
    assert found == re.split(r"[,\n]", TABLE.strip())
    assert html.count('scope="row"') == 2
    html, found = cells(killtable.GraderTable)
    assert found == re.split(r"[,\n]", GRADERS.strip())
    assert html.count('scope="row"') == 3


def test_every_lab_was_handed_in_perfect_partly_right_and_broken():
    kinds = {}
    for row in killtable.read(killtable.GRADERS):
        kinds.setdefault(row["lab"], []).append(row["submission"])
    assert list(kinds) == [lab.stem for lab in labs()]
    assert all(found[:2] == ["perfect", "partial"] and set(found[2:]) <= set(BROKEN) for found in kinds.values())
    assert {kind for found in kinds.values() for kind in found[2:]} == set(BROKEN)


def test_the_page_states_each_number():
    page = (root() / "book" / "reference" / "grading.md").read_text()
    assert set(re.findall(r"\{fact\}`([^`]+)`", page)) == set(killtable.FACTS)
    assert "```{kill-table}" in page
    assert "```{grader-table}" in page
