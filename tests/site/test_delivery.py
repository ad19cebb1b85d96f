"""The site as it reaches a reader: how much each page weighs, search, downloads, widgets from a host's subfolder."""

import ast
import urllib.request
from collections import Counter
from urllib.parse import urljoin

import nbformat
import pytest
from chromium import VIEW
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from test_calculator import computed, enter
from test_pages import PAGES, SITE, Elements, name

from slmkit.course.source import labs

pytestmark = pytest.mark.browser

# Bytes on the wire with text compressed by gzip, as static hosts send it, and nothing kept from an earlier page.
FIRST_VIEW = 400_000  # the page itself, style sheets, scripts, fonts
WHOLE = 1_500_000  # and its pictures

# Typed into the search page, and a page that has to be among the results.
SEARCHES = {
    "distillation": "book/training/distillation.html",
    "RMSNorm": "book/architecture/normalization.html",
    "grouped-query attention": "book/architecture/attention.html",
    "MinHash": "labs/07_filtering_and_deduplication.html",
    "roofline": "labs/00_your_machine.html",
    "LoRA": "book/training/lora.html",
    "tokenizer vocabulary": "labs/02_tokenizers_and_vocabulary.html",
    "quantization": "book/runtime/quantization.html",
    "needle": "book/capability/long_context.html",
    "licence": "book/reference/licences.html",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page != SITE / "index.html"], ids=name)  # it leads on
def test_a_page_is_light_and_complete_from_a_subfolder(browser, served, page):
    came = browser.weigh(f"{served}/{name(page)}")
    assert browser.complaints() == []
    assert all(address.startswith(served) for address in came), list(came)
    weight = Counter()
    for kind, size in came.values():
        weight[kind] += size
    heavy = sorted(((size, address) for address, (_, size) in came.items()), reverse=True)[:6]
    assert 10_000 < sum(weight[kind] for kind in VIEW) <= FIRST_VIEW, heavy
    assert weight.total() <= WHOLE, heavy


@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("term", SEARCHES)
def test_search_finds(browser, served, scheme, term):
    base = SITE.as_uri() if scheme == "file" else served
    browser.open(f"{base}/search.html")
    field = browser.driver.find_element(By.CSS_SELECTOR, ".bd-search-container input[name=q]")
    field.send_keys(term, Keys.ENTER)
    wanted = f"{base}/{SEARCHES[term]}"
    results = "return [...document.querySelectorAll('#search-results li a')].map(a => a.href.split(/[?#]/)[0])"
    WebDriverWait(browser.driver, 10).until(lambda driver: wanted in driver.execute_script(results))
    assert browser.complaints() == []
    assert all(address.startswith(base) for address in browser.requests())


def test_search_says_when_it_finds_nothing(browser):
    browser.open(f"{SITE.as_uri()}/search.html?q=zyzzyva")
    said = (By.CSS_SELECTOR, "#search-results p.search-summary")
    WebDriverWait(browser.driver, 10).until(lambda driver: "did not match" in driver.find_element(*said).text)


def fetched(address):
    with urllib.request.urlopen(address) as answer:
        return answer.read()


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_downloads_open(served, lab):
    page = SITE / "labs" / f"{lab.stem}.html"
    linked = [attributes for tag, attributes in Elements(page).found if tag == "a" and "download" in attributes]
    notebooks = [attributes["href"] for attributes in linked if attributes["href"].endswith(".ipynb")]
    assert len(notebooks) == 1
    notebook = nbformat.reads(fetched(urljoin(f"{served}/labs/", notebooks[0])).decode(), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ast.parse(fetched(f"{served}/labs/{lab.stem}.py"))


def test_tables_and_calculator_work_from_a_subfolder(browser, served):
    script = browser.open(f"{served}/book/reference/models.html")
    rows = "return [...document.querySelectorAll('.slm-filter tbody tr:not(.more)')].filter(r => r.offsetHeight).length"
    before = script(rows)
    browser.driver.find_element(By.CSS_SELECTOR, ".slm-bar-of-filters input[type=search]").send_keys("smollm2")
    WebDriverWait(browser.driver, 10).until(lambda driver: 0 < driver.execute_script(rows) < before)
    browser.open(f"{served}/book/reference/calculator.html")
    enter(browser, context=1024)
    before = computed(browser)["cache"]
    enter(browser, context=4096)
    WebDriverWait(browser.driver, 10).until(lambda _: computed(browser)["cache"] == 4 * before)
    assert browser.complaints() == []
    assert all(address.startswith(served) for address in browser.requests())
