"""Breaks slmkit on purpose, one small error at a time, and checks that a unit test notices.

    python tools/mutate.py                  # all of tools/mutations.py, one after the other
    python tools/mutate.py --jobs 2 --only attention

Each error is made in a temporary copy of the package; the clone stays as it is. Ends with exit code 1 when an error
survives, or no longer applies because the text that it replaces is gone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("slmkit", "tests", "labs", "book", "pyproject.toml")
LONGEST = 600  # seconds; a mutation may make a loop endless
FAILED, BROKEN = 1, (2, 3, 4, 5)  # pytest's exit codes: tests failed; nothing was run as it should be


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TEXT", default="", help="mutations whose file or description holds TEXT")
    parser.add_argument("--jobs", type=int, default=1, help="how many to try at a time (default 1)")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if arguments.only in f"{m.file}: {m.breaks}"]
    if not chosen or arguments.jobs < 1:
        parser.error(f"{len(chosen)} mutations hold {arguments.only!r}, {arguments.jobs} jobs; both must be 1 or more")
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    print(f"first without a mutation: {' '.join(tests)}", flush=True)
    for group in [t for t in tests if "::" not in t], [t for t in tests if "::" in t]:
        if group and (failure := _pytest(None, group))[0]:
            print(f"the tests fail by themselves, so they can show nothing: {failure[1]}")
            return 1
    survived, started = [], time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done, (mutation, verdict) in enumerate(pool.map(_try, chosen), 1):
            if not verdict.startswith("caught"):
                survived.append((mutation, verdict))
            left = (time.monotonic() - started) / done * (len(chosen) - done)
            print(f"[{done}/{len(chosen)}] {mutation}: {verdict} · {left / 60:.0f} min left", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} caught")
    for mutation, verdict in survived:
        print(f"NOT CAUGHT {mutation}: {verdict}")
    return 1 if survived else 0


def _try(mutation: Mutation) -> tuple[Mutation, str]:
    """The mutation and what became of it, beginning with "caught" if a test failed."""
    if (count := (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old)) != 1:
        return mutation, f"does not apply: its text occurs {count} times"
    code, last = _pytest(mutation, mutation.tests)
    if code == FAILED:
        return mutation, f"caught by {last}"
    return mutation, f"broken, not tested: {last}" if code in BROKEN else "SURVIVED"


def _pytest(mutation: Mutation | None, tests: Iterable[str]) -> tuple[int, str]:
    """Runs `tests` on a copy with the mutation; pytest's exit code, and the test that failed or the last line."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        if mutation:
            path = copy / mutation.file
            path.write_text(path.read_text(encoding="utf-8").replace(mutation.old, mutation.new), encoding="utf-8")
        # The copy goes before an installed slmkit; the import proves it.
        proof = f"import slmkit, sys; assert slmkit.__file__.startswith({str(copy)!r}), slmkit.__file__"
        which = [] if any("::" in test for test in tests) else ["-m", "not slow"]
        pytest = f"import pytest; sys.exit(pytest.main({['-x', '-q', '-p', 'no:cacheprovider', *which, *tests]!r}))"
        environment = dict(os.environ, PYTHONPATH=folder, PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
        try:
            run = subprocess.run(
                [sys.executable, "-c", f"{proof}; {pytest}"],
                cwd=copy, env=environment, capture_output=True, text=True, timeout=LONGEST,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return FAILED, f"the time limit of {LONGEST} s"
        lines = [line for line in (run.stdout + run.stderr).splitlines() if line.strip()]
        failed = [line.split()[1] for line in lines if line.startswith("FAILED ")]
        if run.returncode == FAILED and not failed:  # an error in a fixture, or no pytest at all
            failed = [line.split()[1] for line in lines if line.startswith("ERROR ")]
        if run.returncode == FAILED and not failed:
            return BROKEN[0], lines[-1]
        return run.returncode, (failed or lines[-1:] or ["no output"])[0]


if __name__ == "__main__":
    sys.exit(main())
