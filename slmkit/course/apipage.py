"""The API page is Sphinx's autodoc; here its docstrings are mended, which have `code` as Markdown has it."""

import re

from sphinx.application import Sphinx


def as_rst(text: str) -> str:
    """A docstring with its code spans in the form that reStructuredText asks for, and everything else literal."""
    parts = re.split(r"`([^`]+)`", text)  # text and code in turn
    parts[0::2] = [re.sub(r"([\\*_|`])", r"\\\1", part) for part in parts[0::2]]
    parts[1::2] = [f"\\ ``{code}``\\ " for code in parts[1::2]]  # the escaped blanks vanish; letters may follow
    return "".join(parts)


def mend(app: Sphinx, what: str, name: str, obj, options, lines: list[str]):
    """Changes the lines of one docstring in place. A code span may go on in the next line."""
    lines[:] = as_rst("\n".join(lines)).split("\n")


def setup(app: Sphinx):
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", mend)
