"""`python -m slmkit.course.assignments`: every lab as an assignment, in build/assignments, in nbgrader's course layout.

`source/LAB/LAB.ipynb` keeps solutions and hidden tests and is for the instructor; `release/LAB/LAB.ipynb` has neither
and is for students. Each exercise is one point: its tests stand in a cell of their own, which nbgrader locks. Beside
them lies what nbgrader needs: its settings, and the kernel that runs submissions within limits.
"""

import ast
import json
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from slmkit.course import roles, source
from slmkit.paths import build_folder

# Before each check, for the instructor alone: a notebook may have put something else in the place of `check`, and an
# answer may hang.
HIDDEN = """### BEGIN HIDDEN TESTS
from slmkit.course.grading import judge

judge("{name}", globals())
### END HIDDEN TESTS
"""
# Address space of the kernel that runs one whole submission; PyTorch's libraries take some GiB of it. There is no limit
# on processor time: with one set, Linux counts it in ticks, and what the labs measure comes out as nothing.
KERNEL_MIB = 8192
LIMITED = f'ulimit -c 0; ulimit -v {KERNEL_MIB * 1024}; exec "$@"'
KERNEL_ENVIRONMENT = {"SLMKIT_PROFILE": "smoke", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
SOLVED = re.compile(r"^(?:def|class) (\w+)[^\n]*\n(?:    [^\n]*\n|\n)*?    ### BEGIN SOLUTION", flags=re.M)


def main():
    folder = build_folder() / "assignments"
    write(folder, source.labs())
    print(f"{folder}: the labs in source and release, and nbgrader's settings")


def write(folder: Path, labs: list[Path]):
    """The labs as nbgrader's course in `folder`, which may hold submissions and a gradebook already.

    A notebook that is there and reads otherwise may have answers in it: it moves to the folder `kept`.
    """
    for lab in labs:
        full = source.read(lab.read_text(encoding="utf-8"))
        roles.write_out(full)
        full = with_tests(full, lab.name[:2])
        for version, notebook in (("source", full), ("release", source.reader_copy(full))):
            path = folder / version / lab.stem / f"{lab.stem}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = (nbformat.writes(notebook) + "\n").encode()
            if path.is_file() and path.read_bytes() != content:
                _keep(path, folder / "kept")
            path.write_bytes(content)
    shutil.copy(Path(__file__).with_name("nbgrader_config.py"), folder)
    _write_kernel(folder / "kernels" / "python3" / "kernel.json")


def _keep(path: Path, kept: Path):
    """Moves a notebook that would be overwritten; the time of its last change is part of its new name."""
    changed = datetime.fromtimestamp(path.stat().st_mtime)
    target = kept / path.parent.parent.name / f"{path.stem}-{changed:%Y-%m-%d-%H%M%S-%f}{path.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    print(f"{path} was not as it had been written; it is kept as {target}")


def _write_kernel(path: Path):
    """This interpreter as the kernel of submissions; a shell sets the limits, which the kernel cannot raise again."""
    started = ["sh", "-c", LIMITED, "sh", sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    kernel = {"argv": started, "display_name": "Python 3", "language": "python", "env": KERNEL_ENVIRONMENT}
    path.write_text(json.dumps(kernel, indent=1), encoding="utf-8")


def with_tests(lab: NotebookNode, number: str) -> NotebookNode:
    """A lab as nbgrader's source version: cells for answers, cells for tests with hidden ones, metadata of both."""
    lab.cells = [part for cell in lab.cells for part in _parts(cell)]
    for i, cell in enumerate(lab.cells):
        cell["id"] = f"cell-{i}"
        if cell.cell_type != "code":
            continue
        if given := _checked(cell.source):
            cell.metadata["nbgrader"] = _graded(f"{number}-check-{given[0].partition('/')[2]}", points=1)
            cell.source = HIDDEN.format(name=given[0]) + cell.source
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
