"""The redrawn figures show the numbers of the tables: bars and markers are read back from the drawing."""

import matplotlib.pyplot as plt
import pandas
import pytest

from slmkit.course import facts_trends, figures_survey, figures_trends
from slmkit.course.facts import FACTS
from slmkit.survey import trends


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def stacks(axis):
    """{label: heights} of the stacked bars of one panel."""
    return {bars.get_label(): [bar.get_height() for bar in bars] for bars in axis.containers}


def test_figure_2b_stacks_the_published_counts():
    figure = figures_survey.survey_by_half_year()
    attention, ffn, *_ = (stacks(axis) for axis in figure.axes)
    assert attention["MHA"] == [4, 6, 12, 6, 9, 3]
    assert attention["GQA"] == [0, 0, 0, 1, 8, 9]
    assert ffn == {"standard": [4, 6, 12, 3, 0, 0], "gated": [0, 0, 0, 4, 19, 13]}
    third = figure.axes[0].containers[2]
    below = [sum(pair) for pair in zip(attention["MHA"], attention["GQA"])]
    assert [bar.get_y() for bar in third] == below, "each stack stands on those below"


def test_figure_2a_shows_both_countings():
    bars = {bars.get_label(): bars for bars in figures_survey.survey_shares().axes[0].containers}
    widths = {name: [bar.get_width() for bar in group] for name, group in bars.items()}
    assert widths["as the survey counts"][0] == pytest.approx(100 * 36 / 58)
    assert widths["as published"][:2] == pytest.approx([100 * 40 / 61, 100 * 18 / 61])


def test_two_countings_part_where_entries_are_wrong():
    lines = figures_survey.two_countings().axes[0].lines  # grouped attention
    counted, published = ({line.get_label(): line.get_ydata() for line in lines}[name]
                          for name in ("as the survey counts", "as published"))  # fmt: skip
    assert counted[4] == pytest.approx(100 * 11 / 19)
    assert published[4] == pytest.approx(100 * 8 / 19)
    assert list(counted[:3]) == list(published[:3]) == [0, 0, 0]


def test_figure_3_labels_its_counts():
    uses = pandas.DataFrame({2022: [4, 0], 2023: [11, 2]}, index=["The Pile", "StarCoder"])
    figure = figures_survey.dataset_uses(uses)
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", ""]
    assert [bar.get_width() for bar in figure.axes[1].patches] == [11, 2]


def test_figure_5_draws_a_missing_score_as_a_cross():
    scores = pandas.DataFrame({"release": ["2023-03", "2024-02", "2024-07"], "params_exact": [1e9, 2e9, 3e9],
                               "commonsense": [40.0, 50, 45], "problem solving": [30.0, 40, 50],
                               "mathematics": [2.0, None, None]})  # fmt: skip
    figure = figures_survey.capability_over_time(scores, 1.0)
    crosses = [line for line in figure.axes[2].lines if line.get_marker() == "x"]
    assert [list(line.get_ydata()) for line in crosses] == [[1.0, 1.0]]
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    best = next(line for line in figure.axes[0].lines if line.get_label() == "best so far")
    assert list(best.get_ydata()) == [40, 50, 50], "the best so far never falls"


def test_figure_6_draws_each_model_and_the_mean():
    index = pandas.MultiIndex.from_product([["HellaSwag", "PIQA"], ["a", "b"]])
    curves = pandas.DataFrame({0: [10.0, 20, 30, 40], 1: [11.0, 21, 31, 41], 5: [12.0, 26, 30, 40]}, index=index)
    figure = figures_survey.in_context(curves)
    mean = figure.axes[0].lines[-1]
    assert list(mean.get_ydata()) == [15, 16, 19]
    assert "+4.0" in figure.axes[0].get_title()
    sizes = pandas.DataFrame({"billions": [1.0, 2, 3], "points": [0.0, 1, 2]})
    fit = figures_survey.gain_by_size(sizes).axes[0].lines[1]
    assert list(fit.get_ydata()) == pytest.approx([0, 2])


def test_tokens_and_accuracy_uses_billions():
    models = pandas.DataFrame({"release": ["2024-06"], "params_exact": [5e8], "tokens": [12e12], "accuracy": [46.0]})
    left, right = figures_survey.tokens_and_accuracy(models).axes
    assert left.collections[0].get_offsets()[0].tolist() == pytest.approx([2024 + 5.5 / 12, 12_000])
    assert right.collections[0].get_offsets()[0].tolist() == pytest.approx([12_000, 46])


def test_continued_marks_our_rows_and_its_stacks_fill_the_panel():
    figure = figures_trends.continued()
    for axis in figure.axes:
        assert sum(map(pandas.Series, stacks(axis).values())).tolist() == pytest.approx([100] * 10)
        assert axis.lines[0].get_xdata()[0] == 5.5, "the survey's six half-years stand left of the line"
    labels = figure.axes[-1].get_xticklabels()
    assert [label.get_style() for label in labels] == ["normal"] * 6 + ["italic"] * 4
    norm = stacks(figure.axes[4])
    assert norm["with QK norm"] == pytest.approx([0] * 7 + [50, 50, 25])


def test_recipe_then_and_now():
    then, now = (group.get_offsets() for group in figures_trends.recipe_then_and_now().axes[0].collections)
    assert then[-1].tolist() == pytest.approx([100 * 9 / 38, 6])
    assert now[-1].tolist() == pytest.approx([100 * 31 / 54, 6])
    assert now[0].tolist() == pytest.approx([100 * 44 / 54, 0])


def test_scatter_of_tokens_and_context():
    survey, ours = figures_trends.tokens_per_parameter().axes[0].collections
    assert len(ours.get_offsets()) == sum(trends.tokens_per_parameter(row) is not None for row in trends.since())
    assert survey.get_offsets()[:, 1].min() == pytest.approx(20, rel=0.03), "Cerebras-GPT, compute-optimal by design"
    assert survey.get_offsets()[:, 0].max() < 2024 + 9 / 12 < ours.get_offsets()[:, 0].min()
    context = figures_trends.context_length().axes[0].collections[1]
    assert len(context.get_offsets()) == 54


def test_facts_of_the_pages():
    fact = {name: function() for name, function in facts_trends.FACTS.items()}
    assert (fact["figure2.printed"], fact["figure2.ours"]) == ("62", "61")
    assert (fact["then.recipe.all"], fact["since.recipe.all"]) == ("24%", "57%")
    assert (fact["since.recipe.grouped_attention"], fact["change.grouped_attention"]) == ("81%", "rose")
    assert (fact["since.sharing"], fact["later.sharing"]) == ("0%", "not adopted")
    assert (fact["change.SiLU"], fact["later.SiLU"]) == ("no clear change", "holds")
    assert fact["change.scaling"] == "fell"
    assert fact["change.RMSNorm"] == "no clear change", "95% interval of the difference: -2 to 21 points"
    assert (fact["since.qk_2024"], fact["since.qk_2025"], fact["then.qk"]) == ("0 of 18", "17 of 36", "5")
    assert (fact["then.ratio"], fact["since.ratio"], fact["since.ratio_max"]) == ("2.75", "3", "7.2")
    assert (fact["then.context"], fact["since.context"]) == ("8,192", "32,768")
    assert (fact["since.families"], fact["since.family.GQA"]) == ("39", "77%")
    assert "MobileLLM-125M" in {row["name"] for row in facts_trends._families()}, "the first of its family"
    assert (fact["since.distilled"], fact["since.understated"], fact["since.free_heads"]) == ("13", "15", "11")
    assert set(fact) <= set(FACTS)


def test_later_by_its_three_answers(monkeypatch):
    for share, word in ((0.6, "holds"), (0.5, "not typical"), (0.0, "not adopted")):
        monkeypatch.setattr(facts_trends, "_share", lambda group, part, share=share: share)
        assert facts_trends.later("tied") == word


def test_large_numbers_keep_three_digits():
    assert [facts_trends._large(value) for value in (3992.6, 112121, 1514)] == ["3,990", "112,000", "1,510"]
