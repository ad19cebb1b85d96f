"""A lab's one editable copy: reading it as a notebook, taking its solutions out, and telling when it has changed."""

import ast
import copy
import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from slmkit.course import machine
from slmkit.course.checking import STUB
from slmkit.paths import build_folder, root

BEGIN, END = (
    re.compile(r"\s*### BEGIN (SOLUTION|HIDDEN TESTS)\s*"),
    re.compile(r"\s*### END (SOLUTION|HIDDEN TESTS)\s*"),
)

# Builds pages or answers commands, but takes no part in what a lab computes: a change here makes no lab run again.
# Checkers of other labs do not count either.
PAGES = ("apipage", "assignments", "build", "facts", "figures", "glossary", "grading", "icons", "images",
         "killtable", "labclaims", "nbgrader_config", "pages", "progress", "publishing", "roles", "sandbox", "source",
         "sphinx_ext", "submissions", "teaching")  # fmt: skip
NOT_RUN_BY_LABS = {f"course/{name}.py" for name in PAGES}
NOT_RUN_BY_LABS |= {"cli.py", "commands.py", "textcommands.py", "doctor.py", "bench.py"}


def labs(numbers: list[str] | None = None) -> list[Path]:
    """The labs in order, or those of the given numbers. Raises ValueError on a number that no lab has."""
    found = {path.name[:2]: path for path in sorted((root() / "labs").glob("[0-9][0-9]_*.py"))}
    for number in numbers or ():
        if number not in found:
            raise ValueError(f"there is no lab {number!r}; the labs are {', '.join(found)}")
    return [found[number] for number in (numbers or found)]


def read(text: str) -> NotebookNode:
    """A percent-format lab as a notebook without outputs; cell ids depend on nothing but the order."""
    notebook = jupytext.reads(text, fmt="py:percent")
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"
    notebook.metadata.pop("jupytext", None)
    notebook.metadata.setdefault("kernelspec", {"display_name": "Python 3", "language": "python", "name": "python3"})
    return notebook


def code_cells(text: str) -> list[str]:
    """The sources of a lab's code cells."""
    return [cell.source for cell in read(text).cells if cell.cell_type == "code"]


def without_solutions(source: str) -> str:
    """A cell as the reader gets it: each solution becomes one line that raises, hidden tests go."""
    return _cut(source, lambda indent, solution: [f'{indent}raise NotImplementedError("{STUB}")'])


def with_solutions(source: str) -> str:
    """A cell as the page shows it: the solution without its markers, hidden tests go."""
    return _cut(source, lambda indent, solution: solution)


def _cut(source: str, replace: Callable[[str, list[str]], list[str]]) -> str:
    kept, inside, held, indent = [], None, [], ""
    for line in source.splitlines():
        begin, end = BEGIN.fullmatch(line), END.fullmatch(line)
        if begin and not inside:
            inside, held, indent = begin[1], [], line[: len(line) - len(line.lstrip())]
        elif end and inside == end[1]:
            kept += replace(indent, held) if inside == "SOLUTION" else []
            inside = None
        elif begin or end:
            raise ValueError(f"{line.strip()!r} has no partner; solutions are marked by a pair and do not nest")
        else:
            (held if inside else kept).append(line)
    if inside:
        raise ValueError(f"### BEGIN {inside} is never closed by ### END {inside}")
    return "\n".join(kept)


def reader_copy(notebook: NotebookNode) -> NotebookNode:
    """The notebook to hand out: no solutions, no outputs."""
    handed = copy.deepcopy(notebook)
    for cell in handed.cells:
        if cell.cell_type == "code":
            cell.update(source=without_solutions(cell.source), outputs=[], execution_count=None)
    handed.metadata = NotebookNode(kernelspec=notebook.metadata.kernelspec)
    return handed


def mark_waiting(handed: NotebookNode):
    """Tags, in a notebook without solutions, the cells that cannot run before an answer is written.

    A stub raises, and with it every cell that uses it or what such a cell was to define. Jupyter goes on behind a cell
    with this tag, so that all the rest runs while exercises are open.
    """
    unknown = set()  # names that stand for an answer, or for what is made of one
    for cell in handed.cells:
        if cell.cell_type == "code" and _waits(cell.source, unknown):
            cell.metadata.setdefault("tags", []).append("raises-exception")


def _waits(cell: str, unknown: set[str]) -> bool:
    """Whether the cell stops at a name of `unknown`; brings `unknown` to what it is behind the cell."""
    stopped = False
    for statement in ast.parse(cell).body:
        parts = list(ast.walk(statement))
        names = [node for node in parts if isinstance(node, ast.Name)]
        own = {node.arg for node in parts if isinstance(node, ast.arg)}
        own |= {name.id for node in parts if isinstance(node, ast.For | ast.comprehension)
                for name in ast.walk(node.target) if isinstance(name, ast.Name)}  # fmt: skip
        open_ = any(name.id in unknown - own for name in names if isinstance(name.ctx, ast.Load))
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):  # stops nothing until it is called
            open_ |= stopped or STUB in ast.unparse(statement)
            defined = {statement.name}
        else:
            open_ = stopped = stopped or open_
            defined = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        if stopped:  # what was to be put into a table or an object is missing there
            stores = [node for node in parts if isinstance(getattr(node, "ctx", None), ast.Store)]
            loops = [node.iter for node in parts if isinstance(node, ast.For)]
            changed = [*stores, *loops] if any(isinstance(node, ast.Subscript) for node in stores) else stores
            defined |= {name.id for node in changed for name in ast.walk(node) if isinstance(name, ast.Name)}
        (unknown.update if open_ else unknown.difference_update)(defined)
    return stopped


def executed(lab: Path, profile: str) -> Path:
    """Where the executed notebook of a lab lies; its measurements are beside it, in NN.json."""
    return build_folder() / "labs" / profile / f"{lab.stem}.ipynb"


def digest(lab: Path, profile: str) -> str:
    """Changes when a run of the lab could come out otherwise: its text, slmkit, the profile or a library's version."""
    parts = hashlib.sha256(lab.read_bytes())
    parts.update(json.dumps([profile, machine.versions(), _package_digest(lab.name[:2])]).encode())
    return parts.hexdigest()[:16]


@lru_cache
def _package_digest(number: str) -> str:
    package, parts = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*")):
        name = path.relative_to(package).as_posix()
        other_lab = path.parent.name == "exercises" and path.name not in (f"lab_{number}.py", "__init__.py")
        if path.suffix in (".py", ".csv", ".json") and name not in NOT_RUN_BY_LABS and not other_lab:
            parts.update(f"{name}\0".encode() + path.read_bytes())
    return parts.hexdigest()


def problem(notebook: NotebookNode, source: NotebookNode, wanted: str) -> str | None:
    """Why an executed notebook does not stand for this source any more; None when it does."""
    if [(c.cell_type, c.source) for c in notebook.cells] != [(c.cell_type, c.source) for c in source.cells]:
        return "its cells differ from the lab's source"
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in code):
        return "it was not run to the end"
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        return "a cell failed"
    if notebook.metadata.get("slmkit", {}).get("digest") != wanted:
        return "slmkit, a library or the profile has changed since it ran"
    return None
