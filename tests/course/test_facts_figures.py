"""Facts are short texts, figures are drawn the same twice, and every one that a page names exists."""

import json
import re
from io import BytesIO

import pytest

from slmkit.course import facts
from slmkit.course.facts import FACTS
from slmkit.course.figures import FIGURES
from slmkit.paths import root

PAGES = {path: path.read_text() for path in (*(root() / "book").rglob("*.md"), *(root() / "labs").glob("*.py"))}


@pytest.mark.parametrize("name", FACTS)
def test_fact_is_a_short_text(name):
    value = FACTS[name]()
    assert isinstance(value, str)
    longest = {"note": 1000, "equal": 120, "who": 120, "names": 120}.get(name.split(".")[-1], 40)
    assert 0 < len(value) < longest


def test_a_record_without_a_value_tells_its_verdict_alone(tmp_path):
    made = {"effect": None, "interval": None, "verdict": "not testable here", "reason": "why", "note": "",
            "machine": {"cpu": "a processor"}}  # fmt: skip
    (tmp_path / "C65.json").write_text(json.dumps(made))
    told = {name: say() for name, say in facts._recorded(tmp_path / "C65.json").items()}
    assert told == {"record.C65.verdict": "not testable here", "record.C65.machine": "a processor"}


def test_facts_that_other_facts_imply():
    fact = {name: function() for name, function in FACTS.items()}
    assert fact["smollm2.parameters"] == "134,515,008"
    data = [int(fact[f"survey.{kind}_data"]) for kind in ("open", "closed", "unstated")]
    assert sum(data) == int(fact["survey.models_v3"])
    assert fact["survey.models_printed"] != fact["survey.models_v3"], "the error that the book shows"
    assert int(fact["claims.problems"]) + int(fact["claims.insights"]) < int(fact["claims.total"])


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_the_same_twice_and_fits_a_phone(name):
    import matplotlib.pyplot as plt

    files = []
    for _ in range(2):
        figure = FIGURES[name]()
        assert figure.get_figwidth() <= 4.8
        figure.savefig(file := BytesIO(), format="svg", metadata={"Date": None})
        plt.close(figure)
        files.append(file.getvalue())
    assert files[0] == files[1]


def test_timeline_shows_every_model():
    import matplotlib.pyplot as plt

    figure = FIGURES["timeline"]()
    points = sum(len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() not in ("None", None, ""))
    assert points == int(FACTS["survey.models_v3"]())
    plt.close(figure)


def test_pages_name_only_what_exists():
    assert PAGES
    for path, text in PAGES.items():
        assert set(re.findall(r"\{fact\}`([^`]+)`", text)) <= set(FACTS), path
        assert set(re.findall(r"\{drawn\} (\S+)", text)) <= set(FIGURES), path
