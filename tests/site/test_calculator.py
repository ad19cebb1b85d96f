"""The memory calculator against slmkit, in Chromium: the same bytes for settings drawn at random, by keyboard alone."""

import math
import random

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from test_pages import SITE

from slmkit import ModelConfig
from slmkit.course import calculator
from slmkit.model.counting import count_parameters, kv_cache_bytes
from slmkit.survey import config

pytestmark = pytest.mark.browser
PAGE = (SITE / "book/reference/calculator.html").as_uri()


def element(page, name):
    return page.driver.find_element(By.ID, f"calc-{name}")


def enter(page, **values):
    for name, value in values.items():
        element(page, name).send_keys(Keys.CONTROL, "a", Keys.NULL, str(value))


def computed(page):
    found = {
        part: element(page, f"{part}-bytes").get_attribute("value") for part in ("weights", "cache", "logits", "total")
    }
    return {part: int(value) if value else None for part, value in found.items()}


def some_use(draw):
    return {
        "context": draw.randint(1, 200_000),
        "batch": draw.randint(1, 64),
        "bits": draw.choice([1.58, 2, 3, 4, 4.5, 4.85, 8, 16, 32]),
        "cache_bits": draw.choice([4, 8, 8.5, 16, 32]),
        "logits_rows": draw.randint(1, 4096),
    }


def some_model(draw):
    kv_heads = draw.randint(1, 12)
    return {
        "vocab_size": draw.randint(256, 300_000),
        "d_model": draw.randint(64, 4096),
        "n_layers": draw.randint(1, 64),
        "n_heads": kv_heads * draw.randint(1, 6),
        "n_kv_heads": kv_heads,
        "head_dim": 2 * draw.randint(8, 128),
        "d_ff": draw.randint(64, 16_384),
    }


@pytest.mark.parametrize("seed", range(6))
def test_own_dimensions_cost_what_slmkit_says(page, seed):
    draw = random.Random(seed)
    model, use = some_model(draw), some_use(draw)
    gated, tied = draw.random() < 0.5, draw.random() < 0.5
    Select(element(page, "model")).select_by_index(0)
    enter(page, **model, **use)
    for name, wanted in (("gated", gated), ("tied", tied)):
        if element(page, name).is_selected() != wanted:
            element(page, name).send_keys(Keys.SPACE)
    built = ModelConfig(**model, ffn="gated" if gated else "standard", tied_embeddings=tied)
    assert computed(page) == calculator.memory(built, **use)


@pytest.mark.parametrize("seed", range(6))
def test_a_listed_model_costs_what_slmkit_says(page, seed):
    draw = random.Random(100 + seed)
    name, use = draw.choice(list(calculator.models())), some_use(draw)
    Select(element(page, "model")).select_by_visible_text(name)
    enter(page, **use)
    assert computed(page) == calculator.memory(config(name), **use)
    for i, device in enumerate(calculator.devices()):
        fits = computed(page)["total"] <= device["gib"] * 2**30
        assert element(page, f"device-{i}").text.startswith("fits" if fits else "does not fit")


def test_every_listed_model_has_its_exact_numbers(page):
    sizes = page.driver.execute_script(
        "const select = document.getElementById('calc-model'); return [...select.options].slice(1).map(option => {"
        "select.value = option.value; select.dispatchEvent(new Event('change'));"
        "return [option.value, ...['weights', 'cache'].map(p => +document.getElementById(`calc-${p}-bytes`).value)]})"
    )
    assert [name for name, *_ in sizes] == list(calculator.models())
    for name, weights, cached in sizes:  # at the page's own start: 4 bits, 2,048 tokens, 16 bits
        assert weights == math.ceil(count_parameters(config(name)).total / 2), name
        assert cached == kv_cache_bytes(config(name), 2048), name


def test_it_works_by_keyboard_alone(page):
    """From the top of the form to the answer by Tab, letters, arrows, digits and Space."""

    def press(*keys):
        page.driver.switch_to.active_element.send_keys(*keys)

    def where():
        return page.driver.switch_to.active_element.get_attribute("id")

    page.driver.execute_script(
        "const title = document.querySelector('#calculate h2'); title.tabIndex = -1; title.focus()"
    )
    for _ in range(3):  # past the title's own link
        if where() != "calc-model":
            press(Keys.TAB)
    assert where() == "calc-model"
    press("OLMo-1B")
    press(Keys.TAB)
    visited = []
    while (name := where()).startswith("calc-"):
        visited.append(name.removeprefix("calc-"))
        if visited[-1] == "context":
            press(Keys.CONTROL, "a", Keys.NULL, "4096")
        if visited[-1] == "bits":
            press(Keys.ARROW_UP)
        press(Keys.TAB)
    assert visited[-5:] == [name for name, *_ in calculator.SETTINGS]
    use = {"context": 4096, "batch": 1, "bits": 5, "cache_bits": 16, "logits_rows": calculator.LOGITS_ROWS}
    assert computed(page) == calculator.memory(config("OLMo-1B"), **use)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"n_heads": 9, "n_kv_heads": 4}, "9 query heads cannot share 4 key-value heads evenly; take a divisor of 9"),
        ({"n_layers": 0}, "layers: 0 is not a whole number from 1"),
        ({"bits": 40}, "bits per weight: 40 is not a number from 1 to 32"),
        ({"context": "1.5"}, "context, tokens: 1.5 is not a whole number"),
        ({"d_ff": Keys.DELETE}, "FFN width: nothing is not a whole number"),
    ],
)
def test_what_cannot_be_computed_is_said_in_one_line(page, values, said):
    Select(element(page, "model")).select_by_index(0)
    enter(page, **values)
    assert said in element(page, "problem").text
    assert computed(page) == dict.fromkeys(("weights", "cache", "logits", "total"))


def test_a_context_beyond_the_models_is_said(page):
    enter(page, context=10_000)
    assert "was made for 8,192 tokens" in element(page, "problem").text
    assert computed(page)["total"]
