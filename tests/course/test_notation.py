"""The page on notation tells the truth: its symbols are in the formulas of the pages that it names."""

import re
from dataclasses import fields

import pytest

import slmkit
from slmkit.paths import root

PAGE = root() / "book" / "reference" / "notation.md"
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.S)
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| $") and ".md)" in line]


def math(text: str) -> list[str]:
    return [displayed or inline for displayed, inline in MATH.findall(text)]


def letters(formula: str) -> str:
    """Without words and without commands, which have letters too."""
    return re.sub(r"\\(text|mathrm|operatorname)\{[^}]*\}|\\[A-Za-z]+", " ", formula)


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_a_symbol_is_used_where_the_page_says(row):
    for link in re.findall(r"\]\(([^)]+\.md)\)", row):
        used = math((PAGE.parent / link).read_text())
        for symbol in math(row.split("|")[1]):
            there = any(symbol in (formula if "\\" in symbol else letters(formula)) for formula in used)
            assert there, f"{symbol} is not in {link}"


def test_names_in_the_code_are_those_of_the_configuration():
    known = {field.name for field in fields(slmkit.ModelConfig)} | set(dir(slmkit))
    table = PAGE.read_text().split("## The shape of a model")[1].split("\n## ")[0]
    names = re.findall(r"`(\w+)`", table)
    assert len(names) > 10
    assert set(names) <= known
