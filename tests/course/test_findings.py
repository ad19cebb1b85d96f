"""Findings: arms compared seed by seed, kept with all that is needed to repeat them, and quoted by name."""

import json

import pandas
import pytest

from slmkit.course import findings, records
from slmkit.course import lab as lab_module
from slmkit.course import promote as promotion
from slmkit.course.findings import BASE, BETTER, FEW, WORSE, comparison, finding
from slmkit.course.lab import Lab
from slmkit.course.promote import promote
from slmkit.course.records import RecordError
from slmkit.survey.verdicts import UNCLEAR

# The seeds differ far more than the arms: only the pairing shows an effect.
RUNS = {"base": [1.0, 2.0, 3.0], "good": [0.9, 1.91, 2.9], "bad": [1.2, 2.2, 3.21], "alike": [1.1, 1.9, 3.0]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A clone of its own, with the lab "99" running in the cpu profile."""
    for module in (records, promotion, findings):
        monkeypatch.setattr(module, "root", lambda: tmp_path)
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(lab_module, "_current", Lab("99", "cpu", "cpu", {"seeds": (0, 1, 2)}))
    return tmp_path


def table(runs=RUNS, seeds=3, **columns) -> pandas.DataFrame:
    rows = [{"arm": arm, "seed": seed, "parameters": 1000, "bits_per_byte": value} | columns
            for arm, values in runs.items() for seed, value in enumerate(values[:seeds])]  # fmt: skip
    return pandas.DataFrame(rows)


def stored(folder, name):
    return json.loads((folder / "build" / "records" / "cpu" / "findings" / f"{name}.json").read_text())


def test_arms_are_compared_seed_by_seed(here, capsys):
    comparison("99-arms", table(cpu_s=2.0), "base", "parameters")
    made = stored(here, "99-arms")
    found = {arm: one["finding"] for arm, one in made["arms"].items()}
    assert found == {"base": BASE, "good": BETTER, "bad": WORSE, "alike": UNCLEAR}
    good = made["arms"]["good"]
    assert good["difference"] == pytest.approx(-0.29 / 3)
    assert good["interval"][0] < good["difference"] < good["interval"][1] < 0
    said = capsys.readouterr().out
    assert "99-arms, 3 seeds; held equal: parameters" in said
    assert "−0.097" in said


def test_a_finding_can_be_repeated_from_what_it_holds(here):
    comparison("99-arms", table(cpu_s=2.0), "base", "parameters")
    made = stored(here, "99-arms")
    assert made["command"] == "make lab LAB=99 PROFILE=cpu"
    assert {"machine", "versions", "date", "revision", "equal", "base"} <= set(made)
    assert {arm: one["values"] for arm, one in made["arms"].items()} == RUNS
    assert made["arms"]["bad"]["cpu_s"] == [2.0] * 3


def test_two_seeds_give_no_interval(here):
    comparison("99-arms", table(seeds=2), "base", "parameters")
    assert stored(here, "99-arms")["arms"]["good"]["finding"] == FEW
    assert stored(here, "99-arms")["arms"]["good"]["interval"] is None


def test_bad_input_is_told_in_one_line(here):
    with pytest.raises(RecordError, match="a run of 'bad' diverged"):
        comparison("99-arms", table(RUNS | {"bad": [1.0, float("inf"), 1.0]}), "base", "parameters")
    with pytest.raises(ValueError, match="no arm 'first'"):
        comparison("99-arms", table(), "first", "parameters")
    with pytest.raises(RecordError, match="in lab 99 its name begins with 99-"):
        finding("98-share", share=1.0)
    with pytest.raises(RecordError, match="no values"):
        finding("99-share")


def test_pages_quote_what_was_promoted_and_nothing_else(here):
    comparison("99-arms", table(cpu_s=2.0), "base", "parameters and tokens")
    finding("99-share", share=[0.5, 0.7], pairs=1200, exceptions=["a before b"], none=[], note="of all")
    assert findings.facts() == findings.figures() == {}
    assert promote("cpu") == ["99-arms", "99-share"]
    facts = {name: say() for name, say in findings.facts().items()}
    assert facts["comparison.99-arms.good.difference"] == "−0.097"
    assert facts["comparison.99-arms.good.size"] == "0.097"
    assert facts["comparison.99-arms.good.interval"] == "−0.111 to −0.082"
    assert facts["comparison.99-arms.bad.finding"] == "worse"
    assert facts["comparison.99-arms.base.bits"] == "2.000"
    assert facts["comparison.99-arms.base.cpu_s"] == "2 s"
    assert facts["comparison.99-arms.seeds"] == "3"
    assert facts["comparison.99-arms.equal"] == "parameters and tokens"
    assert facts["finding.99-share.share"] == "0.6"
    assert facts["finding.99-share.pairs"] == "1,200"
    assert facts["finding.99-share.none"] == "none"
    assert "finding.99-share.exceptions" not in facts  # sentences are for the lab
    assert "comparison.99-arms.base.interval" not in facts


@pytest.mark.parametrize("columns", [{}, {"cpu_s": 2.0}])
def test_the_figure_has_a_line_for_each_arm_and_fills_only_what_is_clear(here, columns):
    comparison("99-arms", table(**columns), "base", "parameters")
    promote("cpu")
    (draw,) = findings.figures().values()
    left, right = draw().axes
    assert [label.get_text() for label in left.get_yticklabels()] == list(RUNS)
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert [point.get_markerfacecolor() == "white" for point in points] == [True, False, False, True]
    assert right.get_visible() == bool(columns)


def test_a_recipe_of_the_book_keeps_its_seeds_and_its_command(here, monkeypatch):
    monkeypatch.setattr(lab_module, "_current", None)
    monkeypatch.setattr("sys.argv", [str(here / "book" / "training" / "recipe.py")])
    comparison("recipe-arms", table(), "base", "parameters")
    made = stored(here, "recipe-arms")
    assert (made["lab"], made["seeds"], made["command"]) == (None, [0, 1, 2], "python book/training/recipe.py")
    monkeypatch.setattr("sys.argv", [str(here / "elsewhere.py")])
    finding("recipe-share", share=1.0)
    assert stored(here, "recipe-share")["command"] is None
