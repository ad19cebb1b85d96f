"""The built site as files: nothing from elsewhere, every image described, no solution handed out."""

import os
import re
import zipfile
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

from slmkit.course.pages import WHEEL
from slmkit.course.source import labs, read, without_solutions
from slmkit.paths import root

SITE = Path(os.environ.get("SLMKIT_SITE") or root() / "_build/preview/_build/html")
PAGES = sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)
# Attributes by which a page loads something, other than a link that a reader follows.
LOADS = {
    "script": "src",
    "img": "src",
    "link": "href",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
}
KEPT = {"canonical", "author", "license", "index", "search", "next", "prev", "up"}  # <link> that loads nothing


class Elements(HTMLParser):
    """Every start tag of a page, with its attributes."""

    def __init__(self, path, after=""):
        super().__init__()
        self.found = []
        self.feed(path.read_text(encoding="utf-8").partition(after)[2] if after else path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def name(path):
    return path.relative_to(SITE).as_posix()


def test_the_site_was_built():
    assert (SITE / "index.html").is_file(), "build it first: make preview"
    assert (SITE / ".nojekyll").is_file()
    assert len(PAGES) > len(labs()) + 3


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_loads_nothing_from_elsewhere_and_nothing_that_is_missing(page):
    for tag, attributes in Elements(page).found:
        address = attributes.get(LOADS.get(tag, ""))
        if not address or (tag == "link" and attributes.get("rel") in KEPT):
            continue
        parts = urlsplit(address)
        assert parts.scheme in ("", "data"), f"{name(page)} loads {address}"
        assert not parts.netloc, f"{name(page)} loads {address}"
        if not parts.scheme:
            assert not parts.path.startswith("/"), f"{address} does not work in a subfolder"
            assert (page.parent / unquote(parts.path)).resolve().is_file(), f"{name(page)} loads {address}, not there"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_site_lead_somewhere(page):
    for tag, attributes in Elements(page).found:
        parts = urlsplit(attributes.get("href") or "")
        if tag == "a" and parts.path and not parts.scheme and not parts.netloc:
            assert (page.parent / unquote(parts.path)).resolve().exists(), f"{name(page)}: {attributes['href']}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_headings_and_images_serve_readers_who_cannot_see(page):
    for tag, attributes in Elements(page).found:
        if tag == "img" and "logo__image" not in (attributes.get("class") or ""):
            assert len(attributes.get("alt") or "") > 10, f"{name(page)}: {attributes}"
    elements = Elements(page, after='<article class="bd-article">').found  # before it, a second title for print
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch(r"h[1-6]", tag)]
    if page.name not in ("index.html", "search.html", "genindex.html"):
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels)), f"{name(page)}: {levels}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != SITE / "index.html"], ids=name)
def test_the_foot_of_a_page_says_what_it_was_built_from(page):
    foot = re.search(r'<p class="slm-built">Built with (.*?)</p>', page.read_text(encoding="utf-8"))
    assert re.match(r"slmkit \S+ · torch \S+ · Python \S+", foot[1])


def test_only_a_site_that_knows_its_address_says_it():
    address = yaml.safe_load((root() / "_config.yml").read_text())["html"]["baseurl"]
    said = ['rel="canonical"' in page.read_text(encoding="utf-8") for page in PAGES]
    assert all(said) if address else not any(said)
    assert (SITE / "sitemap.xml").exists() == bool(address)


@pytest.mark.parametrize("lab", labs(), ids=lambda lab: lab.stem)
def test_a_lab_page_has_its_card_and_clean_copies(lab):
    page = (SITE / "labs" / f"{lab.stem}.html").read_text()
    assert 'class="lab-card"' in page
    assert "MB at the peak" in page
    assert f'href="{WHEEL}"' in page
    assert zipfile.is_zipfile(SITE / "labs" / WHEEL)
    handed = nbformat.read(SITE / "labs" / f"{lab.stem}.ipynb", as_version=4)
    text = (SITE / "labs" / f"{lab.stem}.py").read_text() + "".join(cell.source for cell in handed.cells)
    for cell in read(lab.read_text()).cells:
        if "### BEGIN SOLUTION" in cell.source:
            stub = without_solutions(cell.source).splitlines()
            assert not [
                line
                for line in cell.source.splitlines()
                if len(line.strip()) > 12 and line not in stub and line in text
            ]


def test_the_status_page_names_every_lab():
    status = (SITE / "book" / "reference" / "status.html").read_text()
    for lab in labs():
        assert f"{lab.stem}.html" in status
    assert "torch" in status


def test_sources_with_solutions_are_not_published():
    assert not (SITE / "_sources").exists()
    assert "### BEGIN" not in (SITE / "searchindex.js").read_text()
    assert not [path for path in SITE.rglob("*.py") if "### BEGIN" in path.read_text()]
