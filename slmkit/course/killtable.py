"""The page on grading: directives for its two tables.

{kill-table}: how the checks of every exercise judged answers of known worth. tools/kill_table.py writes it; tests/labs
hold every answer that it counts. {grader-table}: the points that nbgrader and `slmkit grade` gave to invented
submissions. tools/nbgrader_table.py writes it.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from slmkit.course.assignments import KERNEL_MIB
from slmkit.course.sandbox import Limits
from slmkit.paths import root

TABLE = root() / "book" / "records" / "grading" / "kill_table.csv"
COLUMNS = ("exercise", "wrong", "refused", "right", "accepted")
GRADERS = TABLE.with_name("graders.csv")
# Exercises of the lab, those that the submission solved, and the points by nbgrader's gradebook, its page of feedback,
# and `slmkit grade`.
GRADERS_COLUMNS = ("lab", "submission", "exercises", "solved", "nbgrader", "feedback", "slmkit")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judged() -> list[dict[str, str]]:
    """A row an exercise."""
    return read(TABLE)


def _rightly(*graders: str) -> str:
    return str(sum(all(row[name] == row["solved"] for name in graders) for row in read(GRADERS)))


def _sum(column: str, less: str = "") -> str:
    return f"{sum(int(row[column]) - int(row[less] if less else 0) for row in judged()):,}"


def _least(column: str) -> str:
    return str(min(int(row[column]) for row in judged()))


def _limit(place: int) -> str:
    """Seconds by the clock that nbgrader's settings grant a cell and a notebook; only nbgrader can import them."""
    text = Path(__file__).with_name("nbgrader_config.py").read_text(encoding="utf-8")
    return re.search(r"^CELL_SECONDS, NOTEBOOK_SECONDS = (\d+), (\d+)$", text, flags=re.M)[place]


FACTS: dict[str, Callable[[], str]] = {
    "grading.exercises": lambda: str(len(judged())),
    "grading.wrong": lambda: _sum("wrong"),
    "grading.right": lambda: _sum("right"),
    "grading.least_wrong": lambda: _least("wrong"),
    "grading.least_right": lambda: _least("right"),
    "grading.false_positives": lambda: _sum("wrong", "refused"),
    "grading.false_negatives": lambda: _sum("right", "accepted"),
    "grading.seconds": lambda: str(Limits().seconds),
    "grading.mebibytes": lambda: str(Limits().megabytes),
    "grading.cell_seconds": lambda: _limit(1),
    "grading.notebook_minutes": lambda: str(int(_limit(2)) // 60),
    "grading.kernel_gibibytes": lambda: str(KERNEL_MIB // 1024),
    "grading.submissions": lambda: str(len(read(GRADERS))),
    "grading.labs": lambda: str(len({row["lab"] for row in read(GRADERS)})),
    "grading.by_nbgrader": lambda: _rightly("nbgrader", "feedback"),
    "grading.by_slmkit": lambda: _rightly("slmkit"),
}


class KillTable(SphinxDirective):
    def run(self):
        return _table("Answers tried on the check of each exercise.", COLUMNS, judged())


class GraderTable(SphinxDirective):
    def run(self):
        caption = "Points of invented submissions: those deserved, and those that the graders gave."
        return _table(caption, GRADERS_COLUMNS, read(GRADERS))


def _table(caption: str, columns: tuple[str, ...], rows: list[dict[str, str]]) -> list[nodes.Node]:
    heads = "".join(f'<th scope="col">{head}</th>' for head in columns)
    body = "\n".join(
        f'<tr><th scope="row">{row[columns[0]]}</th>{"".join(f"<td>{row[name]}</td>" for name in columns[1:])}</tr>'
        for row in rows
    )
    table = (
        f'<div class="slm-scroll"><table class="table">\n<caption>{caption}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
    return [nodes.raw("", table, format="html")]


def setup(app: Sphinx):
    app.add_directive("kill-table", KillTable)
    app.add_directive("grader-table", GraderTable)
