"""Hands in invented submissions of labs, has them graded by nbgrader and by `slmkit grade`, and keeps both in a table.

    python tools/nbgrader_table.py            # all labs, about a quarter of an hour
    python tools/nbgrader_table.py 03 04      # only these rows again
    python tools/nbgrader_table.py --every    # each broken kind on each lab; else they take turns

Needs `make grading`. Writes book/records/grading/graders.csv: for each submission how many of the lab's exercises were
solved, and the points that both graders gave. Says where a point went to the wrong exercise, and then ends with 1.
"""

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "course"))
os.environ["OMP_NUM_THREADS"] = "1"  # exercises run in forks, and a fork of several threads can hang

from invented import BROKEN, KINDS  # noqa: E402
from nbgrader_course import Course  # noqa: E402

from slmkit.course.killtable import GRADERS, GRADERS_COLUMNS, read  # noqa: E402
from slmkit.course.source import labs  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labs", nargs="*", metavar="NN", help="labs by number (default all)")
    parser.add_argument("--every", action="store_true", help="each broken kind on each lab")
    options = parser.parse_args()
    misjudged, numbers = 0, [lab.name[:2] for lab in labs(options.labs or None)]
    for number in numbers:
        turn = list(BROKEN)[int(number) % len(BROKEN)]
        rows, wrong = graded(number, list(KINDS) if options.every else ["perfect", "partial", turn])
        misjudged += wrong
        kept = [row for row in (read(GRADERS) if GRADERS.exists() else []) if row["lab"][:2] != number]
        with open(GRADERS, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, GRADERS_COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(sorted([*kept, *rows], key=lambda row: row["lab"]))
    return min(misjudged, 1)


def graded(number: str, kinds: list[str]) -> tuple[list[dict], int]:
    """The table's rows of one lab, and how many submissions did not get the points that they deserve."""
    rows, misjudged = [], 0
    with tempfile.TemporaryDirectory() as folder:
        course = Course(Path(folder), [number])
        lab = course.labs[0].stem
        deserved = course.hand_in(lab, kinds)
        for command in (("generate_assignment", lab, "--force"), ("autograde", lab), ("generate_feedback", lab)):
            if course.nbgrader(*command):
                print(f"nbgrader {command[0]} failed:\n{course.said}")
        theirs, ours = course.gradebook(lab), course.graded_by_slmkit(lab)
        for kind in kinds:
            got = [one.exercise for one in ours[kind].graded if one.passed]
            points = (len(deserved[kind]), len(theirs[kind]), course.feedback(lab, kind), len(got))
            row = dict(zip(GRADERS_COLUMNS, (lab, kind, len(ours[kind].graded), *points)))
            rows.append(row)
            right = deserved[kind] == theirs[kind] == got and row["feedback"] == row["solved"]
            misjudged += not right
            print(
                *row.values(), "" if right else f"should be {deserved[kind]}, got {theirs[kind]} and {got}", flush=True
            )
    return rows, misjudged


if __name__ == "__main__":
    sys.exit(main())
