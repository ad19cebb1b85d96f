"""What the survey's tables say: each value worked out again from the printed numbers, by hand or in another way."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmkit import count_parameters, kv_cache_bytes
from slmkit.survey import available, config
from slmkit.survey.evidence import decide, memory
from slmkit.survey.evidence.architecture import share
from slmkit.survey.evidence.capability import curves, model_scores, over_llama, scores, smallest_lead
from slmkit.survey.evidence.devices import curve, place, reductions
from slmkit.survey.evidence.estimates import (
    Estimate,
    bootstrap,
    correlation,
    difference,
    fit,
    rank_correlation,
    residuals,
    student,
)
from slmkit.survey.evidence.training import row_of, table2
from slmkit.survey.tables import rows

# From the survey's figures and tables as printed, worked out on paper.
BY_HAND = {
    "C14": 100 * 36 / 59, "C14a": 100 * 20 / 59, "C14b": 100 * (7 - 3) / 11, "C15a": 100 * 37 / 62,
    "C18": 100 * 33 / 62, "C20": 100 * 36 / 62, "C22": 100 * 42 / 62, "C23": 100 * (1 - 18 / 33), "C24": 100 * 4 / 7,
    "C31": 100 * 11 / 16, "C31a": 100 * 8 / 36, "C34": 100 * 11 / 12, "C36a": 12 / 7, "C47": 16, "C50": 55.23 - 37.15,
    "C51": 50.14, "C51a": 58.75, "C55": 1, "C55a": 67.55 - 66.82,
    "C61": 100 * (0.5589 - 0.5231), "C61a": 100 * (0.4189 - 0.4411),
    "C71": 52.76 - 54.94, "C72": 54.94 / 37.42, "C73a": 100 * (184 / 141 - 1), "C73b": 100 * (1 - 68.38 / 83.86),
    "C75a": 100 * (1 - 20.36 / 23.09), "C76": 2513.2, "C76a": 275, "C76c": 100 * (1 - 2161.5 / 2508.8),
    "C78a": 100 * (1 - 37.42 / 54.94), "C82b": 93.31 / 75.63, "C82c": 1, "C83c": 5,
    "C95": 38.3 - 40.5, "C96": 75, "C96a": 79.3,
    "C97": 2 * 32 * 2560 * 2048 * 2 / 2**20, "C97b": 640 / 164, "C97c": 492 / 140,
    "C98": 1024 * 250_880 * 4 / 2**20 / 492,
}  # fmt: skip


@pytest.mark.parametrize("claim", BY_HAND)
def test_worked_out_by_hand(claim):
    assert decide(claim).estimate.value == pytest.approx(BY_HAND[claim], abs=1e-3)


# -- the engine's counts (claim 70) ----------------------------------------------------------------------------------


def test_the_twenty_counts_are_explained_within_six_in_a_thousand():
    counts = memory.engine_counts()
    assert len(counts) == 20
    assert set(memory.stored_twice()) == {"Bloom-560M", "Bloom-1.1B", "Qwen1.5-0.5B"}
    for name, (count, once, twice) in counts.items():
        explained = twice if name in memory.stored_twice() else once
        assert count == pytest.approx(explained, rel=0.006), name
    assert decide("C70a").estimate.value < 0.6
    assert max(abs(count / once - 1) for count, once, _ in counts.values()) > 0.3, "counted once they do not fit"


def test_counts_agree_with_the_zoo():
    for name, (_, once, twice) in memory.engine_counts().items():
        if name in available():
            count = count_parameters(config(name))
            assert round(once * 1e6) == count.total
            tied = config(name).tied_embeddings
            assert round(twice * 1e6) == count.total + (count.token_embedding if tied else 0)


# -- memory ----------------------------------------------------------------------------------------------------------


def test_every_cache_of_the_figure_is_sixteen_bit_keys_and_values():
    names = memory.measured()
    assert len(names) == 22
    for name in names:
        assert memory.parts()[name, "KV cache"] == pytest.approx(memory.cache_mb(name), abs=0.5), name


def test_caches_agree_with_the_zoo():
    checked = 0
    for name in memory.measured():
        table_name = memory.row_of(name)["name"]
        if table_name in available():
            assert memory.cache_mb(name, 777) * 2**20 == pytest.approx(kv_cache_bytes(config(table_name), 777))
            checked += 1
    assert checked >= 12


def test_buffers_of_the_figure_come_out_of_the_dimensions():
    """Three quarters to the precision of the reading; OpenELM, Pythia-2.8B and Bloom-1B1 keep other numbers alive."""
    off = {name: memory.buffer_mb(name, 2048) - memory.parts()[name, "compute buffer"] for name in memory.measured()}
    assert sum(abs(gap) < 0.35 for gap in off.values()) == 16
    others = {"OpenELM-270M", "OpenELM-450M", "OpenELM-1.1B", "OpenELM-3B", "Pythia-2.8B", "Bloom-1B1"}
    assert {name for name, gap in off.items() if abs(gap) >= 0.35} == others
    assert all(abs(gap) <= 12.1 for gap in off.values())


def test_what_the_processor_keeps_is_the_rest_of_untied_models():
    """Below one GiB, where the figure's weights are those of the file, and without a second copy of a tied matrix."""
    for name in ("Bloom-560M", "Bloom-1B1", "Qwen1.5-0.5B", "Pythia-160M", "Pythia-1.4B", "Phi-1", "Phi-1.5"):
        assert memory.host_mb(name, 2048) == pytest.approx(memory.parts()[name, "other memory"], abs=0.06), name


def test_shares_at_the_longest_context():
    cache, mask = 2 * 24 * 1024 * 32_768 * 2 / 2**20, 512 * 32_768 * 4 / 2**20
    buffer, weights = 16 * mask + mask + 4 * 512 * 1024 * 4 / 2**20, 382.6 + 6.6 + mask * (1 - 2048 / 32_768)
    high = decide("C99a").estimate.high
    assert high == pytest.approx(100 * (cache + buffer) / (cache + buffer + weights))
    assert decide("C101").estimate.low == pytest.approx(100 * cache / (cache + buffer + weights))


# -- scores and times ------------------------------------------------------------------------------------------------


def test_what_was_drawn_without_a_measurement_is_left_out():
    assert "apple/OpenELM-3B" not in scores()
    assert "OpenELM-3B" not in model_scores()
    assert min(found["mathematics"] for found in scores().values() if "mathematics" in found) > 1
    assert not any("7B" in name and "Baseline" in name for name in model_scores())


def test_gains_are_later_minus_earlier():
    old = (40.33 + 41.40 + 44.90 + 47.18 + 39.66 + 42.97 + 40.28 + 42.81 + 42.41 + 43.46) / 10  # the ten models of 2022
    released = {row["name"]: row["release"] for row in rows("models")}
    new = [found["commonsense reasoning"] for name, found in model_scores().items() if released[name] >= "2024"]
    assert decide("C48").estimate.value == pytest.approx(sum(new) / len(new) - old)
    llama = (66.82 - 57.31 + 68.34 - 53.26 + 37.15 - 6.35) / 3
    assert decide("C48c").estimate.value == pytest.approx(llama)
    small = sum(decide(claim).estimate.value for claim in ("C48", "C48a", "C48b")) / 3
    assert decide("C54").estimate.value == pytest.approx(small - llama)


def test_the_smallest_lead_is_taken():
    leads = {"commonsense reasoning": 67.55 - 66.82, "problem solving": 72.43 - 68.34, "mathematics": 55.23 - 37.15}
    assert {domain: over_llama("Phi-3-mini", domain) for domain in leads} == pytest.approx(leads)
    assert smallest_lead("Phi-3-mini") == pytest.approx(min(leads.values()))
    assert smallest_lead("Phi-2") == over_llama("Phi-2", "mathematics") < 0, "another domain, and it is behind"


def test_open_data_against_closed():
    known = {row["name"]: row for row in rows("models")}

    def mean(year, closed, domain):
        return statistics.fmean(
            found[domain] for name, found in model_scores().items()
            if known[name]["release"][:4] == year and (known[name]["pretraining_datasets"] == "closed") == closed
        )  # fmt: skip

    def gap(year, domain="commonsense reasoning"):
        return mean(year, True, domain) - mean(year, False, domain)

    assert all(known[name]["pretraining_datasets"] for name in model_scores()), "no model is left out"
    assert decide("C57").estimate.value == pytest.approx(gap("2024", "problem solving") - gap("2024"))
    value, low, high = decide("C57a").estimate
    assert value == pytest.approx(gap("2024") - gap("2023"))
    assert low < 0 < value < high
    assert mean("2024", True, "commonsense reasoning") > mean("2023", True, "commonsense reasoning")


def test_table_2_is_the_mean_of_the_two_averages():
    groups = table2()
    assert sum(map(len, groups.values())) == 30
    off = []
    for group in groups.values():
        assert group == sorted(group, key=lambda row: -row[1]), "as printed, the best first"
        for name, score in group:
            found = model_scores()[row_of(name)["name"]]
            if abs((found["commonsense reasoning"] + found["problem solving"]) / 200 - score) > 0.00051:
                off.append(name)
    assert [name for name in off if not name.startswith("OPT-125M (first")] == []


def test_distance_from_the_closed_models_line():
    """DCLM-1B and the three SmolLM against the closed base models of 2024, with least squares by hand."""
    recent = [row for row in rows("models") if row["release"] >= "2024" and row["checkpoint_type"] == "base"]
    names = {row["name"]: math.log(float(row["params_exact"] or "nan")) for row in recent}
    closed = [(names[row["name"]], found) for row in recent
              if row["pretraining_datasets"] == "closed" and (found := mean_of_two(row["name"]))]  # fmt: skip
    assert len(closed) == 19
    x, y = (statistics.fmean(column) for column in zip(*closed))
    slope = sum((a - x) * (b - y) for a, b in closed) / sum((a - x) ** 2 for a, _ in closed)
    spread = statistics.fmean((b - y - slope * (a - x)) ** 2 for a, b in closed) ** 0.5
    filtered = [row for row in rows("models") if row["name"].startswith(("SmolLM-", "DCLM"))]
    away = [mean_of_two(row["name"]) - y - slope * (names[row["name"]] - x) for row in filtered]
    assert len(away) == 4
    found = decide("C39b").estimate
    assert found.value == pytest.approx(statistics.fmean(away) / spread)
    assert found.low < min(0, found.value)
    assert found.high > found.value


def mean_of_two(name: str) -> float | None:
    found = model_scores().get(name)
    return found and (found["commonsense reasoning"] + found["problem solving"]) / 2


def test_every_task_has_23_curves():
    tasks = {task for _, task in curves()}
    assert len(tasks) == 9
    assert all(sum(name == task for _, name in curves()) == 23 for task in tasks)


def test_quantization_curves():
    assert len(curve("9a", "FP16")) == len(curve("9b", "Q3_K")) == 43
    assert reductions("9b", "Q4_K_M")[38] == pytest.approx(100 * (1 - 28.92 / 66.84))
    assert sorted(place("9b", quant) for quant in ("Q3_K", "Q4_K_M", "Q5_K", "Q6_K", "Q8_0")) == [1, 2, 3, 4, 5]


def test_a_share_is_of_those_with_an_entry():
    assert sum(share("attention", option) for option in ("MHA", "GQA", "MQA", "MLA")) == pytest.approx(100)
    assert share("ffn", "gated", period="2024 H2") == 100
    assert share("attention", "MHA", period="2022") == 100


# -- the estimates themselves ----------------------------------------------------------------------------------------

column = st.lists(st.integers(-50, 50), min_size=3, max_size=12)


def test_ranks_share_ties():
    assert rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [9, 4, 1, 0]) == pytest.approx(-1)
    # ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4: 4.5 / sqrt(4.5 * 5)
    assert rank_correlation([1, 2, 2, 9], [1, 3, 2, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert correlation([1, 1, 1], [1, 2, 3]) != correlation([1, 1, 1], [1, 2, 3]), "nan where nothing varies"


@given(column, st.integers(1, 5), st.integers(-9, 9))
def test_rank_correlation_knows_order_alone(values, factor, shift):
    other = list(range(len(values)))
    found = rank_correlation(values, other)
    stretched = rank_correlation([factor * value**3 + shift for value in values], other)
    assert found == pytest.approx(stretched, nan_ok=True)


def test_fit_and_residuals():
    assert fit([1, 2, 3], [3, 5, 7]) == pytest.approx(1)
    assert residuals([0, 1, 2], [0, 3, 0]) == pytest.approx([-1, 2, -1])


def test_the_bootstrap_covers_the_truth_and_repeats_itself():
    source = random.Random(1)
    covered = 0
    for _ in range(60):
        sample = [source.gauss(5, 2) for _ in range(30)]
        found = bootstrap(lambda values: float(values.mean()), sample)
        assert found == bootstrap(lambda values: float(values.mean()), sample)
        covered += found.low < 5 < found.high
    assert covered >= 50


def test_the_bootstrap_keeps_rows_together():
    found = bootstrap(correlation, range(12), range(0, 24, 2))
    assert found == pytest.approx(Estimate(1, 1, 1))


def test_the_bootstrap_within_groups_keeps_their_sizes():
    groups = [0] * 3 + [1] * 5
    found = bootstrap(lambda group, value: float((group == 1).sum()), groups, range(8), within=True)
    assert found == Estimate(5, 5, 5)
    means = bootstrap(lambda group, value: float(value[group == 0].mean()), groups, range(8), within=True)
    assert 0 <= means.low < 1 < means.high <= 2, "rows of the other group do not come in"


def test_difference_and_student():
    found = difference([10, 12, 14] * 5, [1, 2, 3] * 5)
    assert found.value == pytest.approx(10)
    assert 8 < found.low < 10 < found.high < 12
    assert student([1, 2, 3]) == pytest.approx((2, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    assert Estimate.of(3) == (3, 3, 3)
