"""A record holds what is needed to repeat it, and is judged by the rule alone."""

import json
import math

import pytest

from slmkit.course import lab as lab_module
from slmkit.course import promote as promotion
from slmkit.course import records
from slmkit.course.lab import Lab
from slmkit.course.promote import main, promote
from slmkit.course.records import RecordError, record
from slmkit.survey import tables, verdicts
from slmkit.survey.verdicts import REPRODUCED

# -- record ----------------------------------------------------------------------------------------------------------

CLAIMS = [
    {"id": "T1", "kind": "trained", "statement": "A beats B.", "metric": "A - B", "rule": "below", "expected": "0",
     "tolerance": "0"},
    {"id": "S1", "kind": "statistics", "statement": "There are 57.", "metric": "rows", "rule": "equal",
     "expected": "57", "tolerance": ""},
    {"id": "N1", "kind": "profiled", "statement": "Phones differ.", "metric": "", "rule": "", "expected": "",
     "tolerance": ""},
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A clone of its own, with the lab "99" running in the cpu profile."""
    monkeypatch.setattr(records, "rows", lambda table: CLAIMS)
    for module in (records, promotion, tables):
        monkeypatch.setattr(module, "root", lambda: tmp_path)
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    running = Lab("99", "cpu", "cpu", {"seeds": (0, 1, 2)})
    monkeypatch.setattr(lab_module, "_current", running)
    return tmp_path


def stored(folder, claim, profile="cpu"):
    return json.loads((folder / "build" / "records" / profile / f"{claim}.json").read_text())


def test_paired_seeds_are_compared_seed_by_seed(here, capsys):
    # The seeds differ far more than the arms: only the pairing shows the effect.
    record("T1", [1.0, 5.0, 9.0], against=[1.1, 5.12, 9.09], unit="bits per byte")
    made = stored(here, "T1")
    assert made["effect"] == pytest.approx(-0.31 / 3)
    assert made["verdict"] == REPRODUCED
    assert made["interval"][0] < made["effect"] < made["interval"][1] < 0
    assert "bits per byte" in (said := capsys.readouterr().out)
    for part in ("A beats B.", "95% interval", "3 seeds", "Verdict: reproduced"):
        assert part in said


def test_a_record_can_be_repeated_from_what_it_holds(here):
    record("T1", [-1, -2, -3])
    made = stored(here, "T1")
    assert made["command"] == "make lab LAB=99 PROFILE=cpu"
    assert (made["lab"], made["profile"], made["seeds"], made["values"]) == ("99", "cpu", [0, 1, 2], [-1, -2, -3])
    assert {"machine", "versions", "date", "revision", "rule", "statement"} <= set(made)
    assert made["versions"]["torch"]
    assert made["machine"]["cores"] >= 1


def test_the_surveys_own_data_needs_no_seeds(here):
    assert record("S1", 57)["verdict"] == REPRODUCED
    assert record("S1", 59)["verdict"] == verdicts.OWN_DATA


def test_what_cannot_be_tested_says_why(here):
    made = record("N1", None, reason="needs a phone")
    assert made["verdict"] == verdicts.NOT_TESTABLE
    assert made["reason"] == "needs a phone"


@pytest.mark.parametrize(
    ("claim", "values", "options", "message"),
    [
        ("T11", [1, 2, 3], {}, "no claim 'T11'; did you mean T1"),
        ("T1", [1, 2, 3], {"against": [1, 2]}, "3 values against 2"),
        ("T1", [1, 2, math.nan], {}, "finite"),
        ("T1", [], {}, "at least one"),
        ("T1", None, {}, "give the reason"),
        ("N1", [1, 2, 3], {}, "the rule is ''"),
    ],
)
def test_record_rejects(here, claim, values, options, message):
    with pytest.raises(RecordError, match=message):
        record(claim, values, **options)


def test_a_smoke_run_gives_no_verdict_and_is_not_promoted(here, monkeypatch):
    monkeypatch.setattr(lab_module, "_current", Lab("99", "smoke", "cpu", {"seeds": (0,)}))
    assert record("T1", [-1.0])["verdict"] == records.NO_VERDICT
    assert tables.known_records() == {}
    with pytest.raises(RecordError, match="stay out of the book"):
        promote("smoke")
    assert not (here / "book").exists()


def test_two_seeds_are_kept_without_a_verdict_and_stay_out_of_the_book(here):
    made = record("T1", [-5.0, -5.1])
    assert made["verdict"] == records.TOO_FEW
    assert made["values"] == [-5.0, -5.1]
    assert promote("cpu") == []
    assert record("T1", [-5.0, -5.1, -5.2])["verdict"] != records.TOO_FEW


def test_promotion_never_puts_a_cpu_record_in_the_place_of_a_full_one(here, monkeypatch):
    record("T1", [-1, -2, -3])
    record("S1", 57)
    assert promote("cpu") == ["S1", "T1"]
    monkeypatch.setattr(lab_module, "_current", Lab("99", "full", "cpu", {"seeds": (0, 1, 2)}))
    record("T1", [-4, -5, -6])
    assert promote("full", ["T1"]) == ["T1"]
    assert promote("cpu") == ["S1"]
    assert tables.known_records()["T1"]["values"] == [-4, -5, -6]
    with pytest.raises(RecordError, match="no full record of N1"):
        promote("full", ["N1"])


def test_the_command_refuses_a_smoke_run(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--profile", "smoke"])
    assert stopped.value.code == 2
    assert "invalid choice: 'smoke'" in capsys.readouterr().err


def test_the_command_takes_names_behind_the_profile(here, capsys):
    record("T1", [-1, -2, -3])
    record("S1", 57)
    assert main(["--profile", "cpu", "T1"]) == 0
    assert "1 copied to book/records: T1" in capsys.readouterr().out
    assert main(["--profile", "cpu", "T2"]) == 2
    assert "there is no cpu record of T2" in capsys.readouterr().err
