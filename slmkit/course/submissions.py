"""A class's submissions, a folder STUDENT/LAB.ipynb, to points.csv and a page of feedback for each student."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slmkit.course.grading import Graded, Key, grade, read_cells
from slmkit.course.sandbox import Limits
from slmkit.course.source import labs

POINTS = "points.csv"
HEADS = ("student", "lab", "points", "of", "missed", "note")


class Result(NamedTuple):
    """One student's notebook of one lab; `note` says what is wrong with the file itself."""

    student: str  # empty for a notebook that lies in no student's folder
    lab: str  # such as "02_tokenizers_and_vocabulary"; the file's name where there is no such lab
    graded: list[Graded]
    note: str = ""

    @property
    def points(self) -> int:
        return sum(one.passed for one in self.graded)


def grade_folder(folder: Path, out: Path, limits: Limits, number: str | None = None) -> Iterator[Result]:
    """Grades what lies in `folder` and gives the results one by one; writes `out` behind the last.

    A student's notebooks lie in the student's folder or deeper, so nbgrader's folder `submitted` will do. `number`
    picks one lab. Raises ValueError when there is nothing to grade, and on a lab's number that does not exist.
    """
    known = {lab.name[:2]: lab for lab in labs([number] if number else None)}
    students = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not students:
        raise ValueError(f"{folder} holds no folder of a student; a submission is {folder}/STUDENT/LAB.ipynb")
    out.mkdir(parents=True, exist_ok=True)
    keys, results = {}, []
    for path in sorted(folder.glob("*.ipynb")):
        results.append(Result("", path.stem, [], "lies in no student's folder; not graded"))
        yield results[-1]
    for student in students:
        for result in _graded(student, known, keys, limits, everything=number is None):
            results.append(result)
            yield result
    _write(out, results)


def _graded(student: Path, known: dict[str, Path], keys: dict[str, Key], limits: Limits,
            everything: bool) -> Iterator[Result]:  # fmt: skip
    found: dict[str, list[Path]] = {}
    for path in sorted(student.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            number = match[1] if (match := re.match(r"(\d\d)_", path.name)) else ""
            found.setdefault(number if number in known else "", []).append(path)
    unknown = found.pop("", [])
    for path in unknown if everything else ():
        yield Result(student.name, path.stem, [], "no lab has this name; one that has begins with two digits and _")
    if not found and not (unknown and everything):
        yield Result(student.name, "", [], "no notebook of a lab was handed in")
    for number, paths in sorted(found.items()):
        if number not in keys:
            keys[number] = Key(known[number])
        yield _one(student.name, keys[number], paths, limits)


def _one(student: str, key: Key, paths: list[Path], limits: Limits) -> Result:
    lab = key.lab.stem
    exact = [path for path in paths if path.stem == lab]
    chosen = (exact or paths)[0]
    note = f"{len(paths)} notebooks of this lab; graded: {chosen.name}" if len(paths) > 1 else ""
    try:
        cells = read_cells(chosen)
    except (ValueError, OSError) as error:
        missed = [Graded(name, False, "the notebook could not be read") for name in key.exercises]
        return Result(student, lab, missed, str(error))
    return Result(student, lab, grade(cells, key, limits), note)


# -- what is written -------------------------------------------------------------------------------------------------


def _write(out: Path, results: list[Result]):
    with open(out / POINTS, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADS)
        for one in results:
            missed = " ".join(name.exercise for name in one.graded if not name.passed)
            table.writerow([one.student, one.lab, one.points, len(one.graded), missed, one.note])
    for student in dict.fromkeys(one.student for one in results if one.student):
        page = feedback(student, [one for one in results if one.student == student])
        (out / f"{student}.md").write_text(page, encoding="utf-8")


def feedback(student: str, results: list[Result]) -> str:
    """A student's page, as Markdown."""
    lines = [f"# Feedback for {student}"]
    for one in results:
        lines += ["", f"## {one.lab or 'Nothing to grade'}: {one.points} of {len(one.graded)} points", ""]
        lines += [one.note[0].upper() + one.note[1:] + ".", ""] if one.note else []
        lines += [f"- ✓ {part.exercise}" if part.passed else f"- ✗ {part.exercise}: {part.said}" for part in one.graded]
    return "\n".join(lines).rstrip() + "\n"
