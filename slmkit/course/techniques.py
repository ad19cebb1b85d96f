"""The page on techniques since: {technique-table} group, a directive, what each claims and how it was measured."""

from functools import cache

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.survey.tables import rows

HEAD = ("| technique | idea | the survey's figure | its own paper | measured |", "|---|---|---|---|---|")


@cache
def groups() -> dict[str, list[dict[str, str]]]:
    """The rows of slmkit/survey/techniques.csv by group."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows("techniques"):
        found.setdefault(row["group"], []).append(row)
    return found


class TechniqueTable(SphinxDirective):
    """The techniques of one group as a table."""

    required_arguments = 1

    def run(self):
        lines = list(HEAD)
        for row in groups()[self.arguments[0]]:
            lines.append(f"| {row['name']} {{cite}}`{row['key']}` | {row['idea']} | {row['survey']} | {row['paper']} | "
                         f"{row['measured']} |")  # fmt: skip
        found = nodes.Element()
        self.state.nested_parse(StringList(lines), 0, found)
        return found.children


def setup(app: Sphinx):
    app.add_directive("technique-table", TechniqueTable)
