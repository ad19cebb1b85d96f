"""The page on grading: its numbers and its table are those of the CSV file."""

import re

import pytest

from slmkit.course import killtable
from slmkit.paths import root

TABLE = "exercise,wrong,refused,right,accepted\n00/a,5,5,2,2\n01/b,1400,1399,4,1\n"


@pytest.fixture
def _table(tmp_path, monkeypatch):
    (tmp_path / "table.csv").write_text(TABLE)
    monkeypatch.setattr(killtable, "TABLE", tmp_path / "table.csv")


@pytest.mark.usefixtures("_table")
def test_numbers_and_table():
    assert {name: value() for name, value in killtable.FACTS.items()} == {
        "grading.exercises": "2",
        "grading.wrong": "1,405",
        "grading.right": "6",
        "grading.least_wrong": "5",
        "grading.least_right": "2",
        "grading.false_positives": "1",
        "grading.false_negatives": "3",
    }
    html = killtable.KillTable.run(None)[0].astext()
    assert re.findall(r">([^<>\n]+)</t[hd]>", html) == re.split(r"[,\n]", TABLE.strip())
    assert html.count('scope="row"') == 2


def test_the_page_states_each_number():
    page = (root() / "book" / "reference" / "grading.md").read_text()
    assert set(re.findall(r"\{fact\}`([^`]+)`", page)) == set(killtable.FACTS)
    assert "```{kill-table}" in page
