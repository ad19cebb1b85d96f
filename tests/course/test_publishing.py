"""One address gives canonical links, a site map and cards; without it nothing of this is written. A page's foot."""

import functools
import re
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx_page import build

from slmkit.course import publishing
from slmkit.course.publishing import built_from

CONF = """
extensions = ["myst_nb", "slmkit.course.publishing", "slmkit.course.icons"]
exclude_patterns = ["conf.py", "out", "trees", "templates"]
templates_path = ["templates"]
html_title = "A book & more"
html_theme = "sphinx_book_theme"
html_theme_options = {"footer_content_items": ["foot.html"]}
root_doc = "start"
html_baseurl = "%s"
"""
FILES = {
    "start.md": "# A *start* & more\n\nOne *first* paragraph, a < b.\n\nMore.\n\n```{toctree}\ntext/page\n```\n",
    "text/page.md": "# A page\n\n" + "Many words. " * 40 + "\n",
    "templates/foot.html": "<p>{{ built_from }}</p>",
}


class Head(HTMLParser):
    """The <meta> elements of a page by name, and the links by what they are."""

    def __init__(self, text):
        super().__init__()
        self.meta, self.links = {}, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "meta" and "content" in found:
            self.meta[found.get("property") or found.get("name") or found.get("http-equiv")] = found["content"]
        if tag == "link":
            self.links[found.get("rel")] = found["href"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The first page of the book published at an address, the warnings, and the folder of the site."""

    @functools.cache
    def made(address):
        folder = tmp_path_factory.mktemp("book")
        return *build(folder, {"conf.py": CONF % address, **FILES}, "start"), folder / "out"

    return made


@pytest.mark.parametrize("address", ["https://example.org/book", "https://example.org/book/"])
def test_pages_name_and_describe_themselves(site, address):
    html, warnings, out = site(address)
    assert warnings == ""
    head = Head(html)
    assert head.links["canonical"] == head.meta["og:url"] == "https://example.org/book/start.html"
    assert head.meta["og:title"] == "A start & more"
    assert head.meta["og:description"] == head.meta["description"] == "One first paragraph, a < b."
    assert head.meta["og:site_name"] == "A book & more"
    assert 'content="A book &amp; more"' in html
    assert head.meta["twitter:card"] == "summary_large_image"
    page = Head((out / "text" / "page.html").read_text())
    assert page.links["canonical"] == page.meta["og:url"] == "https://example.org/book/text/page.html"
    assert 150 < len(page.meta["og:description"]) <= 200
    assert "noindex" not in html


def test_the_card_is_a_picture_of_the_size_that_is_stated(site, tmp_path):
    html, _, out = site("https://example.org/book")
    meta = Head(html).meta
    assert meta["og:image"].startswith("https://example.org/book/")
    path = out / meta["og:image"].removeprefix("https://example.org/book/")
    with Image.open(path) as card:
        assert card.size == (int(meta["og:image:width"]), int(meta["og:image:height"])) == (1200, 630)
    assert path.stat().st_size < 200_000
    publishing.card(tmp_path / "again.png", "A book & more")
    assert path.read_bytes() == (tmp_path / "again.png").read_bytes()


def test_the_map_lists_each_page_once(site):
    _, _, out = site("https://example.org/book")
    found = [entry.text for entry in ElementTree.parse(out / "sitemap.xml").iter() if entry.tag.endswith("loc")]
    assert found == ["https://example.org/book/start.html", "https://example.org/book/text/page.html"]
    assert not (out / "robots.txt").exists(), "in a folder of a host nobody reads it"


def test_at_the_root_of_a_host_robots_are_shown_the_map(site):
    _, _, out = site("https://example.org")
    assert "Sitemap: https://example.org/sitemap.xml\n" in (out / "robots.txt").read_text()


def test_the_first_page_leads_on_and_describes_the_book(site):
    html, _, out = site("https://example.org/book")
    index = Head((out / "index.html").read_text())
    assert index.meta["Refresh"] == "0; url=start.html"
    assert index.links["canonical"] == "https://example.org/book/start.html"
    described = {key: text for key, text in Head(html).meta.items() if key and key.startswith(("og:", "twitter:"))}
    assert described.items() <= index.meta.items()


def test_without_an_address_nothing_is_said(site):
    html, warnings, out = site("")
    assert warnings == ""
    for word in ("canonical", "og:", "twitter:", 'name="description"'):
        assert word not in html
    for file in ("sitemap.xml", "robots.txt", "index.html", "_static/card.png"):
        assert not (out / file).exists()


@pytest.mark.parametrize("address", ["example.org/book", "file:///home/x", "https://"])
def test_an_address_that_is_none_is_a_warning(site, address):
    assert f"html.baseurl is {address!r}; it has to begin with https://" in site(address)[1]


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)


def test_the_foot_names_versions_commit_and_its_day(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-03-04T23:30:00 -0500")
    (tmp_path / "a").write_text("one")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-q", "-m", "first")
    built_from.cache_clear()
    text = built_from(tmp_path)
    shape = r"slmkit \S+ · torch \S+ · Python 3\.\d+\.\d+ · commit [0-9a-f]{12} · 2026-03-05"
    assert re.fullmatch(shape, text), text
    (tmp_path / "a").write_text("two")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    built_from.cache_clear()
    assert built_from(tmp_path).endswith("-dirty · 1970-01-02")


def test_each_page_has_that_foot(site):
    assert re.search(r"<p>slmkit \S+ · torch \S+ · Python", site("")[0])


def test_without_git_the_foot_names_versions(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    built_from.cache_clear()
    assert re.fullmatch(r"slmkit \S+ · torch \S+ · Python \S+", built_from(tmp_path))


def test_of_the_icons_the_used_ones_are_left(site):
    html, _, out = site("")
    assert "fa-magnifying-glass" in html
    static = out / "_static"
    style = (static / "styles" / "pydata-sphinx-theme.css").read_text()
    assert ".fa-magnifying-glass" in style
    assert ".fa-virus" not in style
    assert "Font Awesome 6 Free" not in style
    assert (static / "scripts" / "fontawesome.js").stat().st_size < 100
    with TTFont(static / "vendor/fontawesome/webfonts/fa-solid-900.ttf") as font:
        glyphs = font.getBestCmap()
        assert 10 < len(glyphs) < 100
        assert {0xF002, 0xF0C9} <= set(glyphs)
        named = [str(name) for name in font["name"].names if name.nameID in (1, 4, 6)]
        assert not [name for name in named if "Awesome" in name], "a cut font may not bear the reserved name"
        assert any("Fonticons" in str(name) or "Awesome" in str(name) for name in font["name"].names)
