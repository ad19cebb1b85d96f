"""The models' table and timeline as HTML, and the memory calculator's rule and data."""

import re
from types import SimpleNamespace

import pytest
import torch

from slmkit import ModelConfig
from slmkit.course import calculator, modelpages, widgets
from slmkit.model.counting import kv_cache_bytes, weight_bytes
from slmkit.survey import config
from slmkit.survey.tables import rows

MODELS = {row["name"]: row for row in modelpages.listed()}


def text(html):
    return re.sub(r"<[^>]+>", " ", html)


def test_every_row_of_both_tables_is_listed_and_ours_are_marked():
    assert sum(not row["ours"] for row in MODELS.values()) == len(rows("models"))
    assert sum(row["ours"] for row in MODELS.values()) == len(rows("models_since"))
    assert len({modelpages.anchor(name) for name in MODELS}) == len(MODELS)
    for row in MODELS.values():
        html = modelpages.table_row(row)
        assert html.count("<td") + html.count("<th") == len(modelpages.HEADS)
        assert ("ours" in html) == row["ours"]


def test_a_row_sorts_by_exact_numbers():
    html = modelpages.table_row(MODELS["SmolLM2-360M"])
    assert 'data-sort="361821120"' in html
    assert 'data-group="below 0.5B"' in html
    assert ">362M<" in html


def test_what_is_not_known_is_said():
    html = modelpages.table_row(MODELS["MiniMA-2-1B"])
    assert "about 1.00B" in html
    assert html.count("not known</span>") >= 3
    assert "cannot be built" in modelpages.details(MODELS["MiniMA-2-1B"])


def test_details_hold_the_counts():
    html = text(modelpages.details(MODELS["SmolLM2-360M"]))
    assert "361,821,120  parameters" in html
    assert "15 query heads, 5 of keys and values, 64 wide" in html
    assert f"{kv_cache_bytes(config('SmolLM2-360M'), 32768, torch.float16) / 2**20:,.1f} MiB at 32,768 tokens" in html
    assert "more than it was made for" in html
    assert "context 4096/128000" in text(modelpages.details(MODELS["Phi-3-mini"]))  # the survey's, beside ours


def test_the_timeline_has_a_mark_for_each_model_within_its_axes():
    html = modelpages.timeline(list(MODELS.values()))
    places = [tuple(map(float, at)) for at in re.findall(r"translate\(([\d.]+),([\d.]+)\)", html)]
    assert len(places) == len(MODELS)
    assert all(modelpages.LEFT < x < modelpages.RIGHT and modelpages.TOP < y < modelpages.BOTTOM for x, y in places)
    assert html.count("hollow") == sum(row["ours"] for row in MODELS.values())


def test_memory_agrees_with_the_counting():
    tiny = ModelConfig(vocab_size=100, d_model=64, n_layers=3, n_heads=4, n_kv_heads=2)
    found = calculator.memory(tiny, context=50, batch=2, bits=16, cache_bits=16, logits_rows=10)
    assert found["weights"] == weight_bytes(tiny, torch.float16)
    assert found["cache"] == kv_cache_bytes(tiny, 50, torch.float16, batch=2)
    assert found["logits"] == 10 * 100 * 4
    assert found["total"] == found["weights"] + found["cache"] + found["logits"]


def test_the_survey_s_devices_have_their_printed_memory():
    sizes = {device["name"]: device["gib"] for device in calculator.devices()}
    assert sizes == {"Jetson Orin NX": 16, "Meizu 18 Pro": 8, "Xiaomi 12S": 12, "Pixel 7 Pro": 12}


def test_the_page_says_the_truth_of_its_examples():
    """The calculator's page: caches equal, buffers close to the logits where the vocabulary is large, over 4 bits."""
    found = calculator.examples()
    assert len(found) >= 12
    for row in found:
        assert row["cache_ours"] == pytest.approx(row["cache"], abs=0.06), row["model"]
        assert row["bits"] > 4.5
        if row["logits_ours"] > 250:
            assert row["buffer"] == pytest.approx(row["logits_ours"], rel=0.02), row["model"]


def finished(body):
    context = {"body": body, "pathto": lambda name, resource: f"../{name}"}
    widgets.finish(SimpleNamespace(), "page", "page.html", context, None)
    return context["body"]


def test_a_page_loads_the_script_of_its_widget_alone():
    assert finished("<p>slm-filter</p>") == "<p>slm-filter</p>"
    loaded = finished('<table class="table slm-filter">')
    assert '<script defer src="../widgets/tables.js"></script>' in loaded
    assert "calculator.js" not in loaded


def test_roles_that_are_no_longer_allowed_are_taken_out():
    body = '<div role="list" class="citation-list"><div class="citation" id="id6" role="doc-biblioentry"></div></div>'
    assert "role" not in finished(body)


def test_a_model_outside_a_decoder_shows_its_count_and_the_reason():
    html = text(modelpages.details(MODELS["RecurrentGemma-2B"]))
    assert "2,682,862,080  parameters" in html
    assert "cannot be built" in html
