"""Pages show what their labs computed, and a page whose source is gone or changed stops the build."""

import json
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from slmkit.course import build, facts, figures, pages, source, sphinx_ext
from slmkit.course.lab import CARD

LAB = '''# %% [markdown]
# # A lab
#
# **Question.** Why?

# %%
lab = 1

# %%
def area(r):
    """Of a circle."""
    ### BEGIN SOLUTION
    return 3.14159 * r**2
    ### END SOLUTION


# %% mystnb={"image": {"alt": "A rising line."}}
draw()
'''
RUN = {
    "lab": "98",
    "profile": "smoke",
    "cpu_s": 3.0,
    "wall_s": 4.0,
    "peak_mb": 77,
    "date": "2026-01-02",
    "versions": {},
}
RUN["machine"] = {"cpu": "Abacus", "cores": 1, "memory_gb": 1, "gpu": None}
CONF = """
extensions = ["myst_nb", "slmkit.course.sphinx_ext"]
nb_custom_formats = {".py": ("slmkit.course.pages.read_page", {}, False)}
nb_execution_mode = "off"
exclude_patterns = ["build", "conf.py"]
html_theme_options = {}
myst_enable_extensions = ["dollarmath"]
"""


class Book:
    """A book of one lab and one page in a folder of its own."""

    def __init__(self, folder):
        self.folder, self.lab = folder, folder / "labs" / "98_x.py"
        self.page = "# A page\n\n$x^2$\n"
        (folder / "conf.py").write_text(CONF)
        self.lab.parent.mkdir()
        self.lab.write_text(LAB)

    def execute(self):
        """What the build leaves behind, without running a kernel."""
        notebook = build.prepare(self.lab, "smoke")
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for i, cell in enumerate(code):
            cell.execution_count = i + 1
        code[0].outputs = [new_output("display_data", {"text/html": "<p>the run before</p>"}, metadata=CARD)]
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
        said = [new_output("stream", text=text) for text in ("it said", " so")]
        code[2].outputs = [new_output("display_data", {"image/svg+xml": svg}), *said]
        build.write(notebook, source.executed(self.lab, "smoke"))
        source.executed(self.lab, "smoke").with_name("98.json").write_text(json.dumps(RUN))

    def build(self):
        """Warnings of the build, and the HTML of the page and of the lab."""
        text = "# Start\n\n```{toctree}\nlabs/98_x\npage\n```\n"
        (self.folder / "index.md").write_text(text)
        (self.folder / "page.md").write_text(self.page)
        out, warnings = self.folder / "out", StringIO()
        with patch_docutils(self.folder), docutils_namespace():
            folders = (self.folder, self.folder, out, self.folder / "trees")
            app = Sphinx(*folders, "html", status=StringIO(), warning=warnings, freshenv=True)
            app.build(force_all=True)
        return warnings.getvalue(), (out / "page.html").read_text(), (out / "labs" / "98_x.html").read_text()


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMKIT_PROFILE", "smoke")
    monkeypatch.setenv("SLMKIT_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(source, "root", lambda: tmp_path)
    made = Book(tmp_path)
    made.execute()
    return made


def test_a_page_shows_outputs_card_stub_and_solution(book):
    book.page += "\n```{lab-status}\n```\n"
    warnings, page, lab = book.build()
    assert warnings == ""
    assert "it said so" in lab
    assert 'alt="A rising line."' in lab
    assert "77 MB at the peak" in lab
    assert "the run before" not in lab
    assert lab.index("NotImplementedError") < lab.index("Show a solution") < lab.index("3.14159")
    assert "BEGIN" not in lab
    for part in ("3.0 s", "4.0 s", "77 MB", "Abacus", "A lab"):
        assert part in page, "the status table"


def test_a_lab_is_offered_as_a_clean_notebook_and_as_text(book):
    _, _, lab = book.build()
    assert 'href="98_x.ipynb" download' in lab
    assert 'href="98_x.py"' in lab
    assert "colab" not in lab
    out = book.folder / "out" / "labs"
    handed = nbformat.read(out / "98_x.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in handed.cells)
    assert "3.14159" not in (out / "98_x.ipynb").read_text() + (out / "98_x.py").read_text()
    assert "your turn" in (out / "98_x.py").read_text()
    assert f'href="{pages.WHEEL}" download' in lab
    assert f'pip install "{pages.WHEEL}"' in handed.cells[1].source


def test_with_a_repository_a_page_offers_colab_of_the_published_branch(book):
    options = {"repository_url": "https://github.com/o/r", "repository_branch": "main"}
    (book.folder / "conf.py").write_text(CONF.replace("options = {}", f"options = {options}"))
    _, _, lab = book.build()
    assert "https://colab.research.google.com/github/o/r/blob/gh-pages/labs/98_x.ipynb" in lab
    assert "https://github.com/o/r/blob/main/labs/98_x.py" in lab
    handed = nbformat.read(book.folder / "out/labs/98_x.ipynb", as_version=4)
    wheel = f"slmkit @ https://github.com/o/r/raw/gh-pages/labs/{pages.WHEEL}"
    assert f'pip install "{wheel}"' in handed.cells[1].source
    assert f'"google.colab" in sys.modules:\n    %pip install -q "{wheel}"' in handed.cells[2].source


def test_a_download_names_the_extra_that_its_lab_needs_and_marks_what_waits(tmp_path):
    for lab in source.labs(["00", "07"]):
        pages.write_reader_copy(lab, tmp_path / lab.stem)
        handed = nbformat.read(tmp_path / f"{lab.stem}.ipynb", as_version=4)
        extra = "[data]" if lab.name.startswith("07") else ""
        assert f'pip install "{pages.WHEEL}{extra}"' in handed.cells[1].source
        assert "raises-exception" in str(handed.cells)
        assert not any("google.colab" in cell.source for cell in handed.cells), "the site is published nowhere"
        assert "raises-exception" not in (tmp_path / f"{lab.stem}.py").read_text(), "a script stops anyway"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lab = 1", "lab = 2", "its cells differ from the lab's source; run: make lab LAB=98 PROFILE=smoke"),
        ("Why?", "How?", "its cells differ from the lab's source"),
    ],
)
def test_a_cell_that_changed_after_the_run_is_a_warning(book, old, new, message):
    book.lab.write_text(LAB.replace(old, new))
    warnings, _, lab = book.build()
    assert message in warnings
    assert "it said so" not in lab


def test_a_change_of_slmkit_after_the_run_is_a_warning(book, monkeypatch):
    monkeypatch.setattr(source, "_package_digest", lambda number: "another")
    assert "slmkit, a library or the profile has changed" in book.build()[0]


def test_a_lab_that_did_not_run_is_a_warning(book, monkeypatch):
    monkeypatch.setenv("SLMKIT_PROFILE", "full")
    assert "it has not run in the full profile" in book.build()[0]


def test_a_figure_of_a_lab_without_alt_text_is_a_warning(book):
    book.lab.write_text(LAB.replace(' mystnb={"image": {"alt": "A rising line."}}', ""))
    book.execute()
    assert "cell 3 draws a figure without alt text" in book.build()[0]


def test_facts_come_from_code_and_must_be_there(book, monkeypatch):
    monkeypatch.setitem(facts.FACTS, "test.right", lambda: "fifty-seven")
    monkeypatch.setitem(facts.FACTS, "test.gone", Path("no/such/file").read_text)
    book.page = "# A page\n\nThere are {fact}`test.right`.\n"
    warnings, page, _ = book.build()
    assert warnings == ""
    assert "There are fifty-seven." in page
    book.page = "# A page\n\n{fact}`test.gone` and {fact}`test.unknown`\n"
    warnings = book.build()[0]
    assert "fact test.gone: FileNotFoundError" in warnings
    assert "fact test.unknown: slmkit/course/facts.py has no such name" in warnings


def test_figures_are_drawn_and_must_have_alt_text_and_caption(book, monkeypatch):
    def line():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2])
        return figure

    monkeypatch.setitem(figures.FIGURES, "test.line", line)
    book.page = "# A page\n\n```{drawn} test.line\n:alt: It rises.\n\nA *line*.\n```\n"
    warnings, page, _ = book.build()
    assert warnings == ""
    assert '<img width="614" height="365" alt="It rises." src="_images/test.line.svg"' in page  # 6.4 by 3.8 inches
    assert "<em>line</em>" in page
    first = (book.folder / "out" / "_images" / "test.line.svg").read_bytes()
    assert first == sphinx_ext.draw("test.line").read_bytes(), "the same file each time"
    book.page = (
        "# A page\n\n```{drawn} test.line\n\nNo alt.\n```\n\n```{drawn} test.line\n:alt: No caption.\n```\n\n"
        "```{drawn} test.none\n:alt: x\n\nNot there.\n```\n"
    )
    warnings = book.build()[0]
    for message in ("has no :alt: text", "has no caption", "test.none is not in slmkit/course/figures.py"):
        assert message in warnings


def test_mathjax_is_served_from_the_site(book):
    _, page, _ = book.build()
    assert "_static/mathjax/startup.js" in page
    assert "https://" not in page.split("</head>")[0]
    folder = book.folder / "out" / "_static" / "mathjax"
    for part in ("core", "input/tex", "output/chtml", "output/chtml/fonts/tex"):
        assert (folder / f"{part}.js").is_file()
    assert list(folder.glob("output/chtml/fonts/woff-v2/*.woff"))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2e6
