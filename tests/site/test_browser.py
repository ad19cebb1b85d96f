"""The site in headless Chromium: quiet console, no request to others, at every width and in both themes by the rules of
axe-core (WCAG and its best practices, contrast among them)."""

from pathlib import Path

import pytest
from chromium import DESKTOP, PHONE, TABLET
from test_pages import PAGES, SITE, name

pytestmark = pytest.mark.browser

RUN = """
const done = arguments[arguments.length - 1];
document.getAnimations().forEach(running => running.cancel());  // colours on their way to the other theme
const rules = {"color-contrast": {enabled: arguments[0]}};
// The theme makes what scrolls reachable by keyboard 300 ms after a width has changed.
requestAnimationFrame(() => setTimeout(() =>
  axe.run(document, {resultTypes: ["violations"], rules}).then(found => done(found.violations.flatMap(broken =>
    broken.nodes.map(node => `${broken.id}: ${node.html.slice(0, 150)}`)))), 400));
"""


@pytest.fixture(scope="session")
def axe():
    """The script of axe-core, from the package that carries it."""
    import selenium_axe_python

    return (Path(selenium_axe_python.__file__).parent / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(browser, axe, contrast=True):
    browser.driver.execute_script(axe)
    browser.driver.set_script_timeout(300)  # the long tables take a slow machine a while
    return browser.driver.execute_async_script(RUN, contrast)


# A phone's page is loaded as such and widened, a desktop's is narrowed. Contrast takes axe longest, and is asked where
# all of a page is shown: colours change with the theme and not with the width.
@pytest.mark.parametrize(("dark", "sizes"), [(False, (PHONE, TABLET, DESKTOP)), (True, (DESKTOP, TABLET, PHONE))],
                         ids=["light", "dark"])  # fmt: skip
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_quiet_fits_each_width_and_breaks_no_rule_of_axe(browser, axe, page, dark, sizes):
    script = browser.open(page.as_uri(), sizes[0], dark)
    unseen = script("return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
    assert unseen == []
    formulas = "document.querySelectorAll('.math').length, document.querySelectorAll('mjx-container').length"
    written, drawn = script(f"return [{formulas}]")
    assert drawn >= written
    assert script("return document.querySelectorAll('mjx-merror').length") == 0
    if page.name != "index.html" or page.parent != SITE:  # that one only leads on
        assert script("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    for size in sizes:
        browser.resize(size)
        width = script("return document.documentElement.scrollWidth")
        assert width <= size[0], f"{name(page)} is {width} pixels wide"
    asked = browser.requests()
    assert asked
    assert all(address.startswith(SITE.as_uri()) for address in asked), asked
    assert browser.complaints() == []  # axe asks for style sheets, which a file may not: it comes last
    for size in sizes:
        browser.resize(size)
        assert violations(browser, axe, contrast=size == DESKTOP) == []


def test_the_site_works_in_a_subfolder(browser, served):
    script = browser.open(f"{served}/labs/00_your_machine.html")
    assert all(address.startswith(served) for address in browser.requests())
    assert browser.complaints() == []
    assert script("return [...document.images].every(i => i.naturalWidth)")
    browser.open(f"{served}/index.html")
    assert browser.driver.current_url.startswith(f"{served}/book/welcome.html")


def test_a_solution_is_hidden_till_asked_for(browser):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.open((SITE / "labs" / "00_your_machine.html").as_uri())
    summary = next(
        e for e in browser.driver.find_elements("css selector", "details summary") if "Show a solution" in e.text
    )
    code = summary.find_element("xpath", "..").find_element("css selector", "pre")
    assert not code.is_displayed()
    browser.driver.execute_script("arguments[0].click()", summary)
    WebDriverWait(browser.driver, 10).until(lambda _: code.is_displayed())  # it fades in


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
