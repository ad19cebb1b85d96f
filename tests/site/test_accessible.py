"""Every page by axe-core's rules (WCAG and its best practices), in both themes and at two widths."""

from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE
from test_pages import PAGES, SITE, name

pytestmark = pytest.mark.browser

RUN = """
const done = arguments[arguments.length - 1];
document.getAnimations().forEach(running => running.cancel());  // colours on their way to the other theme
axe.run(document, {resultTypes: ["violations"]}).then(found => done(found.violations.flatMap(broken =>
  broken.nodes.map(node => `${broken.id}: ${node.html.slice(0, 150)}`))));
"""


@pytest.fixture(scope="session")
def axe():
    """The script of axe-core, from the package that carries it."""
    import selenium_axe_python

    return (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(browser, axe):
    browser.driver.execute_script(axe)
    browser.driver.set_script_timeout(300)  # the long tables take a slow machine a while
    return browser.driver.execute_async_script(RUN)


@pytest.mark.parametrize(
    ("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, True)], ids=["light", "dark", "dark on a phone"]
)
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_breaks_no_rule_of_axe(browser, axe, page, size, dark):
    browser.open(page.as_uri(), size, dark)
    assert violations(browser, axe) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_opened_details_break_no_rule_of_axe(browser, axe, dark):
    script = browser.open((SITE / "book/reference/models.html").as_uri() + "#model-smollm2-360m", dark=dark)
    assert script("return document.querySelector('#model-smollm2-360m').offsetHeight") > 100
    script("document.querySelector('.slm-switch input').click()")
    assert violations(browser, axe) == []


def test_axe_finds_a_violation(browser, axe):
    script = browser.open((SITE / "book/reference/licences.html").as_uri())
    script("document.querySelector('.bd-article').insertAdjacentHTML('beforeend', '<img src=\"data:,\"><input>')")
    assert {line.split(":")[0] for line in violations(browser, axe)} == {"image-alt", "label"}
