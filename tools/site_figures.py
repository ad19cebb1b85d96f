"""site_figures.py [SITE [PAGE…]]: what pages of the built site weigh, and when they are drawn, in this Chromium.

The site is served from this machine with text compressed by gzip, and nothing is kept from an earlier page. First view:
the page, style sheets, scripts and fonts. Whole: pictures too. Content: when the elements are there (DOMContentLoaded).
Largest: when the largest picture or text is drawn. Shift: how far things moved while the page came, as Chromium counts
it (cumulative layout shift; below 0.1 is called good). Times have no slow network in them.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "site"))
from chromium import VIEW, Browser  # noqa: E402, what drives the checks
from host import serve  # noqa: E402

PAGES = ["book/welcome.html", "labs/03_build_a_decoder.html", "labs/15_quantization_and_hardware.html",
         "book/architecture/attention.html", "book/runtime/latency.html", "book/reference/models.html",
         "book/reference/ledger.html", "book/reference/calculator.html", "book/reference/api.html"]  # fmt: skip
DRAWN = """
const done = arguments[0], found = {largest: 0, shift: 0};
const watch = (type, note) =>
  new PerformanceObserver(list => list.getEntries().forEach(note)).observe({type, buffered: true});
watch("largest-contentful-paint", entry => found.largest = entry.startTime);
watch("layout-shift", entry => { if (!entry.hadRecentInput) found.shift += entry.value; });
found.content = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
setTimeout(() => done(found), 300);
"""


def main(site: Path, pages: list[str]):
    browser = Browser()
    print(f"{'page':45} first view   whole  requests  content  largest  shift")
    try:
        with serve(site) as address:
            for page in pages:
                came = browser.weigh(f"{address}/{page}")
                view = sum(size for kind, size in came.values() if kind in VIEW)
                whole = sum(size for _, size in came.values())
                drawn = browser.driver.execute_async_script(DRAWN)
                print(f"{page:45} {view / 1e3:7.0f} kB {whole / 1e3:4.0f} kB {len(came):9} {drawn['content']:5.0f} ms"
                      f" {drawn['largest']:5.0f} ms {drawn['shift']:6.3f}")  # fmt: skip
    finally:
        browser.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else ROOT / "_build" / "html", given[1:] or PAGES)
