"""The models' page as a visitor uses it: filters, sorting, details, by keyboard and without JavaScript."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from test_pages import SITE

from slmkit.course import modelpages
from slmkit.course.ledger import anchor, ledger
from slmkit.model.counting import count_parameters
from slmkit.survey import config, trends

pytestmark = pytest.mark.browser
PAGE = (SITE / "book/reference/models.html").as_uri()
SHOWN = (
    "return [...document.querySelectorAll('.slm-filter tbody tr:not(.more)')].filter(r => r.offsetHeight)"
    ".map(r => r.cells[%d].innerText.trim())"
)
MODELS = modelpages.listed()
SURVEY = [row for row in MODELS if not row["ours"]]


def shown(page, column=0):
    """The visible rows' texts in a column, from top to bottom."""
    return page.driver.execute_script(SHOWN % column)


def field(page, label):
    """The control with that label."""
    return page.driver.find_element(By.XPATH, f"//label[span='{label}']/*[self::input or self::select]")


def state(page):
    return page.driver.find_element(By.CSS_SELECTOR, ".slm-count").text


def head(page, text):
    return page.driver.find_element(By.XPATH, f"//table[contains(@class, 'slm-filter')]//th[button='{text}']")


def test_the_table_shows_the_survey_until_one_asks_for_ours(page):
    assert len(shown(page)) == len(SURVEY)
    page.driver.find_element(By.CSS_SELECTOR, ".slm-switch input").send_keys(Keys.SPACE)
    names = shown(page)
    assert len(names) == len(MODELS)
    assert sum("ours" in name for name in names) == len(MODELS) - len(SURVEY)
    assert state(page) == f"{len(MODELS)} of {len(MODELS)} models"


@pytest.mark.parametrize(
    ("label", "choice", "keeps"),
    [
        ("release", "2023", lambda row: row["release"].startswith("2023")),
        ("parameters", "below 0.5B", lambda row: modelpages.parameters(row) < 5e8),
        ("attention", "GQA", lambda row: row["attention"] == "GQA"),
        ("attention", "not known", lambda row: not row["attention"]),
        ("FFN", "standard", lambda row: row["ffn"] == "standard"),
        ("norm", "LayerNorm", lambda row: row["norm"][:9] in ("LayerNorm", "non-param")),
        ("vocabulary", "above 200k", lambda row: int(row["vocab_size"] or 0) > 200_000),
    ],
)
def test_a_filter_keeps_what_it_says(page, label, choice, keeps):
    Select(field(page, label)).select_by_visible_text(choice)
    expected = {row["name"] for row in SURVEY if keeps(row)}
    assert set(shown(page)) == expected
    assert 0 < len(expected) < len(SURVEY)
    assert state(page) == f"{len(expected)} of {len(SURVEY)} models"
    marks = page.driver.execute_script(
        "return [...document.querySelectorAll('.slm-timeline [data-mark]')]"
        ".filter(m => m.getClientRects().length).map(m => m.dataset.mark)"
    )
    assert sorted(marks) == sorted(modelpages.anchor(name) for name in expected)


def test_search_and_filters_act_together_and_can_be_taken_back(page):
    Select(field(page, "release")).select_by_visible_text("2024")
    field(page, "search").send_keys("qwen SiLU")
    assert set(shown(page)) == {r["name"] for r in SURVEY if r["release"] >= "2024" and "Qwen" in r["name"]}
    page.driver.find_element(By.CSS_SELECTOR, ".slm-reset").send_keys(Keys.ENTER)
    assert len(shown(page)) == len(SURVEY)


def test_columns_sort_by_enter_and_by_click(page):
    head(page, "parameters").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head(page, "parameters").get_attribute("aria-sort") == "ascending"
    sizes = {row["name"]: modelpages.parameters(row) for row in SURVEY}
    assert [sizes[name] for name in shown(page)] == sorted(sizes.values())
    head(page, "parameters").find_element(By.TAG_NAME, "button").click()
    assert [sizes[name] for name in shown(page)] == sorted(sizes.values(), reverse=True)
    head(page, "tokens per parameter").find_element(By.TAG_NAME, "button").click()
    assert head(page, "parameters").get_attribute("aria-sort") is None
    ratios = {row["name"]: trends.tokens_per_parameter(row) for row in SURVEY}
    found = [ratios[name] for name in shown(page)]
    known = sorted(ratio for ratio in ratios.values() if ratio)
    assert found == known + [None] * (len(SURVEY) - len(known))  # at the end, whichever way the column is sorted
    head(page, "tokens per parameter").find_element(By.TAG_NAME, "button").click()
    assert [ratios[name] for name in shown(page)][: len(known)] == known[::-1]


def test_numbers_sort_as_numbers_and_words_as_words(page):
    mixed = "return ['20.1', '1e3', 'b', '-0.5', '20.006', 'A'].sort(compare)"
    assert page.driver.execute_script(mixed) == ["-0.5", "20.006", "20.1", "1e3", "A", "b"]


def test_a_model_opens_by_enter_with_its_counts(page):
    button = page.driver.find_element(By.XPATH, "//button[.='SmolLM2-360M']")
    assert button.get_attribute("aria-expanded") == "false"
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    details = page.driver.find_element(By.ID, "model-smollm2-360m")
    count = count_parameters(config("SmolLM2-360M"))
    assert f"{count.total:,} parameters" in details.text
    assert f"FFN {modelpages.short(count.ffn)}, {count.ffn / count.total:.1%}" in details.text
    assert "80.0 MiB at 2,048 tokens" in details.text
    widths = page.driver.execute_script(
        "return [...document.querySelectorAll('#model-smollm2-360m .slm-bar i')].map(i => i.offsetWidth)"
    )
    assert widths[2] / sum(widths) == pytest.approx(count.ffn / count.total, abs=0.02)


def test_an_address_and_a_mark_open_a_model(page):
    page.driver.get("about:blank")
    page.driver.get(f"{PAGE}#model-opt-350m")  # read when the page opens
    assert page.driver.find_element(By.ID, "model-opt-350m").is_displayed()
    page.driver.get(f"{PAGE}#model-smollm3-3b")  # and when the address changes; this one is ours
    assert page.driver.find_element(By.ID, "model-smollm3-3b").is_displayed()
    page.driver.execute_script(
        "document.querySelector('.slm-timeline:not([hidden]) [data-mark=model-tinyllama-1-1b]')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    details = page.driver.find_element(By.ID, "model-tinyllama-1-1b")
    assert details.is_displayed()
    details.find_element(By.LINK_TEXT, "Calculate its memory").click()
    assert Select(page.driver.find_element(By.ID, "calc-model")).first_selected_option.text == "TinyLlama-1.1B"


def test_details_move_with_their_row(page):
    page.driver.find_element(By.XPATH, "//button[.='OPT-350M']").send_keys(Keys.ENTER)
    head(page, "model").find_element(By.TAG_NAME, "button").click()
    after = page.driver.execute_script(
        "return document.querySelector('[data-row=model-opt-350m]').nextElementSibling.contains("
        "document.querySelector('#model-opt-350m'))"
    )
    assert after
    Select(field(page, "attention")).select_by_visible_text("GQA")
    assert not page.driver.find_element(By.ID, "model-opt-350m").is_displayed()


def test_the_ledger_filters_sorts_and_opens(browser):
    claims = ledger()
    browser.open((SITE / "book/reference/ledger.html").as_uri())
    assert shown(browser) == [claim["id"] for claim in claims]
    head(browser, "statement").find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert head(browser, "statement").get_attribute("aria-sort") == "ascending"
    statements = shown(browser, 1)
    assert [text.lower()[0] for text in statements] == sorted(text.lower()[0] for text in statements)
    verdict = next(claim["verdict"] for claim in claims if claim["verdict"] != "reproduced")
    Select(field(browser, "verdict")).select_by_visible_text(verdict)
    chosen = {claim["id"] for claim in claims if claim["verdict"] == verdict}
    assert set(shown(browser)) == chosen
    assert state(browser) == f"{len(chosen)} of {len(claims)} claims"
    browser.driver.find_element(By.XPATH, f"//button[.='{min(chosen)}']").send_keys(Keys.ENTER)
    assert browser.driver.find_element(By.ID, anchor(min(chosen))).is_displayed()
    assert browser.complaints() == []


def test_without_javascript_all_is_there(browser):
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.driver.get(PAGE)
        rows = browser.driver.find_elements(By.CSS_SELECTOR, ".slm-models tbody tr:not(.more)")
        assert len(rows) == len(MODELS)
        browser.driver.find_element(By.XPATH, "//summary[.='OPT-350M in detail']").click()
        assert browser.driver.find_element(By.ID, "model-opt-350m").is_displayed()
        browser.driver.get((SITE / "book/reference/calculator.html").as_uri())
        assert not browser.driver.find_element(By.ID, "calc").is_displayed()
        assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".slm-numbers tbody tr")) > 5
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_only_pages_with_a_widget_load_its_script():
    using = [path for path in SITE.rglob("*.html") if "widgets/" in path.read_text(encoding="utf-8")]
    assert {"models.html", "calculator.html"} <= {path.name for path in using}
    assert SITE / "book/how_to_use.html" not in using
