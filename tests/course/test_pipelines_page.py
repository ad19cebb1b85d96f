"""The page on pipelines: its numbers come from the benchmark's record, and its drawings show what they say."""

import re

import pytest

from slmkit.course import pipelines
from slmkit.course.pipelines import FACTS, cleaning_funnel, cleaning_recall, half, record, wilson
from slmkit.data.dedup import collision_probability
from slmkit.paths import root

PAGE = (root() / "book" / "data" / "pipelines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FACTS)
def test_every_fact_is_a_short_text(name):
    assert 0 < len(FACTS[name]()) < 60


def test_the_page_uses_only_what_there_is():
    assert set(re.findall(r"\{fact\}`(cleaning\.[^`]+)`", PAGE)) == set(FACTS)
    assert set(re.findall(r"\{drawn\} (\S+)", PAGE)) == set(pipelines.FIGURES)


def test_the_facts_are_those_of_the_record():
    rows = record()["rows"]
    assert [row["unit"] for row in rows[:2]] == ["documents/s", "documents/s of processor time"]
    assert ["datasketch" in rows[pipelines.DATASKETCH]["what"], "rensa" in rows[pipelines.RENSA]["what"]] == [True] * 2
    assert FACTS["cleaning.documents"]() == f"{record()['report']['documents']['read']:,}"
    assert collision_probability(half()) == pytest.approx(0.5, abs=1e-4)


def test_the_funnel_narrows_to_what_came_out():
    report = record()["report"]
    bars = [bar.get_width() for bar in cleaning_funnel().axes[0].patches]
    left, lost = bars[::2], bars[1::2]
    assert left[0] == report["documents"]["read"]
    assert left[-1] == report["documents"]["out"]
    assert all(before == after + gone for before, after, gone in zip(left, left[1:], lost[1:]))


def test_the_points_lie_beside_the_theory_and_intervals_hold_them():
    curve, points = cleaning_recall().axes[0].lines
    assert dict(zip(curve.get_xdata(), curve.get_ydata()))[0.4] == pytest.approx(collision_probability(0.4))
    assert list(points.get_ydata()) == [one["recall"] for one in record()["recall"]]
    low, high = wilson(0.5, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596)
    assert wilson(1.0, 100)[1] == pytest.approx(1)
    assert wilson(0.0, 100)[0] == pytest.approx(0, abs=1e-9)
