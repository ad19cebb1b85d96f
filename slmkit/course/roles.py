"""What the site's roles say, in plain Markdown: a notebook is read in Jupyter, which knows no {cite} or {fact}."""

import re
from functools import cache

from nbformat import NotebookNode
from pybtex.database import Entry, parse_file

from slmkit.paths import root

ROLE = re.compile(r"\{(cite|doc|fact)\}`([^`]+)`")


def write_out(notebook: NotebookNode):
    """Puts words in the place of every role in the notebook's text."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = ROLE.sub(_words, cell.source)


def _words(role: re.Match) -> str:
    kind, text = role.groups()
    if kind == "cite":
        return f"({'; '.join(_cited(_entries()[key.strip()]) for key in text.split(','))})"
    if kind == "doc":
        return text.partition(" <")[0]
    from slmkit.course.facts import FACTS  # facts are told of assignments too, which write roles out

    return FACTS[text]()


def _cited(entry: Entry) -> str:
    """Authors and year, as the site has them, with the work's address."""
    names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
    who = who.replace(" and others", " et al.")
    words, url = f"{who} {entry.fields['year']}".replace("{", "").replace("}", ""), entry.fields.get("url")
    return f"[{words}]({url})" if url else words


@cache
def _entries() -> dict[str, Entry]:
    return parse_file(root() / "book" / "references.bib").entries
