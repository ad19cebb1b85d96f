"""The site in headless Chromium: quiet console, no request to others, readable at every width and in both themes."""

import pytest
from chromium import DESKTOP, PHONE
from test_pages import PAGES, SITE, name

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_from_disk_is_quiet_and_asks_nobody(browser, page):
    script = browser.open(page.as_uri())
    asked = browser.requests()
    assert asked
    assert all(address.startswith(SITE.as_uri()) for address in asked), asked
    assert browser.complaints() == []
    unseen = script("return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
    assert unseen == []
    formulas = "document.querySelectorAll('.math').length, document.querySelectorAll('mjx-container').length"
    written, drawn = script(f"return [{formulas}]")
    assert drawn >= written
    assert script("return document.querySelectorAll('mjx-merror').length") == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_readable_at_every_width_and_in_both_themes(browser, page, size, dark):
    script = browser.open(page.as_uri(), size, dark)
    width = script("return document.documentElement.scrollWidth")
    assert width <= size[0], f"{name(page)} is {width} pixels wide"
    if page.name != "index.html" or page.parent != SITE:  # that one only leads on
        assert script("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    assert script(CONTRAST) == []


# Text whose colour is too close to what is behind it: WCAG 2.1 asks for a ratio of 4.5, or 3 for big text.
CONTRAST = """
const parse = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour.length == 3 || colour[3] > .99) return colour;
  }
  return [255, 255, 255];
};
const bad = [];
for (const element of document.querySelectorAll('.bd-article :is(p, li, td, th, dt, dd, figcaption, summary)')) {
  if (!element.innerText || !element.offsetWidth) continue;
  const style = getComputedStyle(element), ours = light(parse(style.color)), under = light(behind(element));
  const ratio = (Math.max(ours, under) + .05) / (Math.min(ours, under) + .05);
  const text = element.innerText.slice(0, 40);
  if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) bad.push([text, style.color, ratio]);
}
return bad.slice(0, 3);
"""


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_search_finds_pages(browser, served, scheme):
    base = SITE.as_uri() if scheme == "file" else served
    script = browser.open(f"{base}/search.html?q=decoder")
    browser.driver.implicitly_wait(10)
    assert browser.driver.find_element("css selector", "#search-results li a").get_attribute("href").startswith(base)
    browser.driver.implicitly_wait(0)
    assert script("return document.querySelectorAll('#search-results li').length") >= 2
    assert browser.complaints() == []


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
