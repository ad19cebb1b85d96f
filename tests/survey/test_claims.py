"""The ledger of claims: complete against the checklist of the survey's statements, well formed, judged by the rules."""

from collections import defaultdict

import pytest

from slmkit import survey
from slmkit.survey import evidence, verdicts
from slmkit.survey.tables import rows

CLAIMS, INDEX = rows("claims"), {row["number"]: row for row in rows("insights")}
COMPUTED = ("statistics", "computed")
# Rows on statements that the checklist marks neither K nor Q nor !, and why they are in the ledger.
BESIDE = {"C34": "no number in the survey, but its tables decide it",
          "C42": "a method; lab 11 tests that it does what it says",
          "C43": "a method; lab 09 tests what it is for",
          "C105": "lab 03 tests a weaker form of it",
          "C116": "announced in the survey and never reported"}  # fmt: skip


@pytest.fixture(scope="module")
def claims():
    return survey.claims().set_index("id")


def test_the_checklist_is_whole():
    assert [int(number) for number in INDEX] == list(range(1, 117))
    assert all(set(row["marks"]) <= set("KQD!") for row in INDEX.values())
    assert sum(bool(set(row["marks"]) & set("KQ")) for row in INDEX.values()) == 59
    assert sum("!" in row["marks"] for row in INDEX.values()) == 30


def test_every_marked_statement_has_a_row_and_no_row_is_without_one():
    marks = defaultdict(set)
    for row in CLAIMS:
        if row["id"] not in BESIDE:
            marks[row["number"]].add(row["mark"])
            assert row["section"] == INDEX[row["number"]]["section"], row["id"]
    wanted = {number: found for number, row in INDEX.items() if (found := set(row["marks"]) - {"D"})}
    assert dict(marks) == wanted
    assert set(BESIDE) <= {row["id"] for row in CLAIMS}


def test_rows_are_well_formed():
    ids = [row["id"] for row in CLAIMS]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids, key=lambda name: (int(name[1:].rstrip("abcdefgh")), name))
    for row in CLAIMS:
        assert row["id"].rstrip("abcdefgh") == f"C{row['number']}"
        assert row["mark"] in ("K", "Q", "!"), row["id"]
        assert row["kind"] in (*COMPUTED, "trained", "evaluated", "profiled"), row["id"]
        assert row["lab"] in {f"{number:02}" for number in range(17)}, row["id"]
        assert row["rule"] in verdicts.RULES, row["id"]
        assert row["statement"].endswith("."), row["id"]
        assert row["metric"], row["id"]
        assert float(row["tolerance"] or 0) >= 0
        float(row["expected"])
        assert row["mark"] != "!" or row["problem"], f"{row['id']}: an error must say what is wrong"
        assert row["value"] == row["verdict"] == "", f"{row['id']}: results are computed, never typed"


def test_what_the_survey_s_data_can_decide_is_decided(claims):
    by_kind = {row["id"] for row in CLAIMS if row["kind"] in COMPUTED}
    assert by_kind == set(evidence.DECIDED)
    assert set(claims.verdict) <= {"", *verdicts.VERDICTS}
    decided = claims.loc[sorted(evidence.DECIDED)]
    assert (decided.verdict != "").all()
    assert len(decided) >= 45
    assert decided.number.nunique() >= 45, "so many statements of the survey, not only rows"


def test_a_verdict_of_the_tables_follows_from_value_and_rule():
    for row in CLAIMS:
        if row["id"] in evidence.DECIDED:
            (value, low, high), found = evidence.decide(row["id"])
            assert low <= value <= high, row["id"]
            assert found == verdicts.judge(row, low, high), row["id"]


def test_where_the_survey_is_wrong_the_data_says_so(claims):
    """Every error but those whose row states what is right, or needs a lab."""
    right, open_ = {"C10", "C70a", "C98a"}, {"C41"}
    errors = claims[(claims.mark == "!") & ~claims.index.isin(right | open_)]
    assert set(errors.verdict) <= {verdicts.CONTRADICTED, verdicts.OWN_DATA, verdicts.UNCLEAR}
    assert set(errors.index[errors.verdict == verdicts.UNCLEAR]) == {"C66a"}, "four models decide nothing"
    assert set(claims.verdict[sorted(right)]) == {verdicts.REPRODUCED}


def test_known_verdicts(claims):
    assert claims.value["C5"] == "70"
    assert claims.verdict["C5"] == verdicts.OWN_DATA, "the introduction says 57"
    assert claims.value["C7"] == "5", "two Bloomz, two LaMini-GPT, one Dolly"
    assert claims.value["C30"] == "13", "twelve in the list, and SlimPajama"
    assert claims.verdict["C32"] == verdicts.OWN_DATA, "The Pile was used in 2024"
    assert claims.verdict["C14"] == claims.verdict["C20"] == verdicts.REPRODUCED
    assert claims.verdict["C25"] == verdicts.CONTRADICTED
    assert claims.interval["C14"] == "", "a share is exact"
    assert " to " in claims.interval["C35b"], "a correlation is not"


def test_a_lab_s_record_fills_its_claim(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    monkeypatch.setattr("slmkit.survey.tables.root", lambda: tmp_path)  # a book without records of its own
    folder = tmp_path / "records" / "cpu"
    folder.mkdir(parents=True)
    (folder / "C84.json").write_text('{"effect": 0.25, "interval": [0.2, 0.3], "verdict": "contradicted"}')
    (folder / "C91.json").write_text('{"effect": null, "verdict": "not testable here"}')
    (folder / "C5.json").write_text('{"effect": 1, "verdict": "reproduced"}')
    claims = survey.claims().set_index("id")
    assert list(claims.loc["C84", ["value", "interval", "verdict"]]) == ["0.25", "0.2 to 0.3", "contradicted"]
    assert list(claims.loc["C91", ["value", "interval", "verdict"]]) == ["", "", "not testable here"]
    assert claims.value["C5"] == "70", "the survey's tables have the last word on what they decide"
