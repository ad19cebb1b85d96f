"""The page on distillation: who used it, what storing costs, and the drawing of the two directions."""

import matplotlib.pyplot as plt
import pytest

from slmkit.course import distillation as page
from slmkit.course import training
from slmkit.survey import statistics, trends, zoo
from slmkit.survey.tables import rows

ALL = {row["name"]: row for file in ("models", "models_since") for row in rows(file)}


def test_the_models_named_are_those_whose_rows_say_so():
    marked = [row["name"] for row in training.users(statistics.listed("v3"), "kd")]
    assert marked == ["LaMini-GPT-774M", "LaMini-GPT-1.5B", "Gemma-2-2B"], "as the page says"
    pruned = [name for name, row in ALL.items() if row["training_algorithm"] == page.PRUNED]
    assert page.FACTS["distill.pruned"]() == str(len(pruned)) == "4"
    assert set(pruned) < {row["name"] for row in training.users(trends.since(), "kd")}


def test_the_table_does_not_mark_the_models_that_the_page_adds():
    assert all(ALL[name]["training_algorithm"] == "-" for name in page.UNMARKED)
    assert page.FACTS["distill.unmarked"]() == "MiniMA-3B, MiniMA-2-1B and Minitron-4B"


def test_bytes_of_stored_outputs():
    vocab = zoo.config(page.REAL).vocab_size
    assert page.FACTS["distill.vocabulary"]() == f"{vocab:,}"
    assert page.FACTS["distill.all_bytes"]() == f"{2 * vocab:,}"
    assert page.FACTS["distill.top_bytes"]() == f"{2 * page.KEPT + 2 * page.KEPT + 2}"
    assert page.FACTS["distill.all_total"]() == f"{round(2 * vocab / 1e3)} TB"
    assert page.FACTS["distill.top_total"]() == f"{4 * page.KEPT + 2} GB"


def test_the_forward_kl_covers_and_the_reverse_seeks():
    place, teacher = page.two_peaks()
    assert teacher.exp().sum().item() == pytest.approx(1)
    assert place[teacher.argmax()].item() == pytest.approx(-2.5)
    (wide_at, wide), (narrow_at, narrow) = page.nearest_bell(0), page.nearest_bell(1)
    mean = (teacher.exp() * place).sum().item()
    deviation = (teacher.exp() * (place - mean) ** 2).sum().sqrt().item()
    assert (wide_at, wide) == pytest.approx((mean, deviation), abs=0.25)  # the forward KL matches mean and deviation
    assert (narrow_at, narrow) == pytest.approx((-2.5, 0.5**0.5), abs=0.05)  # the left peak is a bell of that width
    assert page.nearest_bell(0.5) == page.nearest_bell(1), "as the caption says"


def test_the_figure_is_drawn():
    figure = page.FIGURES["cover_and_seek"]()
    assert figure.get_size_inches()[0] <= 4.8
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["teacher", "forward KL", "reverse KL"]
    plt.close(figure)
