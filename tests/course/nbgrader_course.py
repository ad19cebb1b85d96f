"""A course in nbgrader's hands: its commands run on what `make assignments` writes, and the points that it gave."""

import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from invented import Copies

from slmkit.course import assignments
from slmkit.course.sandbox import Limits
from slmkit.course.source import labs
from slmkit.course.submissions import Result, grade_folder
from slmkit.paths import root

NBGRADER = root() / ".venv" / "grading" / "bin" / "nbgrader"
POINTS = """
    select submitted_assignment.student_id, base_cell.name, coalesce(grade.manual_score, grade.auto_score)
    from grade
    join base_cell on base_cell.id = grade.cell_id
    join submitted_notebook on submitted_notebook.id = grade.notebook_id
    join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
    join assignment on assignment.id = submitted_assignment.assignment_id
    where assignment.name = ?
"""


class Course:
    """In `folder`, of some labs by number. `said` holds what the last command wrote."""

    def __init__(self, folder: Path, numbers: list[str]):
        self.folder, self.labs, self.said = folder, labs(numbers), ""
        assignments.write(folder, self.labs)

    def nbgrader(self, *words: str) -> int:
        """Runs one of nbgrader's commands in the course's folder and gives its exit code."""
        done = subprocess.run([NBGRADER, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        self.said = done.stdout + done.stderr
        return done.returncode

    def hand_in(self, lab: str, kinds: list[str]) -> dict[str, list[str]]:
        """Invents a submission of each kind; the exercises that deserve a point, by kind."""
        copies = Copies(self.folder, lab)
        return {kind: copies.hand_in(kind) for kind in kinds}

    def gradebook(self, lab: str) -> dict[str, list[str]]:
        """The exercises that have their point in nbgrader's database, by student."""
        with closing(sqlite3.connect(self.folder / "gradebook.db")) as database:
            rows = database.execute(POINTS, (lab,)).fetchall()
        asked = [f"{lab[:2]}-check-{name.partition('/')[2]}" for name in Copies(self.folder, lab).exercises.values()]
        given = {student: {cell for who, cell, score in rows if who == student and score == 1} for student, *_ in rows}
        return {student: [cell.replace("-check-", "/") for cell in asked if cell in cells]
                for student, cells in given.items()}  # fmt: skip

    def feedback(self, lab: str, student: str) -> int:
        """The points on the page of feedback: of its head, which must be the sum of those of its cells."""
        page = (self.folder / "feedback" / student / lab / f"{lab}.html").read_text(encoding="utf-8")
        whole, *cells = [float(score) for score in re.findall(r"\(Score: ([\d.]+) / [\d.]+\)", page)]
        assert whole == sum(cells), f"{student}, {lab}: the page says {whole} and {cells}"
        return int(whole)

    def graded_by_slmkit(self, lab: str) -> dict[str, Result]:
        """What `slmkit grade` gives for the same folder of submissions, by student."""
        results = grade_folder(self.folder / "submitted", self.folder / "graded", Limits(), lab[:2])
        return {result.student: result for result in results}
