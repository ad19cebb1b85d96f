"""The survey's tables: shapes, codes, and the claims that they decide."""

import subprocess
import sys

import pytest

from slmkit import survey
from slmkit.survey import statistics


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


def test_recipe_shares():
    shares = {year: statistics.recipe_shares(year) for year in (2022, 2024)}
    assert shares[2022]["RMSNorm"] == shares[2022]["all"] == 0
    assert shares[2024]["gated FFN"] > 90
    assert all(shares[2024]["all"] <= share for share in shares[2024].values())


def test_the_survey_is_light():
    """Code that only needs a name or a configuration does not wait for pandas."""
    code = "import sys, slmkit.survey as s; s.config('SmolLM2-135M'); s.available(); assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
