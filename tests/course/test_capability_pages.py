"""The pages on capability: the tests' table against the survey's scores, numbers worked out again, the drawings."""

import math
import re
from collections import Counter
from statistics import fmean, median

import matplotlib.pyplot as plt
import numpy as np
import pytest

from slmkit.course import capability as page
from slmkit.course import figures_capability
from slmkit.paths import root
from slmkit.survey.evidence import capability, decide
from slmkit.survey.tables import rows
from slmkit.survey.verdicts import OWN_DATA

PAGES = {path.stem: " ".join(path.read_text(encoding="utf-8").split())
         for path in (root() / "book" / "capability").glob("*.md")}  # fmt: skip
FACTS = {name: function() for name, function in page.FACTS.items()}


@pytest.fixture
def drawn():
    """Draws a figure by name and closes what was drawn when the test is over."""
    yield lambda name: figures_capability.FIGURES[name]()
    plt.close("all")


def value(name: str) -> float:
    return float(FACTS[name].replace("−", "-").rstrip("%"))


# -- the tests -------------------------------------------------------------------------------------------------------


def test_twelve_tests_in_three_domains_as_the_survey_sorts_them():
    kinds = Counter(row["domain"] for row in page.benchmarks().values())
    assert kinds == {capability.COMMONSENSE: 7, capability.PROBLEMS: 3, capability.MATHEMATICS: 2}
    for domain, tasks in capability.TASKS.items():
        assert [row["name"] for row in rows("benchmarks") if row["domain"] == domain] == list(tasks)


@pytest.mark.parametrize("key", page.SIZED)
def test_the_scores_confirm_the_size(key):
    size = int(page.benchmarks()[key]["size"])
    assert page.only_size(key)[0] == size
    assert all(other % size == 0 for other in page.only_size(key)), "else only multiples fit"
    assert f"1/{size}" in page.benchmarks()[key]["size_source"]


def test_scores_that_are_no_shares_fit_no_size():
    assert page.only_size("truthfulqa", 1000) == []
    assert FACTS["bench.sizes_confirmed"] == "7"


def test_standard_errors_by_hand():
    assert FACTS["bench.openbookqa.error"] == f"{100 * 0.5 / math.sqrt(500):.2f}" == "2.24"
    assert FACTS["bench.mmlu.chance"] == "25%"
    sizes = (10_042, 817, 1267, 1221, 1838, 500, 3270)
    variance = sum(0.25 / size for size in sizes) / len(sizes) ** 2
    assert value("capability.error.commonsense") == pytest.approx(100 * math.sqrt(variance), abs=0.005)


def test_scores_below_guessing_are_counted_from_the_rows():
    below = sum(float(row["value"]) < 0.25 for row in rows("capability")
                if row["kind"] == "task" and row["metric"] == "OpenBookQA")  # fmt: skip
    assert FACTS["bench.openbookqa.below"] == str(below) == "25"


def test_a_card_says_all_and_the_page_has_each_once():
    assert re.findall(r"\{benchmark\} (\S+)", PAGES["benchmarks"]) == list(page.benchmarks())
    assert all(text for key in page.benchmarks() for _, text in page.card(key))


# -- the domain averages ---------------------------------------------------------------------------------------------


def test_every_average_with_a_record_by_task_comes_out():
    away = capability.recomputed()
    assert len(away) == 2 * len(capability.task_scores()) == 106
    assert max(map(abs, away.values())) < 0.01, "tasks and averages are both rounded to 0.01"
    first = [float(row["value"]) for row in rows("capability")
             if (row["kind"], row["model"]) == ("task", "facebook/opt-350m")]  # fmt: skip
    assert 100 * fmean((first[0], first[1], first[6])) == pytest.approx(30.75, abs=0.01)  # as filed
    assert (FACTS["capability.agree"], FACTS["capability.averages"]) == ("106", "106")


def test_a_wrong_task_in_a_domain_would_be_seen(monkeypatch):
    swapped = {capability.PROBLEMS: ("ARC-Easy", "ARC-Challenge", "BoolQ")}
    monkeypatch.setattr(capability, "TASKS", swapped)
    assert min(map(abs, capability.recomputed().values())) > 0.01


# -- over time -------------------------------------------------------------------------------------------------------


def test_gain_a_year_is_the_slope_of_least_squares():
    points = page.points_of(capability.PROBLEMS)
    slope = np.polyfit([p["time"] for p in points], [p["score"] for p in points], 1)[0]
    assert page.gain_a_year(capability.PROBLEMS).value == pytest.approx(slope)
    for domain in capability.DOMAINS:
        value, low, high = page.gain_a_year(domain)
        assert 0 < low < value < high
        assert page.gain_a_year(domain, sized=True).value < value, "as the page says: later models are larger"


def test_the_llama_line_took_seventeen_months():
    gain = capability.scores()["Llama-3.1-7B [For Baseline]"][capability.COMMONSENSE]
    gain -= capability.scores()["Llama-7B [For Baseline]"][capability.COMMONSENSE]
    assert page.llama_a_year(capability.COMMONSENSE) == pytest.approx(gain / 17 * 12)
    assert decide("C48c").estimate.value > 2 * 7.5, "more than twice what the text says"


def test_closed_data_lead_until_size_is_held_equal():
    for domain in (capability.COMMONSENSE, capability.PROBLEMS):
        points = [p for p in page.points_of(domain) if p["year"] == 2024 and p["data"]]
        closed, open_ = ([p for p in points if (p["data"] == "closed") == wanted] for wanted in (True, False))
        means = [fmean(p["score"] for p in group) for group in (closed, open_)]
        assert page.closed_lead(domain).value == pytest.approx(means[0] - means[1])
        assert median(p["size"] for p in closed) > median(p["size"] for p in open_)
        assert page.closed_lead(domain).low > 0
        assert page.closed_lead(domain, True).low < 0 < page.closed_lead(domain, True).value
    assert page.open_scored(capability.MATHEMATICS) == (5, 3)


def test_who_leads():
    assert page.leaders(capability.COMMONSENSE)[0][0] == "Phi-3.5-mini"
    assert FACTS["capability.leader.problems.1"] == "Phi-3-mini 72.43"
    assert [capability.rank("Phi", domain) for domain in capability.DOMAINS] == [1, 1, 1]
    assert capability.rank("SmolLM", capability.MATHEMATICS) > 1, "the domain is taken for both sides"


# -- examples and needles --------------------------------------------------------------------------------------------


def test_noise_of_a_gain_by_hand():
    assert FACTS["icl.noise.HellaSwag"] == f"{1.96 * 100 * math.sqrt(2 * 0.25 / 10_042):.1f}"
    sizes = (10_042, 817, 1267, 1221, 1838, 500, 1172, 14_042)
    assert len(page.task_names()) == 8
    mean = 1.96 * 100 * math.sqrt(2 * sum(0.25 / size for size in sizes)) / 8
    assert page.mean_gain_noise() == pytest.approx(mean, rel=1e-3)
    assert (FACTS["icl.above_noise"], FACTS["icl.below_noise"]) == ("11", "1")
    assert int(FACTS["icl.up.MMLU"]) + int(FACTS["icl.down.MMLU"]) > 23 / 2, "most change, says the page"
    assert page.outside("ARC-Challenge") == (3, 0)


def test_generations_differ_by_more_than_the_sizes_across_them():
    assert value("needle.cross") < value("needle.old_small") < value("needle.same_large")
    assert value("needle.qwen") == pytest.approx(91.71 - 43.84, abs=0.051)
    released = {row["name"]: row["release"] for row in rows("models")}
    assert [released[name] for name in ("Qwen1.5-0.5B", "Qwen2-0.5B", "Llama-3.2-3B", "Qwen2.5-3B")] == [
        "2024-02", "2024-06", "2024-09", "2024-09"]  # fmt: skip


# -- claims and drawings ---------------------------------------------------------------------------------------------


def test_each_claim_of_the_section_is_decided_or_waits_for_a_lab():
    section = [row for row in rows("claims") if 45 <= int(row["number"]) <= 67]
    decided = {row["id"] for row in section if row["kind"] == "statistics"}
    assert decided == {claim for claim in capability.CLAIMS if claim != "C116"}
    waiting = {row["id"]: row["lab"] for row in section if row["kind"] == "evaluated"}
    assert waiting == {"C55b": "12", "C62": "13", "C63": "13", "C65": "13", "C66": "13", "C67": "13"}
    assert all(decide(claim).verdict == OWN_DATA for claim in ("C47", "C48c", "C50", "C51", "C51a", "C59", "C61"))


@pytest.mark.parametrize("name", figures_capability.FIGURES)
def test_figures_fit_a_phone(drawn, name):
    assert drawn(name).get_size_inches()[0] <= 4.8


def test_drawings_show_the_numbers(drawn):
    crosses = [line for line in drawn("survey_figure5").axes[2].lines if line.get_marker() == "x"]
    lacking = [found for found in capability.model_scores().values() if capability.MATHEMATICS not in found]
    assert len(crosses[0].get_ydata()) == len(lacking)
    mean = drawn("survey_figure6a").axes[-1].lines[-1].get_ydata()
    assert mean[-1] - mean[0] == pytest.approx(decide("C59").estimate.value)
    assert len(drawn("survey_figure6b").axes[0].lines[0].get_xdata()) == 60
    bars = drawn("gain_and_noise").axes[0].patches
    assert bars[0].get_width() == pytest.approx(2 * min(map(page.gain_noise, page.task_names())))
    heights = [line.get_ydata()[0] for line in drawn("four_needles").axes[0].lines[:4]]
    assert heights == [22.13, 43.84, 57.81, 91.71]
    squares, circles = drawn("open_and_closed").axes[0].lines
    assert (len(squares.get_xdata()), len(circles.get_xdata())) == (22, 11)
