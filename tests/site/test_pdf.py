"""A small book of two chapters, printed: its contents say the right pages, and what a screen hides is there."""

import sys
from io import StringIO

import pytest
from pypdf import PdfReader
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from slmkit.paths import root

sys.path.insert(0, str(root() / "tools"))
import pdf

pytestmark = pytest.mark.browser

CONF = """
extensions = ["myst_nb", "sphinx_design", "sphinx_togglebutton", "slmkit.course.sphinx_ext"]
exclude_patterns = ["conf.py", "out", "trees"]
html_theme = "sphinx_book_theme"
html_theme_options = {"logo": {"text": "A small book"}}
myst_enable_extensions = ["dollarmath"]
root_doc = "book/start"
"""
LONG = "x = " + " + ".join(f"term_{i}" for i in range(40)) + " + the_end_of_the_line"
START = "# Start\n\nSee [](#part) and [a file](../conf.py).\n\n## Part\n\nfirst\n\n```{toctree}\nsecond\n```\n"
SECOND = f"""# Second

Here $E = m c^2$ and [its part](#part).

## Part

:::{{dropdown}} Behind a click
what was folded
:::

<details><summary>Show a solution</summary>

the solution itself

</details>

```python
{LONG}
```

| a | b |
|---|---|
| one | two |
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    (folder / "book").mkdir()
    (folder / "conf.py").write_text(CONF)
    (folder / "book" / "start.md").write_text(START)
    (folder / "book" / "second.md").write_text(SECOND)
    with patch_docutils(folder), docutils_namespace():
        Sphinx(
            folder, folder, folder / "out", folder / "trees", "singlehtml", status=StringIO(), warning=StringIO()
        ).build()
    target = folder / "book.pdf"
    sheets = pdf.make(folder / "out", target, [("One part", ["book/start", "book/second"])])
    read = PdfReader(target)
    assert len(read.pages) == sheets
    return read


def test_the_contents_lead_to_the_pages_that_they_name(book):
    contents = next(page for page in book.pages if "Contents" in page.extract_text())
    begins = {name: book.get_destination_page_number(place) + 1 for name, place in book.named_destinations.items()}
    for name, title in (("book/start", "Start"), ("book/second", "Second")):
        said = contents.extract_text().split(title)[1].split()[0]
        assert int(said) == begins[f"/document-{name}"]
        assert title in book.pages[int(said) - 1].extract_text()
    assert book.metadata.title
    assert [entry.title for entry in book.outline if not isinstance(entry, list)]


def test_what_is_folded_or_long_is_printed(book):
    text = "".join(page.extract_text() for page in book.pages)
    for wanted in ("A small book", "what was folded", "the solution itself", "A solution"):
        assert wanted in text
    assert "the_end_of_the_line" in "".join(text.split()), "the long line of code is cut"
    fonts = [font.get_object() for page in book.pages for font in page["/Resources"].get("/Font", {}).values()]
    # Chromium writes MathJax's fonts as drawings of glyphs (Type 3), whose name stands in the descriptor.
    names = {str(font["/FontDescriptor"]["/FontName"]) for font in fonts if "/FontDescriptor" in font}
    assert any("MathJax" in name for name in names), names


def test_links_stay_in_the_book_or_lead_to_the_web(book):
    notes = [note.get_object() for page in book.pages for note in page.get("/Annots", [])]
    assert notes
    addresses = [note["/A"]["/URI"] for note in notes if "/A" in note and "/URI" in note["/A"]]
    assert all(address.startswith("http") for address in addresses), addresses
    wanted = {"/book/second--part", "/book/start--part"}
    assert wanted <= set(book.named_destinations), "a chapter's link leads to its own part of that name"


def test_a_chapter_that_is_missing_is_an_error(tmp_path):
    (tmp_path / "a.html").write_text("<article class='bd-article'><section><h1>A</h1></section></article>")
    with pytest.raises(Exception, match="the page has no chapter b, which"):
        pdf.make(tmp_path, tmp_path / "x.pdf", [("One", ["a", "b"])])
