"""A lab as a page: its text source, with the outputs of its executed notebook laid over it.

There is one copy of a lab, and no committed output. The page is built only when every cell of the executed notebook
equals the source and nothing has changed since; otherwise Sphinx warns, and with -W the build stops.
"""

import os
from html import escape
from importlib import metadata
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util import logging

from slmkit.course import roles, source
from slmkit.course.lab import CARD, card, last_run

logger = logging.getLogger(__name__)
WHEEL = f"slmkit-{metadata.version('slmkit')}-py3-none-any.whl"  # tools/site.sh puts it beside the lab's pages
# The extras of pyproject.toml that a lab needs; tools/fresh_notebooks.py tries them.
EXTRAS = {"07": "data", "08": "data", "09": "data", "12": "evaluation"}
TO_RUN = """**To run this notebook** you need Python {python}, Jupyter, and the package `slmkit`{found}:

    pip install "{install}"

What the notebook makes or fetches, it keeps in the folder `build` beside it. The exercises are open. A cell that needs
an answer which is not written yet ends in an error; the others run all the same."""
COLAB = """import sys

if "google.colab" in sys.modules:
    %pip install -q "{install}\""""
_app: Sphinx | None = None  # myst-nb hands a reader the text alone; the page's name and the options are here


def setup(app: Sphinx):
    global _app
    _app = app
    app.connect("build-finished", publish)


def profile() -> str:
    return os.environ.get("SLMKIT_PROFILE") or "cpu"


def read_page(text: str) -> NotebookNode:
    """The reader for `.py` pages (option nb_custom_formats of myst-nb)."""
    docname = _app.env.docname
    lab = Path(_app.env.doc2path(docname))
    page = source.read(text)
    if problem := _lay_over(page, lab):
        logger.warning("%s: %s; run: make lab LAB=%s PROFILE=%s", lab.name, problem, lab.name[:2], profile(),
                       location=docname, type="slmkit", subtype="lab")  # fmt: skip
    for i, cell in enumerate(page.cells):
        if _draws(cell) and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
            logger.warning('%s: cell %d draws a figure without alt text; give mystnb={"image": {"alt": …}}',
                           lab.name, i, location=docname, type="slmkit", subtype="alt")  # fmt: skip
    page.cells = [shown for cell in page.cells for shown in _shown(cell)]
    _add_links(page, lab.stem)
    page.metadata.pop("slmkit", None)
    return page


def _lay_over(page: NotebookNode, lab: Path) -> str | None:
    """Puts the executed outputs into `page`; says what is wrong when they cannot be trusted."""
    executed = source.executed(lab, profile())
    run = last_run(lab.name[:2], profile())
    if not executed.is_file() or run is None:
        return f"it has not run in the {profile()} profile"
    notebook = nbformat.read(executed, as_version=4)
    if problem := source.problem(notebook, page, source.digest(lab, profile())):
        return problem
    for cell, ran in zip(page.cells, notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = _whole(ran.outputs), ran.execution_count
            for output in cell.outputs:
                if output.get("metadata") == CARD:  # what `start` showed was the run before this one
                    output.update(data=card(lab.name[:2], profile(), run), metadata={})
    return None


def _whole(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without progress bars, and with the pieces joined in which a text came: where it is cut depends on the clock."""
    joined = []
    for output in outputs:
        if _is_progress(output):
            continue
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _is_progress(output: NotebookNode) -> bool:
    """A progress bar rewrites its line again and again; on a page it would stand there in all its states."""
    return output.get("name") == "stderr" and "\r" in output.get("text", "")


def _draws(cell: NotebookNode) -> bool:
    return any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {}))


def _shown(cell: NotebookNode) -> list[NotebookNode]:
    """An exercise becomes two: what the reader starts from, and the solution behind a toggle."""
    if cell.cell_type != "code" or "### BEGIN" not in cell.source:
        return [cell]
    stub = nbformat.v4.new_markdown_cell(
        f"```python\n{source.without_solutions(cell.source)}\n```", id=f"{cell.id}-stub"
    )
    cell.source = source.with_solutions(cell.source)
    cell.metadata.setdefault("tags", []).append("hide-input")
    prompts = {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
    cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | prompts
    return [stub, cell]


def _add_links(page: NotebookNode, name: str):
    """Under the title: the notebook without solutions, Colab where the repository is known, the source."""
    links = [f'<a href="{name}.ipynb" download>Download as notebook</a>',
             f'<a href="{WHEEL}" download>The package for it</a>']  # fmt: skip
    repository, branch, published = repository_of(_app)
    if repository:
        colab = repository.replace("https://github.com/", "https://colab.research.google.com/github/")
        links.append(f'<a href="{escape(colab)}/blob/{published}/labs/{name}.ipynb">Open in Colab</a>')
        links.append(f'<a href="{escape(repository)}/blob/{branch}/labs/{name}.py">Source</a>')
    else:
        links.append(f'<a href="{name}.py">Source</a>')
    first = page.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f'{title}\n\n<p class="lab-links">{" · ".join(links)}</p>\n{rest}'


def repository_of(app: Sphinx) -> tuple[str, str, str]:
    """Address of the repository on GitHub ("" when none is set), its branch, and the branch that the site is on."""
    options = app.config.html_theme_options
    address = (options.get("repository_url") or "").rstrip("/").removesuffix(".git")
    return address, options.get("repository_branch") or "main", app.config.slmkit_published_branch


def publish(app: Sphinx, exception: Exception | None):
    """Writes every lab, without its solutions, as a notebook and as text beside its page."""
    if exception or app.builder.format != "html":
        return
    repository, _, published = repository_of(app)
    wheel = f"{repository}/raw/{published}/labs/{WHEEL}" if repository else ""
    for docname in sorted(app.env.found_docs):
        path = Path(app.env.doc2path(docname))
        if path.suffix == ".py":
            write_reader_copy(path, Path(app.outdir, docname), wheel)


def write_reader_copy(lab: Path, target: Path, wheel: str = ""):
    """`target`.ipynb and `target`.py: the lab to hand out. `wheel` is the address of the package, once it has one."""
    notebook = source.read(lab.read_text(encoding="utf-8"))
    roles.write_out(notebook)
    handed = source.reader_copy(notebook)
    source.mark_waiting(handed)
    extra = f"[{EXTRAS[lab.name[:2]]}]" if lab.name[:2] in EXTRAS else ""
    install = f"slmkit{extra} @ {wheel}" if wheel else f"{WHEEL}{extra}"
    found = "" if wheel else ", which the notebook's page offers as a file"
    needs = metadata.metadata("slmkit")["Requires-Python"].removeprefix(">=") + " or later"
    note = TO_RUN.format(python=needs, found=found, install=install)
    added = [nbformat.v4.new_markdown_cell(note, id="to-run")]
    if wheel:
        added.append(nbformat.v4.new_code_cell(COLAB.format(install=install), id="install"))
    handed.cells[1:1] = added
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(handed, target.with_suffix(".ipynb"))
    target.with_suffix(".py").write_text(
        jupytext.writes(source.reader_copy(notebook), fmt="py:percent"), encoding="utf-8"
    )
