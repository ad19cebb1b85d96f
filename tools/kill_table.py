"""Tries every exercise's check on all catalogued answers and writes book/records/grading/kill_table.csv.

    python tools/kill_table.py

For each exercise: how many wrong answers there are and how many the check refuses, how many right answers (written
otherwise than the lab's solution) and how many it accepts. The tests in tests/labs hold every one of them.
"""

import contextlib
import csv
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "labs"))

import tried  # noqa: E402

from slmkit.course.killtable import COLUMNS, TABLE  # noqa: E402


def main():
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with open(TABLE, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for name in tried.FUNCTIONS:
            with contextlib.redirect_stdout(io.StringIO()):  # the ticks
                wrong = [tried.told(name, answer) for answer in tried.wrong(name)]
                right = [tried.told(name, answer) for answer in tried.RIGHT[name]]
            table.writerow([name, len(wrong), len(wrong) - wrong.count(None), len(right), right.count(None)])
            for said in filter(None, right):
                print(f"refused, but right: {said}")
            for place, said in enumerate(wrong):
                if said is None:
                    print(f"accepted, but wrong: {name}, number {place}")


if __name__ == "__main__":
    main()
