"""From text lab to executed notebook: `python -m slmkit.course.build --profile cpu`.

Runs the labs whose notebook is missing or stale, several at a time with one thread each, and says how far it is.
A notebook is written when its lab has run to the end; the first lab that fails stops the build and leaves its cells
so far beside, as NN_name.failed.ipynb. What it had trained is kept too (`lab.train`).
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat

from slmkit.course import source
from slmkit.course.lab import PROFILES, duration, last_run
from slmkit.course.source import digest, executed, labs

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
BUDGET_S = {"smoke": 20, "cpu": 180, "full": 3600}  # processor time of one lab
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class LabFailed(Exception):
    """A lab that did not run to the end: where, why, and how to repeat it."""


def prepare(lab: Path, profile: str) -> nbformat.NotebookNode:
    """The lab as a notebook without outputs, with the digest by which it will be told stale."""
    notebook = source.read(lab.read_text(encoding="utf-8"))
    notebook.metadata["slmkit"] = {"profile": profile, "digest": digest(lab, profile)}
    return notebook


def stale(lab: Path, profile: str) -> str | None:
    """Why the lab must run again; None when its notebook and measurements are there and current."""
    path = executed(lab, profile)
    if not path.is_file():
        return "it has not run yet"
    if last_run(lab.name[:2], profile) is None:
        return "its measurements are missing"
    fresh = source.read(lab.read_text(encoding="utf-8"))
    return source.problem(nbformat.read(path, as_version=4), fresh, digest(lab, profile))


def write(notebook: nbformat.NotebookNode, path: Path):
    """Writes beside `path` and renames, so that a kill leaves no half notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    nbformat.write(notebook, part)
    os.replace(part, path)


async def run(lab: Path, profile: str, threads: bool = False):
    """Executes one lab in a kernel of its own and writes the notebook. Raises LabFailed with the cell and the error."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook, began, target = prepare(lab, profile), time.monotonic(), executed(lab, profile)
    failed = target.with_suffix(".failed.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    at = 0

    def say(text):
        print(f"[{duration(time.monotonic() - began):>12}] {lab.stem}: {text}", flush=True)

    def starting(cell, cell_index):
        nonlocal at
        if cell.cell_type == "code":
            at = code.index(cell_index) + 1
            say(f"cell {at} of {len(code)}")

    client = NotebookClient(notebook, timeout=None, on_cell_start=starting, kernel_name="python3",
                            resources={"metadata": {"path": str(target.parent)}})  # fmt: skip
    try:
        await client.async_execute(env=os.environ | _environment(profile, target.parent, threads))
    except CellExecutionError as error:
        write(notebook, failed)
        raise LabFailed(_failure(lab, profile, code, at, f"{error.ename}: {ANSI.sub('', error.evalue)}")) from None
    except DeadKernelError:
        write(notebook, failed)
        raise LabFailed(_failure(lab, profile, code, at, "the process died; out of memory?")) from None
    run_file = target.parent / f"{lab.name[:2]}.json"
    if not run_file.is_file():
        raise LabFailed(
            f'labs/{lab.name} left no measurements; its first code cell must call start("{lab.name[:2]}", …)'
        )
    write(notebook, target)
    spent = last_run(lab.name[:2], profile)
    say(f"done, {duration(spent['cpu_s'])} of processor time, {spent['peak_mb']} MB at the peak: {target}")


async def run_all(chosen: Sequence[Path], profile: str, workers: int):
    """Runs labs, `workers` at a time. The first failure cancels the others and is raised."""
    free = asyncio.Semaphore(workers)

    async def one(lab):
        async with free:
            await run(lab, profile, threads=profile == "full" and workers == 1)

    tasks = [asyncio.create_task(one(lab)) for lab in chosen]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def through_nbmake(chosen: Sequence[Path], profile: str, workers: int) -> int:
    """Runs labs as tests, current ones too, and says what each took of its budget. Returns pytest's exit code."""
    paths = [executed(lab, profile) for lab in chosen]
    for lab, path in zip(chosen, paths):
        write(prepare(lab, profile), path)
        path.with_name(f"{lab.name[:2]}.json").unlink(missing_ok=True)
    options = ["--nbmake", "--nbmake-timeout=600", "--overwrite", "-n", str(workers), "-v"]
    code = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, paths)],
        env=os.environ | _environment(profile, paths[0].parent),
    ).returncode
    for lab in chosen:
        if spent := last_run(lab.name[:2], profile):
            print(f"{lab.stem}: {duration(spent['cpu_s'])} of processor time, budget {BUDGET_S[profile]} s")
    return code


def _environment(profile: str, folder: Path, threads: bool = False) -> dict[str, str]:
    return {"SLMKIT_PROFILE": profile, "SLMKIT_LAB_RUNS": str(folder)} | ({} if threads else ONE_THREAD)


def _failure(lab: Path, profile: str, code: list[int], at: int, error: str) -> str:
    cell = source.read(lab.read_text(encoding="utf-8")).cells[code[at - 1]].source
    shown = "\n".join(f"    {line}" for line in cell.splitlines()[:12])
    return (
        f"labs/{lab.name} stopped in code cell {at} of {len(code)}:\n{shown}\n{error}\n"
        f"Its cells so far: {executed(lab, profile).with_suffix('.failed.ipynb')}\n"
        f"Repeat it: make lab LAB={lab.name[:2]} PROFILE={profile}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m slmkit.course.build", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default=os.environ.get("SLMKIT_PROFILE") or "cpu")
    parser.add_argument("--lab", nargs="*", help="numbers such as 03; default all")
    parser.add_argument("--workers", type=int, default=2, help="labs that run at once (default 2)")
    parser.add_argument("--force", action="store_true", help="run labs that are current too")
    parser.add_argument("--nbmake", action="store_true", help="run all of them as tests, through pytest and nbmake")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error(f"--workers is {options.workers}; it must be at least 1")
    try:
        chosen = labs(options.lab)
    except ValueError as error:
        parser.error(str(error))
    if options.nbmake:
        return through_nbmake(chosen, options.profile, options.workers)
    reasons = {lab: "forced" if options.force else stale(lab, options.profile) for lab in chosen}
    for lab, reason in reasons.items():
        print(f"{lab.stem}: {f'runs, {reason}' if reason else 'unchanged since its last run'}", flush=True)
    try:
        asyncio.run(run_all([lab for lab in chosen if reasons[lab]], options.profile, options.workers))
    except LabFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
