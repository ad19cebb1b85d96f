"""A few pages built by Sphinx alone, for tests of what the book adds to it."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils


def build(folder: Path, files: Mapping[str, str], page: str = "index") -> tuple[str, str]:
    """The HTML of a page, and the warnings of the build of `files`, name -> text, conf.py among them."""
    warnings = StringIO()
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with patch_docutils(folder), docutils_namespace():
        app = Sphinx(folder, folder, folder / "out", folder / "trees", "html", status=StringIO(), warning=warnings)
        app.build(force_all=True)
    return (folder / "out" / f"{page}.html").read_text(), warnings.getvalue()
