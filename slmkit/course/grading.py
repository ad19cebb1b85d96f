"""Grades a notebook: of a submission only the exercises' cells run, and the course's own checks judge them.

So it does not matter what became of the rest: edited tests, lost metadata, cells that are there twice. Each exercise
runs in a process of its own (sandbox.py). Where one was not solved, later ones work with our solution of it.
"""

import ast
import json
import linecache
import re
from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from slmkit.course import sandbox
from slmkit.course.checking import ExerciseError, check, raised
from slmkit.course.source import code_cells, labs, without_solutions

NOTEBOOK_BYTES = 20_000_000
SAID = 500  # characters of feedback on one exercise
SOLUTION = "### BEGIN SOLUTION"
NOTEBOOK_LIMITS = sandbox.Limits()  # of an exercise where nbgrader runs the notebook


class Graded(NamedTuple):
    """What became of one exercise; `said` is empty when it passed."""

    exercise: str  # such as "02/merge"
    passed: bool
    said: str


class Key:
    """What the submissions of one lab are graded with: what is asked, our solutions, and the lab's own definitions."""

    def __init__(self, lab: Path):
        cells = code_cells(lab.read_text(encoding="utf-8"))
        self.lab = lab
        self.exercises = exercises(cells)
        self.ours = definitions(cells)
        self.names = definitions([without_solutions(cell) for cell in cells])
        import_module(f"slmkit.course.exercises.lab_{lab.name[:2]}")  # once here, and not in each process

    def places(self, cells: list[str]) -> dict[str, list[int]]:
        """For each function asked for, which of these cells define it; those that Python cannot read included."""
        found = {}
        for i, cell in enumerate(cells):
            for function in self.exercises.values():
                if re.search(rf"^(?:(?:def|class) +{function}\b|{function} *=(?!=))", cell, flags=re.M):
                    found.setdefault(function, []).append(i)
        return found


def exercises(cells: list[str]) -> dict[str, str]:
    """The exercises of a lab's code cells in their order, with the name of the function that each asks for."""
    nodes = [node for cell in cells for node in ast.parse(cell).body]
    calls = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return {call.args[0].value: call.args[1].id for call in calls if getattr(call.func, "id", None) == "check"}


def definitions(cells: list[str]) -> dict:
    """What a lab's imports, functions, classes and exercise cells define, without running the rest of it."""
    names = {"__name__": "__main__"}
    for cell in cells:
        exec(cell if SOLUTION in cell else _defining(cell), names)
    return names


def _defining(cell: str) -> str:
    kept, tree = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef, ast.parse(cell)
    tree.body = [node for node in tree.body if isinstance(node, kept)]
    return ast.unparse(tree)


def read_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells. Raises ValueError, in words for the student, when it is none."""
    if not path.is_file():
        raise ValueError("that is not a file")
    if path.stat().st_size > NOTEBOOK_BYTES:
        raise ValueError(
            f"the file has more than {NOTEBOOK_BYTES / 1e6:.0f} MB; clear the outputs and hand it in again"
        )
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError("the file cannot be read as a notebook: it is no JSON, or a part of it is missing") from None
    try:
        return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except (KeyError, TypeError):
        raise ValueError("the file is JSON, but not a notebook with cells") from None


def grade(cells: list[str], key: Key, limits: sandbox.Limits) -> list[Graded]:
    """The exercises of a lab in their order, one point each. `cells`: the sources of a submission's code cells."""
    places, done = key.places(cells), []
    for name, function in key.exercises.items():
        passed = [key.exercises[one.exercise] for one in done if one.passed]
        failed = [key.exercises[one.exercise] for one in done if not one.passed]
        if function not in places:
            said = f"no cell of the notebook defines `{function}`"
        else:
            run = {i: cells[i] for i in sorted({places[other][-1] for other in (*passed, function)})}
            try:
                said = sandbox.run(partial(_attempt, key, run, name, failed), limits, hidden=key.lab.parent)
            except sandbox.Ended as ended:
                said = str(ended)
            if said and len(places[function]) > 1:
                said += f" (`{function}` is defined in {len(places[function])} cells; the last one counts)"
        done.append(Graded(name, not said, " ".join(said.split())[:SAID]))
    return done


def _attempt(key: Key, cells: dict[int, str], name: str, failed: list[str]) -> str:
    """What is wrong with an answer, "" when nothing is. Changes `key.names`, so it must run in a forked process."""
    ours = {function: key.ours[function] for function in failed}

    def answer():
        key.names.update(ours)
        for i, cell in cells.items():
            exec(_compiled(cell, f"code cell {i + 1}"), key.names)
        key.names.update(ours)
        return key.names[key.exercises[name]]

    return _told(name, answer)


def _told(name: str, answer: Callable[[], Any]) -> str:
    try:
        check(name, answer())
    except ExerciseError as error:
        return str(error).removeprefix(f"{name}: ")
    except SyntaxError as error:
        return f"Python cannot read the cell: {error.msg} (line {error.lineno})"
    except Exception as error:
        return raised(error)
    return ""


def _compiled(cell: str, file: str):
    """The cell's code. Its lines are made known, so that feedback can quote them."""
    linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
    try:
        return compile(cell, file, "exec")
    except SyntaxError:
        return compile(re.sub(r"^[%!].*", "", cell, flags=re.M), file, "exec")  # without what only notebooks understand


# -- in a notebook that nbgrader runs ---------------------------------------------------------------------------------


def judge(name: str, names: dict):
    """Checks an exercise's function among `names`, a notebook's, as `grade` does. Raises ExerciseError, one line.

    Our solution then takes the place of what failed, so that one mistake costs one point. The notebook's own `check` is
    put out of action: the answer would run again, without limits, and nbgrader gives no point for a cell that writes
    to stderr.
    """
    key = _key(name.partition("/")[0])
    function = key.exercises[name]
    names["check"] = _nothing
    if function not in names:
        said = f"no cell of the notebook defines `{function}`"
    else:
        try:
            said = sandbox.run(partial(_told, name, lambda: names[function]), NOTEBOOK_LIMITS, hidden=key.lab.parent)
        except sandbox.Ended as ended:
            said = str(ended)
    if said:
        names[function] = key.ours[function]
        raise ExerciseError(f"{name}: {said}")
    print(f"✓ {name}")


@lru_cache
def _key(number: str) -> Key:
    return Key(labs([number])[0])


def _nothing(*given):
    pass
