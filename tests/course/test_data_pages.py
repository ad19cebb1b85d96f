"""The pages on data, quality, quantity and filtering: numbers worked out again in another way, and the drawings."""

import math
from itertools import combinations, pairwise
from statistics import fmean, median

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest

from slmkit import survey
from slmkit.course import data_quality, data_quantity, figures_data_quality
from slmkit.course.data_quality import Entry, base, effect, effect_of, entries
from slmkit.course.data_quantity import LAWS, REFITTED, RULE
from slmkit.paths import root
from slmkit.survey.evidence import decide
from slmkit.survey.evidence.capability import model_scores
from slmkit.survey.evidence.estimates import Estimate, residuals
from slmkit.survey.tables import rows

FACTS = data_quality.FACTS | data_quantity.FACTS
FILTERED = {"SmolLM-135M", "SmolLM-360M", "SmolLM-1.7B", "DCLM-1B"}
LAW = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


@pytest.fixture
def drawn():
    """Draws a figure by name and closes what was drawn when the test is over."""
    yield lambda name: figures_data_quality.FIGURES[name]()
    plt.close("all")


def points(axis):
    """How many markers an axis shows."""
    return sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() not in ("None", None, ""))


def page(name: str) -> str:
    return " ".join((root() / "book" / "data" / name).read_text(encoding="utf-8").split())


# -- Table 2 -----------------------------------------------------------------------------------------------------------


def test_every_row_has_the_score_of_the_model_it_is_given_to():
    assert len(entries()) == len({entry.name for entry in entries()}) == 30
    for entry in entries():
        found = [model_scores()[entry.name][domain] for domain in ("commonsense reasoning", "problem solving")]
        assert entry.score == pytest.approx(fmean(found), abs=0.051)
    assert {entry.name for entry in entries() if entry.filtered} == FILTERED
    tuned = {"Bloomz-560M", "Bloomz-1.1B", "StableLM-2-zephyr-1.6B", "StableLM-zephyr-3B"}
    assert {entry.name for entry in entries() if entry.tuned} == tuned
    assert FACTS["quality.opt350"]() == "0.361"


def test_pairs_and_their_permutations_are_those_of_ranks():
    """The pairs that a group's filtered models win are their rank sum less the least one (Mann and Whitney 1947)."""
    small, medium = ([entry.score for entry in base() if entry.group == group] for group in ("<1B", "1B-1.4B"))
    assert len(set(small)) == len(small)  # no ties
    assert len(set(medium)) == len(medium)
    won = [a + b - 3 + c - 1 for a, b in combinations(range(1, 13), 2) for c in range(1, 11)]
    true = 12 + 10 - 3 + 10 - 1  # SmolLM-360M first, SmolLM-135M third of twelve; DCLM-1B first of ten
    assert data_quality.wins() == (true, 2 * 10 + 1 * 9)
    assert data_quality.relabelled_models() == (sum(found >= true for found in won), len(won))
    assert float(FACTS["quality.models.p"]()) == pytest.approx(3 / 660, rel=0.05)


def test_the_effect_is_what_was_planted():
    source = np.random.default_rng(0)
    planted = []
    for number in range(40):
        size, seen, date = 10 ** source.uniform(8, 10), 10 ** source.uniform(9, 13), source.uniform(2022, 2025)
        filtered = number % 3 == 0
        score = 7 + 5 * filtered + 3 * math.log10(size) + 2 * math.log10(seen) + 1.5 * (date - 2022)
        planted.append(Entry("", "", score, filtered, False, "", size, seen, date))
    assert effect(planted, "size, tokens, date") == pytest.approx(5)
    assert effect(planted, "size") != pytest.approx(5, abs=0.05)


def test_the_effect_at_equal_size_is_that_of_what_size_leaves():
    """A coefficient of several is that of the residuals on the others (Frisch and Waugh 1933)."""
    sizes = [math.log(entry.parameters) for entry in base()]
    labels = residuals(sizes, [float(entry.filtered) for entry in base()])
    scores = residuals(sizes, [entry.score for entry in base()])
    by_hand = float(labels @ scores / (labels @ labels))
    assert effect_of().value == pytest.approx(by_hand)
    assert FACTS["quality.effect.size.value"]() == f"+{by_hand:.1f}"


def test_intervals_hold_the_effect_and_the_pages_say_that_all_are_above_zero():
    found = {name: effect_of(**arguments) for name, arguments in data_quality.ROWS.items()}
    assert all(0 < one.low < one.value < one.high for one in found.values())
    # families are resampled: a quarter of the resamples have SmolLM twice, a quarter DCLM twice
    assert found["size"].low < found["without DCLM"].value < found["size"].value < found["without SmolLM"].value
    assert effect_of() == effect_of.__wrapped__(), "the same data, the same bounds"


def test_leaving_out_and_cutting_take_the_right_models():
    without = [entry for entry in base() if not entry.name.startswith("DCLM")]
    recent = [entry for entry in base() if entry.name.startswith(("SmolLM", "DCLM", "OpenELM", "MobiLlama"))]
    assert effect_of(without="DCLM").value == pytest.approx(effect(without))
    assert len(recent) == 9
    assert effect_of(since=2024).value == pytest.approx(effect(recent))


def test_no_other_two_families_have_so_large_an_effect():
    assert data_quality.relabelled_families() == (1, math.comb(10, 2))
    others = [effect([entry._replace(filtered=entry.family in ("DCLM", other)) for entry in base()])
              for other in ("TinyLlama", "OpenELM", "Pythia")]  # fmt: skip
    assert max(others) < effect(base())


def test_what_the_page_on_quality_says_of_single_models():
    model = {entry.name: entry for entry in entries()}
    assert model["SmolLM-135M"].score < model["OpenELM-450M"].score < model["SmolLM-360M"].score
    assert model["OpenELM-450M"].parameters > 3 * model["SmolLM-135M"].parameters
    assert model["SmolLM-360M"].tokens < min(model["OpenELM-450M"].tokens, model["MobiLlama-0.5B"].tokens)
    assert max(entries(), key=lambda entry: entry.tokens).name == "DCLM-1B"
    assert [entry.name for entry in base() if entry.group == "1.5B-2B"] == [FACTS["quality.leader.1.5B"]()]
    assert 11 < model["DCLM-1B"].score - model["OpenELM-1.1B"].score < 12  # the alt text's lead
    low, high = decide("C39b").estimate[1:]
    assert low < 0 < high, "a lead as well as a lag"


def test_claims_of_the_section_are_counted_once():
    claims = survey.claims().query("section == '2.3'")
    kinds = ("reproduced", "own_data", "unclear", "contradicted", "not_testable", "open")
    assert sum(int(FACTS[f"data.claims.{kind}"]()) for kind in kinds) == len(claims) == int(FACTS["data.claims"]())
    assert int(FACTS["data.claims.reproduced"]()) == (claims.verdict == "reproduced").sum()
    for claim in ("C30", "C31b", "C32", "C33", "C33b"):  # those that the overview names
        assert FACTS[f"data.verdict.{claim}"]() == "the survey's own data disagrees"
    named = set(claims.id[claims.verdict == "the survey's own data disagrees"])
    assert named == {"C30", "C31b", "C32", "C33", "C33b"}
    assert set(claims.id[claims.kind == "trained"]) == {"C38", "C39", "C40"}, "those of the overview's last table"
    assert FACTS["data.verdict.C38a"]() == FACTS["data.verdict.C38b"]() == "not distinguishable at this scale"


# -- filtering ---------------------------------------------------------------------------------------------------------


def test_selection_is_what_a_simulation_gives():
    source = np.random.default_rng(0)
    quality, noise = source.standard_normal((2, 200_000))
    for share, correlation in ((0.1, 0.7), (0.36, 1.0), (0.02, 0.4)):
        score = correlation * quality + math.sqrt(1 - correlation**2) * noise
        kept = score >= np.quantile(score, 1 - share)
        assert data_quality.selection(share, correlation) == pytest.approx(quality[kept].mean(), abs=0.03)
        if correlation < 1:
            good = quality >= np.quantile(quality, 1 - share)
            assert data_quality.precision(share, correlation) == pytest.approx(good[kept].mean(), abs=0.015)


def test_thresholds_are_those_of_the_table_of_data_sets():
    text = next(row["filtering"] for row in rows("datasets") if row["name"] == "FineWeb-Edu")
    assert "threshold 3 keeps 1.3T" in text
    assert "threshold 2 keeps 5.4T" in text
    assert (FACTS["filtering.threshold_3"](), FACTS["filtering.threshold_2"]()) == ("1.3T", "5.4T")
    assert FACTS["filtering.share_3"]() == f"{100 * 1.3 / 15:.0f}%"
    dclm = next(row["filtering"] for row in rows("datasets") if row["name"] == "DCLM-baseline")
    assert "top tenth" in dclm
    assert FACTS["filtering.published.dclm_share"]() == "10%"


# -- the law -----------------------------------------------------------------------------------------------------------


@LAW
@pytest.mark.parametrize("flops", [1e18, 5.76e23])
def test_the_optimum_is_the_least_loss_at_that_compute(law, flops):
    size, seen = data_quantity.optimum(law, flops)
    assert 6 * size * seen == pytest.approx(flops)
    best = law.loss(size, seen)
    assert all(law.loss(size * factor, seen / factor) > best for factor in (0.9, 0.99, 1.01, 1.1))


@LAW
@pytest.mark.parametrize("size", [0.25, 0.5, 0.9, 1.0, 2.0])
def test_smaller_models_with_these_tokens_have_the_same_loss(law, size):
    for flops in (1e19, 1e23):
        parameters, seen = data_quantity.optimum(law, flops)
        more = seen * data_quantity.tokens_needed(law, size)
        assert law.loss(size * parameters, more) == pytest.approx(law.loss(parameters, seen), rel=1e-9)
    assert data_quantity.extra_compute(law, size) >= 1, "nothing is cheaper than the optimum"


@LAW
def test_too_small_a_model_never_gets_there(law):
    least = data_quantity.smallest(law)
    assert data_quantity.tokens_needed(law, least * 0.999) == math.inf
    assert 1e3 < data_quantity.tokens_needed(law, least * 1.01) < math.inf
    parameters, seen = data_quantity.optimum(law, 1e20)
    assert law.loss(least * parameters, 1e300) == pytest.approx(law.loss(parameters, seen))


def test_size_at_a_ratio_and_the_ratio_at_that_size():
    for multiple in (1.5, 5, 43, 1000):
        size = data_quantity.size_at(REFITTED, multiple)
        assert data_quantity.tokens_needed(REFITTED, size) / size == pytest.approx(multiple, rel=1e-6)
    assert FACTS["quantity.multiple"]() == f"{decide('C35').estimate.value / 20:.0f}"
    half = data_quantity.tokens_needed(REFITTED, 0.5)
    assert FACTS["law.multiple_at_half"]() == f"{2 * half:.0f}"
    assert FACTS["law.compute_at_half"]() == f"{100 * (half / 2 - 1):.0f}%"


@pytest.mark.parametrize("served", data_quantity.SERVED)
def test_the_best_size_for_serving_costs_least_in_flops(served):
    parameters, seen = data_quantity.optimum(REFITTED, 1e21)

    def cost(size):
        training = 6 * size * parameters * seen * data_quantity.tokens_needed(REFITTED, size)
        return training + 2 * size * parameters * served * seen

    best, share = data_quantity.best_for_serving(REFITTED, served)
    assert share == pytest.approx(cost(best) / cost(1))
    assert all(cost(best * factor) >= cost(best) for factor in (0.9, 0.99, 1.01, 1.1))
    ratio = RULE * data_quantity.tokens_needed(REFITTED, best) / best
    assert FACTS[f"law.served_{served}.ratio"]() == f"{ratio:,.0f}"
    assert FACTS[f"law.served_{served}.saved"]() == f"{100 * (1 - cost(best) / cost(1)):.0f}%"


def test_rounding_the_exponents_is_what_the_first_fit_printed():
    printed, unrounded = LAWS["printed"], LAWS["unrounded"]
    assert (printed.alpha, printed.beta) == (round(unrounded.alpha, 2), round(unrounded.beta, 2))
    ratios = [int(FACTS[f"law.ratio.{name}"]()) for name in ("refitted", "unrounded", "printed")]
    assert ratios == sorted(ratios)
    assert 10 < ratios[0] < 30, "the refitted law agrees with the rule"


def test_epochs_are_worth_less_and_less_and_no_more_than_the_limit():
    assert data_quantity.worth(1) == 1
    assert data_quantity.worth(1.001) == pytest.approx(1.001, abs=1e-6), "at first like fresh text"
    assert data_quantity.worth(1e6) == pytest.approx(1 + data_quantity.EPOCHS)
    each = [data_quantity.worth(epochs + 1) - data_quantity.worth(epochs) for epochs in range(1, 40)]
    assert [b / a for a, b in pairwise(each)] == pytest.approx([math.exp(-1 / data_quantity.EPOCHS)] * 38)
    assert FACTS["quantity.epochs_4"]() == "3.7"


# -- tokens of the survey's models -------------------------------------------------------------------------------------


def ratios(year=""):
    """Tokens a parameter from the tables' texts."""
    found = {}
    for row in rows("models"):
        text = row["training_tokens"].split(" + ")[0]
        if row["in_v3_table"] == "yes" and text and row["params_exact"] and row["release"].startswith(year):
            seen = float(text[:-1]) * {"B": 1e9, "T": 1e12}[text[-1]]
            found[row["name"]] = seen / int(row["params_exact"])
    return found


@pytest.mark.parametrize("year", ["2022", "2023", "2024"])
def test_ratios_by_year(year):
    found = ratios(year)
    assert FACTS[f"quantity.known.{year}"]() == str(len(found))
    assert FACTS[f"quantity.median.{year}"]() == f"{median(found.values()):,.0f}"
    assert FACTS[f"quantity.least.{year}"]() == min(found, key=found.get)
    assert FACTS[f"quantity.most.{year}"]() == max(found, key=found.get)


def test_who_keeps_to_the_rule_and_who_is_furthest():
    assert FACTS["quantity.most.then"]() == "Qwen2-0.5B"
    assert FACTS["quantity.most.then.ratio"]() == f"{12e12 / 494_032_768:,.0f}"
    near = [name for name, ratio in ratios().items() if ratio < 20.5]
    assert FACTS["quantity.at_rule.then"]() == str(len(near))
    assert all(name.startswith("Cerebras-GPT") for name in near)
    assert min(ratios().values()) > 19, "none is below"
    assert FACTS["quantity.at_rule.since"]() == FACTS["quantity.least.since"]() == "nanochat-d20"
    medians = [float(FACTS[f"quantity.median.{group}"]().replace(",", "")) for group in ("then", "2024", "since")]
    assert medians == sorted(medians)


def test_correlations_with_size_taken_out():
    sizes, seen, scores = np.array(data_quantity.scored()).T
    design = np.column_stack([np.ones(len(sizes)), np.log(sizes)])
    left = [column - design @ np.linalg.lstsq(design, column, rcond=None)[0] for column in (np.log(seen), scores)]
    by_rank = pandas.DataFrame(left).T.round(9).rank().corr().iloc[0, 1]  # rounded: Bloom and Bloomz are a tie
    assert data_quantity.at_equal_size().value == pytest.approx(by_rank, abs=1e-3)
    assert len(data_quantity.scored(0, 700e9)) + len(data_quantity.scored(1e12)) == len(sizes), "none lies between"
    few, many = (decide(claim).estimate.value for claim in ("C38a", "C38b"))
    found = data_quantity.few_minus_many()
    assert found.value == pytest.approx(few - many)
    assert found.low < 0 < found.high, "the page says that it does not show"
    assert FACTS["quantity.rank.few.interval"]() == "0.00 to 0.76"


# -- drawings ----------------------------------------------------------------------------------------------------------


def test_table_2_is_drawn_row_by_row(drawn):
    axes = drawn("table2").axes
    assert sum(len(axis.get_yticks()) for axis in axes[::2]) == 30
    shown = {}
    for axis in axes[::2]:
        names = [label.get_text() for label in axis.get_yticklabels()]
        for line in axis.lines:
            if len(line.get_xdata()):
                filled = line.get_markerfacecolor() == line.get_color()
                shown[names[int(line.get_ydata()[0])].removesuffix(" *")] = (float(line.get_xdata()[0]), filled)
    assert {name for name, (_, filled) in shown.items() if filled} == FILTERED
    assert {name: score for name, (score, _) in shown.items()} == {entry.name: entry.score for entry in entries()}
    assert sum(points(axis) for axis in axes[1::2]) == 30


def test_every_known_model_is_in_the_drawings(drawn):
    [axis] = drawn("tokens_per_parameter").axes
    assert points(axis) == len(data_quantity.known("then")) + len(data_quantity.known("since"))
    assert set(figures_data_quality.NAMED) <= {text.get_text() for text in axis.texts}
    [axis] = drawn("accuracy_and_tokens").axes
    assert points(axis) == len(data_quantity.scored())
    [axis] = drawn("filter_effect").axes
    shown = [float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in "os"]
    assert shown == pytest.approx([effect_of(**arguments).value for arguments in data_quality.ROWS.values()])


def test_the_compute_curves_have_their_least_where_it_is_marked(drawn):
    left, right = drawn("overtraining").axes
    for line in left.lines[:2]:
        assert line.get_ydata()[-1] == pytest.approx(1)
        assert (np.diff(line.get_ydata()) <= 0).all()
    curves, marks = right.lines[::2], right.lines[1::2]
    for curve, mark in zip(curves, marks, strict=True):
        x, y = curve.get_data()
        assert float(mark.get_ydata()[0]) == pytest.approx(min(y), rel=1e-3)
        assert float(mark.get_xdata()[0]) == pytest.approx(x[np.argmin(y)], rel=0.02)


def test_selection_ends_at_the_mean_of_all(drawn):
    [axis] = drawn("selection").axes
    for line, correlation in zip(axis.lines, (1, 0.7, 0.4)):
        assert line.get_ydata()[-1] == pytest.approx(0.027 * correlation, abs=2e-3)
        assert line.get_ydata()[0] == pytest.approx(2.665 * correlation, abs=2e-3)


def test_the_pipeline_has_its_boxes(drawn):
    [axis] = drawn("filter_pipeline").axes
    boxes = [text.get_text() for text in axis.texts if text.get_bbox_patch()]
    assert len(boxes) == 8
    alt = page("model_filtering.md")
    assert all(text.replace("\n", " ") in alt for text in boxes)


def test_numbers_are_rounded_with_their_sign():
    assert data_quality.told(Estimate(0.046, -0.004, 1.25), 2) == {"value": "0.05", "interval": "0.00 to 1.25"}
    assert data_quality.told(Estimate(-2, -3.04, 12), 1, "+") == {"value": "−2.0", "interval": "−3.0 to +12.0"}
    value, low, high = decide("C39a").estimate
    assert FACTS["data.C39a.interval"]() == f"{low:.1f} to {high:.1f}"
    assert FACTS["data.C39a.value"]() == f"{value:.1f}"
    assert (FACTS["quality.tokens.SmolLM-360M"](), FACTS["quality.tokens.DCLM-1B"]()) == ("600B", "4.3T")
