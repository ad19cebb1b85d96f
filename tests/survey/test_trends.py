"""Trends over time: the survey's counting gives its printed numbers, and what came after is counted as documented.

Numbers stand in the checklist of the survey's claims (insights.csv, 14 to 23), or were counted by hand in the tables.
"""

import pytest

from slmkit.survey import evidence, statistics, trends
from slmkit.survey.tables import rows


def named(name):
    return next(row for row in rows("models") if row["name"] == name)


def test_the_survey_s_counting_gives_its_printed_counts():
    """All of Figures 2b and 3 and most of 2a, up to the one model that is not in our table."""
    assert len(trends.in_figures()) == 61
    away = {(row["figure"], row["axis"], row["option"], row["period"]): row["printed"] - row["survey"]
            for row in trends.recounted()}  # fmt: skip
    far = {place for place, difference in away.items() if difference not in (0, 1)}
    assert {axis for _, axis, _, _ in far} == {"ratio"}, "how ratios were classed is not stated"
    hare = {place[1:] for place, difference in away.items() if difference == 1 and place[0] == "2b"}
    assert hare == {("attention", "GQA", "2024 H2"), ("ffn", "gated", "2024 H2"), ("norm", "RMSNorm", "2024 H2")}
    assert not any(difference for place, difference in away.items() if place[0] == "3")


def test_printed_counts_add_up():
    for axis in trends.AXES:
        printed = sum(row["printed"] for row in trends.recounted() if (row["figure"], row["axis"]) == ("2a", axis))
        assert printed == (59 if axis == "attention" else 62)
    bars = {}
    for row in trends.recounted():
        if (row["figure"], row["axis"]) == ("2b", "ffn"):
            bars[row["period"]] = bars.get(row["period"], 0) + row["printed"]
    assert list(bars.values()) == [4, 6, 12, 7, 19, 14]


def test_disagreements_are_the_known_ones():
    """The pages on architecture name these models."""
    listed = {"Phi-3-mini", "MobileLLaMA-1.4B", "MobiLlama-0.5B", "MobiLlama-1B", "MiniCPM-2B", "OpenELM-3B"}
    assert set(trends.disagreements("attention")) == listed
    assert trends.disagreements("attention")["OpenELM-3B"] == ("MHA", "GQA")
    assert set(trends.disagreements("norm")) == set(trends.COUNTED_AS_RMSNORM)
    assert trends.disagreements("ffn") == {}
    assert trends.disagreements("vocabulary") == {"Fox-1-1.6B": ("up to 50k", "above 200k")}
    assert trends.disagreements("ratio")["Qwen-1.8B"] == ("above 4", "below 2.75")


def test_agreement_says_how_far_and_why():
    found = {(row["figure"], row["axis"]): row for row in trends.agreement()}
    assert len(found) == 10
    assert found["3", "data set"] == {"figure": "3", "axis": "data set", "numbers": 18, "equal": 18, "furthest": 0,
                                      "released": 0, "why": ""}  # fmt: skip
    assert (found["2b", "norm"]["equal"], found["2b", "norm"]["why"]) == (11, "Hare-1.1B is not in our table")
    assert found["2a", "ratio"]["furthest"] == 4
    assert found["2a", "attention"]["released"] == 4, "36 printed, 40 released with multi-head attention"
    assert sum(row["numbers"] for row in found.values()) == len(rows("published"))


def test_options():
    qwen = named("Qwen-1.8B")
    assert (trends.option(qwen, "ratio", "survey"), trends.option(qwen, "ratio")) == ("above 4", "below 2.75")
    assert trends.option(named("Qwen2.5-3B"), "attention", "survey") == "", "the survey's pie has no entry"
    assert trends.option(named("Minitron-4B"), "activation") == "other", "squared ReLU"
    assert trends.option(named("OpenELM-270M"), "ratio", "survey") == "by layer"
    assert trends.option(named("DCLM-1B"), "ratio", "survey") == ""
    assert trends.option(named("MiniMA-2-1B"), "norm") == ""
    ratios = [trends.ratio_option(text) for text in ("2.7", "2.75", "2.8", "3.0", "3.5", "4.0", "5.4")]
    assert ratios == ["below 2.75", "2.75", "between", "3", "between", "4", "above 4"]
    sizes = [trends.vocabulary_option(str(size)) for size in (50257, 51200, 51201, 100000, 151936, 200000, 256000)]
    assert sizes == ["up to 50k", "up to 50k", "50k-100k", "50k-100k", "150k-200k", "150k-200k", "above 200k"]
    with pytest.raises(ValueError, match="attention, ffn, ratio"):
        trends.option(qwen, "colour")
    with pytest.raises(ValueError, match="survey or published"):
        trends.option(qwen, "ffn", "mine")


def test_shares_and_the_evidence_agree():
    """The claims' evidence adds the missing model; without attention's it is the same share in other words."""
    assert trends.shares(trends.in_figures(), "attention", "survey")["MHA"] == pytest.approx(100 * 36 / 58)
    assert evidence.decide("C14").estimate.value == pytest.approx(100 * 36 / 59)
    assert "MLA" not in trends.shares([named("OPT-125M")], "attention")


def test_periods():
    assert trends.period({"release": "2024-12"}) == "2024 H2"
    assert trends.period({"release": "2024-12"}, ours=True) == "late 2024"
    assert trends.period({"release": "2026-02"}, ours=True) == "2026"
    found = trends.by_period(trends.since(), "ffn", ours=True)
    assert {name: sum(counts.values()) for name, counts in found.items()} == {
        "late 2024": 18, "2025 H1": 14, "2025 H2": 18, "2026": 4,
    }  # fmt: skip
    assert list(found) == ["late 2024", "2025 H1", "2025 H2", "2026"], "in order of time"


def test_before_and_since():
    before, since = trends.before(), trends.since()
    assert (len(before), len(since)) == (38, 54)
    assert not {row["name"] for row in before} & {row["name"] for row in since}
    assert "EuroLLM-1.7B" not in {row["name"] for row in since}, "released before the cut"
    assert trends.counts(since, "attention") == {"MHA": 7, "GQA": 44, "MQA": 2, "MLA": 1}
    assert trends.counts(since, "norm") == {"LayerNorm": 2, "RMSNorm": 52}
    assert sum(map(trends.query_key_norm, since)) == 17
    assert trends.counts(before, "attention")["GQA"] == 20


def test_recipe():
    full = [
        sum(all(trends.follows_recipe(row).values()) for row in models) for models in (trends.before(), trends.since())
    ]
    assert full == [9, 31]
    shares = trends.recipe_shares(trends.since())
    assert shares["all"] == pytest.approx(100 * 31 / 54)
    assert shares["gated FFN"] == pytest.approx(100 * 51 / 54)
    assert set(shares) == {*statistics.RECIPE, "all"}
    assert not any(trends.follows_recipe(named("MiniMA-2-1B")).values()), "nothing is known of its shape"


def test_tokens():
    assert trends.tokens(named("Bloomz-560M")) == 350e9, "without what it was tuned on"
    assert trends.tokens(named("Phi-3.5-mini")) is None
    assert trends.tokens_per_parameter(named("Qwen2-0.5B")) == pytest.approx(24_290, rel=1e-3)
    pruned = next(row for row in rows("models_since") if row["name"] == "Falcon3-1B")
    assert trends.tokens(pruned) == 80e9
    assert trends.tokens_per_parameter(pruned) is None, "its tokens are those of the repair"
    assert trends.middle([{"x": 1}, {"x": 5}, {"x": 2}, {"x": None}], lambda row: row["x"]) == 2
