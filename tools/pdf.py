"""pdf.py SITE TARGET: prints the book, which Sphinx built as one page in the folder SITE (singlehtml), into one PDF.

Chromium prints twice: where a chapter begins is known only after the first time, and the table of contents says it.
"""

import base64
import io
import json
import sys
from html import escape
from pathlib import Path

import yaml
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "site"))
from chromium import Browser  # noqa: E402, the driver of the checks drives the printer too

PAPER = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True, "printBackground": True,
         "generateDocumentOutline": True, "generateTaggedPDF": True}  # fmt: skip
PREPARE = (ROOT / "tools" / "pdf.js").read_text(encoding="utf-8")
STYLE = (ROOT / "tools" / "pdf.css").read_text(encoding="utf-8")


def chapters(toc: Path = ROOT / "_toc.yml") -> list[tuple[str, list[str]]]:
    """The parts of the book in order, each with the names of its pages."""
    read = yaml.safe_load(toc.read_text(encoding="utf-8"))
    parts = [(part["caption"], [chapter["file"] for chapter in part["chapters"]]) for part in read["parts"]]
    return [(parts[0][0], [read["root"], *parts[0][1]]), *parts[1:]]


def contents(parts: list, titles: dict[str, str], pages: dict[str, int]) -> str:
    """The table of contents as HTML: a list a part, a line a chapter, which links to it and says its page."""
    lists = ""
    for caption, names in parts:
        rows = "".join(
            f'<li><a href="#document-{name}"><span>{escape(titles[name])}</span> {pages.get(name, "")}</a></li>'
            for name in names
        )
        lists += f"<h3>{escape(caption)}</h3><ol>{rows}</ol>"
    return lists


def printed(browser: Browser) -> bytes:
    return base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", PAPER)["data"])


def begins(pdf: bytes, names: list[str]) -> dict[str, int]:
    """The page on which each chapter begins, counted from 1."""
    reader = PdfReader(io.BytesIO(pdf))
    found = {name: reader.get_destination_page_number(place) for name, place in reader.named_destinations.items()}
    return {name: found[f"/document-{name}"] + 1 for name in names}


def make(site: Path, target: Path, parts: list) -> int:
    """Prints the one page of `site` and returns how many sheets it took."""
    browser = Browser()
    try:
        page = site / "whole.html"  # Sphinx writes it into a subfolder, and its addresses as if it were here
        page.write_bytes((site / f"{parts[0][1][0]}.html").read_bytes())
        script = browser.open(page.resolve().as_uri())
        names = [name for _, chapter in parts for name in chapter]
        titles = script(PREPARE + f"return prepare({json.dumps(names)}, {json.dumps(STYLE)})")
        fill = "document.querySelector('.contents nav').innerHTML = arguments[0]"
        script(fill, contents(parts, titles, {}))
        script(fill, contents(parts, titles, begins(printed(browser), names)))
        pdf = printed(browser)
    finally:
        browser.close()
    target.write_bytes(pdf)
    return len(PdfReader(io.BytesIO(pdf)).pages)


if __name__ == "__main__":
    site, target = map(Path, sys.argv[1:])
    print(f"== {target}: {make(site, target, chapters())} pages, {target.stat().st_size / 1e6:.1f} MB")
