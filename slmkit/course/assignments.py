"""`python -m slmkit.course.assignments`: every lab in two versions, in build/assignments.

`source/` keeps solutions and hidden tests and is for the instructor; `release/` has neither and is for students.
"""

import nbformat

from slmkit.course import source
from slmkit.course.pages import write_reader_copy
from slmkit.paths import build_folder


def main():
    folder = build_folder() / "assignments"
    for lab in source.labs():
        kept = folder / "source" / f"{lab.stem}.ipynb"
        kept.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(source.read(lab.read_text(encoding="utf-8")), kept)
        write_reader_copy(lab, folder / "release" / lab.stem)
        print(f"{lab.stem}: in {folder}/source and {folder}/release")


if __name__ == "__main__":
    main()
