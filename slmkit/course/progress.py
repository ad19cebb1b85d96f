"""What a reader has done: the exercises passed, as one small JSON file in the build folder, and the labs that were run.

`check` calls `passed`. An exercise counts when it passes in a copy without solutions, which is what the site and
`make assignments` hand out. In the labs' own source the solutions stand already, and the build passes them each time.
"""

import json
import linecache
import os
import re
import sys
from pathlib import Path

from filelock import FileLock

from slmkit.paths import build_folder

MARK = "### BEGIN "  # around solutions and hidden tests: in the labs' own source, and in no copy that is handed out
WAIT_S = 10  # for another notebook that is writing


def passed(name: str):
    """Remembers that the reader's answer to an exercise, such as "05/placed", passed, and the day it first did.

    A file that cannot be read is put aside as progress.broken. One that cannot be written costs the reader a line of
    text, and never the exercise.
    """
    from slmkit.course import lab, machine, records  # they import checking, which imports this

    running = lab.current()
    if running is None or running.number != name.partition("/")[0] or not _by_the_reader(lab.notebook()):
        return
    try:
        path = file()
        with FileLock(path.with_suffix(".lock"), timeout=WAIT_S):
            days = _read(path)
            if days is None:
                os.replace(path, path.with_suffix(".broken"))
            if name not in (days or {}):
                records.write(path, {**(days or {}), name: machine.today()})
    except OSError as error:
        print(f"(passed, but it could not be noted for `slmkit lab list`: {error})")


def file() -> Path:
    """Where it is kept."""
    return build_folder() / "progress.json"


def days() -> dict[str, str]:
    """The day on which each exercise was first passed, by its name; empty when the file is not there or broken."""
    return _read(file()) or {}


def overview(lab: Path, days: dict[str, str]) -> dict:
    """A lab's number, title, exercises, those of them that `days` holds, and its finished runs, one a profile."""
    from slmkit.course.lab import PROFILES, last_run

    text, number = lab.read_text(encoding="utf-8"), lab.name[:2]
    exercises = re.findall(r'^check\("([^"]+)"', text, flags=re.M)
    runs = {profile: last_run(number, profile) for profile in PROFILES
            if (build_folder() / "labs" / profile / f"{lab.stem}.ipynb").is_file()}  # fmt: skip
    return {
        "lab": number,
        "title": re.search(r"^# # (.+)$", text, flags=re.M)[1],
        "exercises": exercises,
        "passed": {name: days[name] for name in exercises if name in days},
        "runs": [{"profile": profile} | {key: run[key] for key in ("cpu_s", "wall_s", "peak_mb", "date")}
                 for profile, run in runs.items() if run],
    }  # fmt: skip


def _by_the_reader(shell) -> bool:
    """Whether what runs, notebook or script, is a copy without solutions, and no build or nbgrader runs it."""
    if os.environ.get("SLMKIT_LAB_RUNS") or os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return False
    script = getattr(sys.modules["__main__"], "__file__", None)
    cells = shell.user_ns.get("In", []) if shell else linecache.getlines(script) if script else []
    return bool(cells) and not any(MARK in cell for cell in cells)


def _read(path: Path) -> dict[str, str] | None:
    """The days; {} without a file, None when the file holds anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    return found if isinstance(found, dict) and all(isinstance(day, str) for day in found.values()) else None
