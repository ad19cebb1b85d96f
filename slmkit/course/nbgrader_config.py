"""nbgrader's settings for the course. `make assignments` puts this file beside the notebooks, where nbgrader reads it.

It stands alone: nbgrader lives in an environment of its own, without slmkit. Only notebooks run in the environment that
made the assignments, by kernels/python3/kernel.json, which also limits what a whole notebook may use.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearOutput,
    NbGraderPreprocessor,
    OverwriteCells,
    OverwriteKernelspec,
)

HERE = Path(__file__).resolve().parent
# By the clock. An exercise has limits of its own (sandbox.py), and the kernel one on memory (kernel.json).
CELL_SECONDS, NOTEBOOK_SECONDS = 120, 900


class MendCells(NbGraderPreprocessor):
    """Answers and tests of a submission as the source marks them: each once, and every test there.

    nbgrader's own DeduplicateIds leaves marks that its next step takes for those of an old version, upon which it stops
    for the whole class. Its OverwriteCells.add_missing_cells fails where the cell before a lost test is lost as well.
    """

    began = 0.0

    def preprocess(self, nb, resources):
        MendCells.began = time.monotonic()
        about = resources["nbgrader"]
        source = nbformat.read(HERE / "source" / about["assignment"] / f"{about['notebook']}.ipynb", as_version=4)
        marked = {name: cell for cell in source.cells if (name := grade_id(cell))}
        there = {}
        for cell in reversed(nb.cells):  # of copies, the last one counts
            name = grade_id(cell)
            if name in marked and name not in there:
                there[name] = cell
                cell.metadata.nbgrader = marked[name].metadata.nbgrader
            elif cell.metadata.pop("nbgrader", None) is not None:
                self.log.warning("The mark %r stands on a cell too many; the last one counts", name)
        behind = None
        for name, cell in reversed(marked.items()):
            if name in there:
                behind = there[name]
                continue
            self.log.warning("The cell %r is missing", name)
            if cell.metadata.nbgrader.grade:
                nb.cells.insert(nb.cells.index(behind) if behind else len(nb.cells), cell)
                behind = cell
        return nb, resources


def seconds_left(cell) -> int:
    """For a cell, so that a notebook ends even if each cell runs into the limit. 0 would mean no limit."""
    return max(1, min(CELL_SECONDS, int(MendCells.began + NOTEBOOK_SECONDS - time.monotonic())))


def grade_id(cell) -> str | None:
    mark = cell.metadata.get("nbgrader")
    return mark.get("grade_id") if isinstance(mark, dict) else None


def put_first(variable: str, folder: Path):
    os.environ[variable] = os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


put_first("JUPYTER_PATH", HERE)  # for the kernel
put_first("PATH", Path(sys.executable).parent)  # nbgrader calls `alembic`, which was installed with it

c = get_config()  # noqa: F821, which is there when nbgrader reads this file
c.CourseDirectory.course_id = "slmkit"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your turn")'}
c.Execute.timeout_func = seconds_left
c.Autograde.sanitize_preprocessors = [ClearOutput, MendCells, OverwriteKernelspec, OverwriteCells, CheckCellMetadata]
