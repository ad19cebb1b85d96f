"""Conditions on rows: numbers as numbers, text as text, and an unknown cell meets nothing but what asks for it."""

import pytest

from slmkit.survey.query import sort, where

ROWS = [
    {"name": "A", "size": "1.7B", "heads": "9", "data": "closed"},
    {"name": "B", "size": "360M", "heads": "12", "data": "The Pile;Dolma"},
    {"name": "C", "size": "", "heads": "12-20", "data": "Dolma"},
]


@pytest.mark.parametrize(("conditions", "found"), [
    ("", "ABC"), ("name=a", "A"), ("size>1B", "A"), ("size<=360M", "B"), ("size=360000000", "B"), ("size!=1.7B", "BC"),
    ("size=", "C"), ("size!=", "AB"), ("heads>9", "B"), ("heads>=9", "AB"), ("heads=12-20", "C"), ("data~dolma", "BC"),
    ("data~dolma size<1B", "B"), ("data='the pile;dolma'", "B"), ("'data~The Pile'", "B"), ("heads~2", "BC"),
    ("name>a", "BC"), ("size<huge", "AB"), ("size>1B heads>10", ""),
])  # fmt: skip
def test_where(conditions, found):
    assert "".join(row["name"] for row in where(ROWS, conditions)) == found


@pytest.mark.parametrize(("conditions", "message"), [
    ("weight>1", "no column 'weight'; the columns are name, size, heads, data"),
    ("siz>1", "did you mean size"), ("large", "'large' is no condition"), ("size==1", "is no condition"),
    ("name='x", "cannot be read"),
])  # fmt: skip
def test_where_rejects(conditions, message):
    with pytest.raises(ValueError, match=message):
        where(ROWS, conditions)


def test_sort_puts_the_unknown_last():
    assert [row["name"] for row in sort(ROWS, "size")] == ["B", "A", "C"]
    assert [row["name"] for row in sort(ROWS, "heads")] == ["B", "C", "A"], "one cell is no number, so all are text"
    with pytest.raises(ValueError, match="no column"):
        sort(ROWS, "weight")
