"""The page on grading: {kill-table}, a directive, how the checks of every exercise judged answers of known worth.

tools/kill_table.py writes the table; tests/labs hold every answer that it counts.
"""

import csv
from collections.abc import Callable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.paths import root

TABLE = root() / "book" / "records" / "grading" / "kill_table.csv"
COLUMNS = ("exercise", "wrong", "refused", "right", "accepted")


def judged() -> list[dict[str, str]]:
    """A row an exercise."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _sum(column: str, less: str = "") -> str:
    return f"{sum(int(row[column]) - int(row[less] if less else 0) for row in judged()):,}"


def _least(column: str) -> str:
    return str(min(int(row[column]) for row in judged()))


FACTS: dict[str, Callable[[], str]] = {
    "grading.exercises": lambda: str(len(judged())),
    "grading.wrong": lambda: _sum("wrong"),
    "grading.right": lambda: _sum("right"),
    "grading.least_wrong": lambda: _least("wrong"),
    "grading.least_right": lambda: _least("right"),
    "grading.false_positives": lambda: _sum("wrong", "refused"),
    "grading.false_negatives": lambda: _sum("right", "accepted"),
}


class KillTable(SphinxDirective):
    def run(self):
        heads = "".join(f'<th scope="col">{head}</th>' for head in COLUMNS)
        body = "\n".join(
            f'<tr><th scope="row">{row["exercise"]}</th>{"".join(f"<td>{row[name]}</td>" for name in COLUMNS[1:])}</tr>'
            for row in judged()
        )
        table = (
            '<div class="slm-scroll"><table class="table">\n'
            "<caption>Answers tried on the check of each exercise.</caption>\n"
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )
        return [nodes.raw("", table, format="html")]


def setup(app: Sphinx):
    app.add_directive("kill-table", KillTable)
