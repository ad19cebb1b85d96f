"""A word of the glossary lists the pages that link it, by any of its names, in the book's order."""

import re

import pytest
from sphinx_page import build

from slmkit.paths import root

CONF = """
from slmkit.course import glossary
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}  # else added to a default that outlives this build
def setup(app):
    glossary.setup(app)
"""
PAGES = {
    "index.md": "# Book\n\n```{toctree}\nzebra\nadam\nwords\n```\n",
    "zebra.md": "# Zebra\n\nA {term}`QK norm` here, {term}`tokens <token>` there, and a {term}`Token` again.\n",
    "adam.md": "(ratio)=\n# Adam\n\nThe {term}`query/key norm`, and {ref}`this page <ratio>`, which is no word.\n",
    "words.md": "# Words\n\n```{glossary}\nquery/key norm\nQK norm\n  A norm.\n\nratio\n  Of a {term}`token`.\n\n"
    "token\n  A piece.\n```\n",
}
LINKS = re.compile(r"\{term\}`(?:[^`<]*<([^>`]+)>|([^`<]+))`")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The HTML of the glossary, and the warnings of its build."""
    return build(tmp_path_factory.mktemp("book"), {"conf.py": CONF, **PAGES}, "words")


def test_an_entry_lists_its_pages_once_in_the_books_order(built):
    html, warnings = built
    assert warnings == ""
    zebra, adam = '<a class="reference internal" href="zebra.html">Zebra</a>', 'href="adam.html">Adam</a>'
    used = re.findall(r'<p class="slm-used">(.*?)</p>', html)
    assert len(used) == 2  # nothing but the glossary itself links "token" from "ratio", and nothing links "ratio"
    assert used[0].startswith(f"Used in: {zebra}, ")
    assert used[0].endswith(adam)
    assert used[1] == f"Used in: {zebra}"


def test_pages_link_only_words_that_are_there_each_once():
    page = root() / "book" / "reference" / "glossary.md"
    entries = {line.lower(): line for line in page.read_text().splitlines() if re.match(r"[\wµ]", line)}
    for path in sorted((root() / "book").rglob("*.md")):
        linked = [(target or text).lower() for target, text in LINKS.findall(path.read_text())]
        assert not set(linked) - set(entries), f"{path.name} links what is not in the glossary"
        assert len(set(linked)) == len(linked), f"{path.name} links a word twice"
