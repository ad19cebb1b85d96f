"""The pages on training algorithms: who used what, and the quadratic model against simulation and formula."""

import matplotlib.pyplot as plt
import pytest
import torch

from slmkit.course import training
from slmkit.course.training import FACTS, FLAT, RATE, STEEP, STEPS, quadratic, rates, users
from slmkit.paths import root
from slmkit.survey import statistics, trends

PAGES = root() / "book" / "training"
TABLE, SINCE = statistics.listed("v3"), trends.since()


def test_methods_are_counted_by_entry_and_an_entry_may_name_two():
    assert [row["name"] for row in users(TABLE, "two_stage")] == ["MiniCPM-1B", "MiniCPM-2B"]
    assert {row["organisation"] for row in users(TABLE, "mup")} == {"Cerebras"}
    assert {row["name"] for row in users(SINCE, "kd")} >= {"Falcon3-1B", "Gemma-3-1B"}, "pruning + KD counts as KD"
    both = {row["name"] for row in users(SINCE, "mup")} & {row["name"] for row in users(SINCE, "multi_stage")}
    assert both == {"Granite-4.1-3B"}
    assert FACTS["training.multi_stage.then"]() == "0"
    assert int(FACTS["training.kd.since"]()) == sum("KD" in row["training_algorithm"] for row in SINCE)
    assert FACTS["training.models.since"]() == str(len(SINCE))


def test_the_page_names_the_models_of_the_data():
    text = " ".join((PAGES / "two_stage.md").read_text(encoding="utf-8").split())
    named = users(TABLE, "two_stage") + users(SINCE, "multi_stage")
    assert [row["name"] for row in named if row["name"] not in text] == []


def test_the_recursion_is_what_sgd_does():
    torch.manual_seed(0)
    w, taken = torch.full((200_000,), 2.0), [0.5, 0.5, 0.3, 0.1]
    for rate in taken:
        w = w - rate * (0.8 * w + 0.6 * torch.randn_like(w))
    computed = quadratic(taken, 0.8, 0.6, 2.0)
    assert computed[0] == pytest.approx(0.8 * 4 / 2)
    assert computed[-1] == pytest.approx(0.4 * w.square().mean().item(), rel=0.02)


def test_a_constant_rate_ends_at_its_floor_and_the_floor_falls_with_the_rate():
    def floor(rate):
        return rate * STEEP["noise"] ** 2 / (2 * (2 - rate * STEEP["curvature"]))

    assert quadratic([RATE] * STEPS, **STEEP)[-1] == pytest.approx(floor(RATE))
    assert floor(RATE / 100) < floor(RATE) / 100  # a little faster than the rate


def test_the_drawn_schedules_say_what_the_page_says():
    ends = {name: [quadratic(rates(name), **one)[-1] for one in (STEEP, FLAT)] for name in training.SCHEDULES}
    assert rates("wsd")[: STEPS * 4 // 5] == rates("constant")[: STEPS * 4 // 5]
    assert ends["wsd"][0] < ends["constant"][0] / 5
    assert ends["cosine"][0] < ends["constant"][0] / 5
    assert ends["constant"][1] < ends["wsd"][1] < ends["cosine"][1], "the flat direction needs a high rate for long"
    axes = training.noise_floor().axes
    assert [len(axis.lines) for axis in axes] == [3, 3, 3]
    plt.close("all")
