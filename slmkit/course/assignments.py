"""`python -m slmkit.course.assignments`: every lab as an assignment, in build/assignments, in nbgrader's course layout.

`source/LAB/LAB.ipynb` keeps solutions and hidden tests and is for the instructor; `release/LAB/LAB.ipynb` has neither
and is for students. Each exercise is one point: its tests stand in a cell of their own, which nbgrader locks.
"""

import ast
import re

import nbformat
from nbformat import NotebookNode

from slmkit.course import source
from slmkit.paths import build_folder

# Behind each check, for the instructor alone: a notebook may have put something else in the place of `check`.
HIDDEN = """
### BEGIN HIDDEN TESTS
from slmkit.course.checking import check as own_check

own_check{given}
### END HIDDEN TESTS"""
SOLVED = re.compile(r"^(?:def|class) (\w+)[^\n]*\n(?:    [^\n]*\n|\n)*?    ### BEGIN SOLUTION", flags=re.M)


def main():
    folder = build_folder() / "assignments"
    for lab in source.labs():
        kept = with_tests(source.read(lab.read_text(encoding="utf-8")), lab.name[:2])
        for version, notebook in (("source", kept), ("release", source.reader_copy(kept))):
            path = folder / version / lab.stem / f"{lab.stem}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, path)
        print(f"{lab.stem}: in {folder}/source and {folder}/release")


def with_tests(lab: NotebookNode, number: str) -> NotebookNode:
    """A lab as nbgrader's source version: cells for answers, cells for tests with hidden ones, metadata of both."""
    lab.cells = [part for cell in lab.cells for part in _parts(cell)]
    for i, cell in enumerate(lab.cells):
        cell["id"] = f"cell-{i}"
        if cell.cell_type != "code":
            continue
        if given := _checked(cell.source):
            cell.metadata["nbgrader"] = _graded(f"{number}-check-{given[0].partition('/')[2]}", points=1)
            cell.source += HIDDEN.format(given='("{}", {})'.format(*given))
        elif names := SOLVED.findall(cell.source):
            cell.metadata["nbgrader"] = _graded(f"{number}-answer-{'-'.join(names)}")
    return lab


def _graded(grade_id: str, points: int = 0) -> dict:
    """nbgrader's metadata of a cell, schema version 3: a locked test that gives points, or an answer."""
    kind = {"grade": points > 0, "locked": points > 0, "solution": points == 0, "task": False}
    return kind | {"grade_id": grade_id, "schema_version": 3} | ({"points": points} if points else {})


def _checked(cell: str) -> tuple[str, str] | None:
    """The exercise and the function of a cell that is one call of `check`, and nothing else."""
    body = ast.parse(cell).body
    call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "check":
        return call.args[0].value, call.args[1].id
    return None


def _parts(cell: NotebookNode) -> list[NotebookNode]:
    """The cell cut before and behind each call of `check`."""
    if cell.cell_type != "code":
        return [cell]
    lines, parts, start = cell.source.splitlines(), [], 0
    for node in ast.parse(cell.source).body:
        if _checked(ast.unparse(node)):
            parts += [lines[start : node.lineno - 1], lines[node.lineno - 1 : node.end_lineno]]
            start = node.end_lineno
    texts = ["\n".join(part).strip("\n") for part in [*parts, lines[start:]]]
    return [NotebookNode(cell | {"source": text, "metadata": NotebookNode(cell.metadata)}) for text in texts if text]


if __name__ == "__main__":
    main()
