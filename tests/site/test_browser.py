"""The site in headless Chromium: quiet console, no request to others, readable at every width and in both themes."""

import functools
import http.server
import json
import shutil
import tempfile
import threading
from urllib.parse import urlsplit

import pytest
from test_pages import PAGES, SITE, name

pytestmark = pytest.mark.browser

FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "hide-scrollbars")  # fmt: skip
PHONE, DESKTOP = (390, 844), (1280, 900)


class Browser:
    """One Chromium for the whole run, with the requests and the console messages of the last page."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self.profile = tempfile.mkdtemp()
        options = webdriver.ChromeOptions()
        for candidate in ("chromium", "chromium-browser", "google-chrome"):
            options.binary_location = options.binary_location or shutil.which(candidate) or ""
        for flag in (*FLAGS, f"user-data-dir={self.profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, address, size=DESKTOP, dark=False):
        """Goes to a page and waits till it is drawn. Returns the driver's script function."""
        width, height = size
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(address)
        self.driver.set_script_timeout(60)
        self.driver.execute_async_script(
            "const done = arguments[0], math = window.MathJax?.startup?.promise;"
            "Promise.resolve(math).then(() => document.fonts.ready).then(() => setTimeout(done, 50));"
        )
        return self.driver.execute_script

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self):
        """Addresses that the page asked for; the browser's own pages (chrome://) do not count."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if urlsplit(address).scheme not in ("data", "chrome", "blob")]


@pytest.fixture(scope="module")
def browser():
    opened = Browser()
    yield opened
    opened.driver.quit()
    shutil.rmtree(opened.profile, ignore_errors=True)


@pytest.fixture(scope="module")
def served():
    """The site over HTTP, in a subfolder of its server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/some/folder"))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/some/folder"
    server.shutdown()


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
