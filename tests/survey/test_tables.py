"""The survey's tables: shapes, codes, and the claims that they decide."""

import subprocess
import sys

import pytest

from slmkit import survey
from slmkit.survey import statistics

VERDICTS = {"", "reproduced", "not distinguishable at this scale", "contradicted",
            "the survey's own data disagrees", "not testable here"}  # fmt: skip


def test_tables_have_their_rows():
    models = survey.models()
    assert len(models) == 73
    assert models.name.is_unique
    assert str(models.params_exact.dtype) == "Int64", "gaps must not turn counts into floats"
    assert {"The Pile", "FineWeb-Edu", "DCLM-baseline"} <= set(survey.datasets().name)
    assert survey.capability().value.between(-100, 100).all()
    assert {"prefill", "decode"} <= set(survey.runtime().phase)


def test_the_models_that_came_after_follow_in_the_same_columns():
    survey_s, all_of_them = survey.models(), survey.models(since=True)
    assert len(all_of_them) == 73 + 55
    assert list(all_of_them.columns) == list(survey_s.columns)
    assert all_of_them.name.is_unique
    assert all_of_them.name[:73].equals(survey_s.name)
    assert str(all_of_them.params_exact.dtype) == "Int64"


def test_a_caller_may_change_its_table():
    table = survey.models()
    table.loc[0, "name"] = "changed"
    assert "changed" not in set(survey.models().name)


def test_counts_and_pace():
    assert len(statistics.listed("v1")) == 59
    assert len(statistics.listed("v3")) == 70
    for edition in ("v1", "v3"):
        assert sum(statistics.release_pace(edition).values()) == len(statistics.listed(edition))
    assert statistics.release_pace("v1")["2022 H1"] == 4, "the four OPT models"
    families = statistics.release_pace("v1", families=True)
    assert families["2022 H1"] == 1
    assert families["2022 H2"] == 3, "Galactica, Bloom, Bloomz"
    assert [statistics.half_year(month) for month in ("2024-06", "2024-07")] == ["2024 H1", "2024 H2"]
    with pytest.raises(ValueError, match="v1, v3"):
        statistics.listed("v2")


def test_claims_are_well_formed():
    claims = survey.claims()
    assert claims.id.is_unique
    assert set(claims.mark) <= {"K", "Q", "!"}
    assert set(claims.kind) <= {"statistics", "computed", "trained", "evaluated", "profiled"}
    assert claims.lab.str.fullmatch(r"\d\d").all()
    assert set(claims.rule) <= {"", "above", "below", "equal"}
    assert set(claims.verdict) <= VERDICTS
    assert (claims[claims.mark == "!"].problem != "").all(), "an error must say what is wrong"
    assert (claims.number.astype(int) <= 116).all()
    ruled = claims[claims.rule != ""]
    assert ruled.expected.astype(float).notna().all()
    assert (ruled.metric != "").all()


def test_the_tables_decide_their_claims():
    claims = survey.claims().set_index("id")
    assert claims.value["C5"] == "70"
    assert claims.verdict["C5"] == "the survey's own data disagrees", "the introduction says 57"
    assert claims.value["C7"] == "5", "two Bloomz, two LaMini-GPT, one Dolly"
    assert claims.verdict["C10"] == "reproduced"
    assert claims.verdict["C32"] == "the survey's own data disagrees", "The Pile was used in 2024"
    assert claims.value["C30"] == "13", "twelve in the list, and SlimPajama"
    assert set(statistics.STATISTICS) <= set(claims.index)


def test_recipe_shares():
    shares = {year: statistics.recipe_shares(year) for year in (2022, 2024)}
    assert shares[2022]["RMSNorm"] == shares[2022]["all"] == 0
    assert shares[2024]["gated FFN"] > 90
    assert all(shares[2024]["all"] <= share for share in shares[2024].values())


def test_a_lab_s_record_fills_its_claim(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path))
    folder = tmp_path / "records" / "cpu"
    folder.mkdir(parents=True)
    (folder / "C83.json").write_text('{"effect": 0.25, "verdict": "contradicted"}')
    (folder / "C90.json").write_text('{"effect": null, "verdict": "not testable here"}')
    (folder / "C5.json").write_text('{"effect": 1, "verdict": "reproduced"}')
    claims = survey.claims().set_index("id")
    assert (claims.value["C83"], claims.verdict["C83"]) == ("0.25", "contradicted")
    assert (claims.value["C90"], claims.verdict["C90"]) == ("", "not testable here")
    assert claims.value["C5"] == "70", "the survey's tables have the last word on what they decide"


def test_verdict_follows_the_rule():
    claim = {"rule": "above", "expected": "1", "tolerance": "0.1"}
    assert statistics.verdict(1.2, claim) == "reproduced"
    assert statistics.verdict(1.05, claim) == "the survey's own data disagrees"
    assert statistics.verdict(0.8, claim | {"rule": "below"}) == "reproduced"
    assert statistics.verdict(1.05, claim | {"rule": "equal"}) == "reproduced"


def test_the_survey_is_light():
    """Code that only needs a name or a configuration does not wait for pandas."""
    code = "import sys, slmkit.survey as s; s.config('SmolLM2-135M'); s.available(); assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
