"""The page on µP: its table is the code's, and its numbers are those of the published configurations."""

import re

from slmkit.course.mup_page import FACTS, base_width, members, with_factor
from slmkit.paths import root
from slmkit.training import mup

PAGE = (root() / "book" / "training" / "mup.md").read_text(encoding="utf-8")
EXPONENT = {"": 0, "$1$": 0, "$m^{-1}$": -1, "$m^{-1/2}$": -1 / 2}


def test_the_table_is_the_codes():
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
    table = {re.match(r"\w+", row[0])[0]: tuple(EXPONENT[cell] for cell in row[1:])
             for row in rows if len(row) == 4 and all(cell in EXPONENT for cell in row[1:])}  # fmt: skip
    assert table == {rule.kind: (rule.deviation, rule.rate, rule.multiplier) for rule in mup.RULES}


def test_published_factors():
    """MiniCPM states its base width, dim_model_base = 256; Granite 3.0-2B divides logits by 8 at a width of 2,048."""
    assert {round(base_width(config)) for config in with_factor("minicpm").values()} == {256}
    assert base_width(members("granite")["Granite-3.0-2B"]) == 2048 / 8
    assert set(members("cerebras")) & set(with_factor()) == set()
    assert FACTS["mup.cerebras.with_factor"]() == "none"
    assert int(FACTS["mup.models"]()) == sum(int(FACTS[f"mup.{one}.with_factor"]()) for one in ("minicpm", "granite"))
    assert int(FACTS["mup.granite.by_width"]()) > 0
    assert FACTS["mup.minicpm.by_width"]() == "none"
