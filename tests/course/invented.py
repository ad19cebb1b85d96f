"""Invented submissions of a lab, made of what students get, and the exercises that each has solved.

A kind is a student's name. tools/nbgrader_table.py and test_nbgrader.py hand them in to both graders.
"""

import ast
import copy
from pathlib import Path

import nbformat

from slmkit.course.source import with_solutions, without_solutions

WRONG = "def {name}(*given, **options):\n    return 0.5"
ENDLESS = "def {name}(*given, **options):\n    while True:\n        pass"
HOG = "def {name}(*given, **options):\n    held = []\n    while True:\n        held.append(bytearray(2**26))"


class Copies:
    """What a lab's students got, from the folder that `make assignments` wrote, and how they hand it in."""

    def __init__(self, assignments: Path, lab: str):
        self.lab, self.assignments = lab, assignments
        self.released = nbformat.read(assignments / "release" / lab / f"{lab}.ipynb", as_version=4)
        source = nbformat.read(assignments / "source" / lab / f"{lab}.ipynb", as_version=4)
        self.solved = {cell.metadata.nbgrader.grade_id: cell.source for cell in source.cells if _is(cell, "solution")}
        calls = [ast.parse(cell.source).body[-1].value for cell in self.released.cells if _is(cell, "grade")]
        self.exercises = {call.args[1].id: call.args[0].value for call in calls}

    def hand_in(self, kind: str) -> list[str]:
        """Writes submitted/KIND/LAB/LAB.ipynb and says which exercises deserve their point."""
        notebook, solved = KINDS[kind](self)
        path = self.assignments / "submitted" / kind / self.lab / f"{self.lab}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return [name for function, name in self.exercises.items() if function in solved]

    def answered(self, changed: dict[str, str | None]):
        """A copy in which every function is right but these: another text in its place, or the stub for None."""
        notebook = copy.deepcopy(self.released)
        for cell in notebook.cells:
            if _is(cell, "solution"):
                cell.source = self._answer(self.solved[cell.metadata.nbgrader.grade_id], changed)
        return notebook, set(self.exercises) - set(changed)

    def _answer(self, source: str, changed: dict[str, str | None]) -> str:
        right, stubs = with_solutions(source), _functions(without_solutions(source))
        for name, text in _functions(right).items():
            if name in changed:
                right = right.replace(text, (changed[name] or stubs[name]).format(name=name))
        return right

    @property
    def victim(self) -> str:
        """The exercise that goes wrong: the second, which in some labs later ones build on."""
        return list(self.exercises)[1]


def perfect(copies):
    return copies.answered({})


def partial(copies):
    """Wrong, right, a stub, and so on."""
    changed = {name: WRONG if i % 3 == 0 else None for i, name in enumerate(copies.exercises) if i % 3 != 1}
    return copies.answered(changed)


def endless_loop(copies):
    return copies.answered({copies.victim: ENDLESS})


def memory_hog(copies):
    return copies.answered({copies.victim: HOG})


def deleted_cell(copies):
    """One answer is gone, with its tests, and the test of another answer, which is right."""
    notebook, solved = copies.answered({})
    lost = set(_functions(next(cell.source for cell in notebook.cells if _is(cell, "solution"))))
    gone = {*lost, list(copies.exercises)[-1]}
    notebook.cells = [cell for cell in notebook.cells if not (_is(cell, "grade") and _tested(cell) in gone)]
    notebook.cells = [
        cell for cell in notebook.cells if not (_is(cell, "solution") and lost & set(_functions(cell.source)))
    ]
    return notebook, solved - lost


def duplicated_id(copies):
    """Each answer stands twice, an earlier attempt first, and the first test three times."""
    notebook, solved = copies.answered({})
    cells = []
    for cell in notebook.cells:
        if _is(cell, "solution"):
            earlier = _copied(cell)
            earlier.source = "\n\n\n".join(WRONG.format(name=name) for name in _functions(cell.source))
            cells += [earlier]
        cells += [cell]
    i, test = next((i, cell) for i, cell in enumerate(cells) if _is(cell, "grade"))
    cells[i:i] = [_copied(test), _copied(test)]
    notebook.cells = cells
    return notebook, solved


def edited_test(copies):
    """A wrong answer whose test always passes and promises more points, and a `check` that says yes."""
    notebook, solved = copies.answered({copies.victim: WRONG})
    for cell in notebook.cells:
        if _is(cell, "grade") and _tested(cell) == copies.victim:
            cell.source = 'print("passed")'
            cell.metadata.nbgrader.points = 100
    first = next(i for i, cell in enumerate(notebook.cells) if _is(cell, "solution"))
    notebook.cells.insert(first, nbformat.v4.new_code_cell("def check(*given):\n    pass"))
    return notebook, solved


BROKEN = {kind.__name__: kind for kind in (endless_loop, memory_hog, deleted_cell, duplicated_id, edited_test)}
KINDS = {"perfect": perfect, "partial": partial, **BROKEN}


def _copied(cell):
    return nbformat.v4.new_code_cell(cell.source, metadata=copy.deepcopy(cell.metadata))


def _is(cell, role: str) -> bool:
    return cell.metadata.get("nbgrader", {}).get(role, False)


def _tested(cell) -> str:
    return ast.parse(cell.source).body[-1].value.args[1].id


def _functions(source: str) -> dict[str, str]:
    """The texts of a cell's functions, by name."""
    return {node.name: ast.get_source_segment(source, node) for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef)}  # fmt: skip
