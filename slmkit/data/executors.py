"""Who runs the passes: processes of this machine, Slurm jobs, or a Ray cluster. All by datatrove's executors.

Here, one pool of processes does the tasks of all passes. A worker that dies ends the run with one line, and a run that
dies takes its workers along, so that it can be started again at once.
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path

LOCK = "lock"
PATIENCE = 20  # seconds until the workers of a run that was killed should be gone
# Imported once, by the process that the workers are forked from.
WARM = ["spacy", "pyarrow.parquet", "datatrove.executor", "datatrove.pipeline.filters", "datatrove.pipeline.dedup"]
_held = []  # for as long as the process lives


def log(work: Path, place: int) -> Path:
    """Where the executor of a pass keeps its counts and what is done."""
    return work / "logs" / f"{place:02d}"


def local(passes: list, work: Path, workers: int, options: dict, progress: bool):
    """Runs what is not done yet in `workers` processes; with one worker, in this process."""
    from datatrove.executor import LocalPipelineExecutor

    if options:
        raise ValueError(f"cluster options such as {min(options)!r} are for slurm and ray, not for the local executor")
    made = [LocalPipelineExecutor(one.blocks, one.tasks, logging_dir=str(log(work, place)))
            for place, one in enumerate(passes)]  # fmt: skip
    with _pool(work, workers) as run_all:
        for place, (one, executor) in enumerate(zip(passes, made)):
            ranks = executor.get_incomplete_ranks()
            with _bar(f"{place + 1}/{len(passes)} {one.title}", one.tasks, len(ranks), work, progress) as done:
                for _ in run_all(executor, ranks):
                    done()


@contextmanager
def _pool(work: Path, workers: int):
    """Gives a function that runs an executor's tasks and yields when one is done."""
    if workers == 1:
        with _quiet():
            yield lambda executor, ranks: (deepcopy(executor)._run_for_rank(rank) for rank in ranks)
        return
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(WARM)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(str(work),))

    def run_all(executor, ranks) -> Iterator:
        for future in as_completed([pool.submit(executor._run_for_rank, rank) for rank in ranks]):
            yield future.result()

    try:
        with _without_main():
            yield run_all
    except BrokenProcessPool:
        raise RuntimeError("a worker was ended from outside, perhaps because memory ran out; start the same command "
                           "again to go on, with fewer workers or a lower limit for a document") from None  # fmt: skip
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _quiet():
    """Neither datatrove's log, which its tasks send to the screen anew each time, nor its bars, which cross ours."""
    from unittest.mock import patch

    from datatrove.pipeline.dedup import minhash, sentence_dedup
    from loguru import logger
    from tqdm import tqdm

    silent = partial(tqdm, disable=True)
    logger.disable("datatrove")
    try:
        with patch.object(minhash, "tqdm", silent), patch.object(sentence_dedup, "tqdm", silent):
            yield
    finally:
        logger.enable("datatrove")


@contextmanager
def _without_main():
    """A worker imports the script that runs, and so runs it where it has no main guard, or fails where it has no file,
    as in a pipe. Ours need nothing of it: while they are begun, there is no script.
    """
    main = sys.modules["__main__"].__dict__
    kept = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(kept))
    try:
        yield
    finally:
        main.update(kept)


def _begin(work: str):
    """In a worker: says nothing, holds the lock, and ends with the process that began it."""
    quiet = _quiet()
    quiet.__enter__()
    _held.extend([quiet, _lock(Path(work), shared=True)])

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def slurm(passes: list, work: Path, workers: int, options: dict, progress: bool):
    """Submits a job array for each pass, each after the one before. The target must be on a disk that all nodes see."""
    from datatrove.executor import SlurmPipelineExecutor

    missing = {"partition", "time"} - options.keys()
    if missing:
        raise ValueError(
            f"slurm needs {' and '.join(sorted(missing))}: cluster={{'partition': 'cpu', 'time': '2:00:00'}}"
        )
    last = None
    for place, one in enumerate(passes):
        last = SlurmPipelineExecutor(
            one.blocks, tasks=one.tasks, workers=workers, logging_dir=str(log(work, place)), depends=last,
            job_name=f"clean-{place}-{one.title.replace(' ', '-')}", **options,
        )  # fmt: skip
    last.run()


def ray(passes: list, work: Path, workers: int, options: dict, progress: bool):
    """Runs the passes on the Ray cluster that ray.init() finds."""
    from importlib.util import find_spec

    from datatrove.executor import RayPipelineExecutor

    if not find_spec("ray"):
        raise ImportError('the package ray is missing; install it with pip install "ray", or use the local executor')
    last = None
    for place, one in enumerate(passes):
        last = RayPipelineExecutor(one.blocks, tasks=one.tasks, workers=workers, logging_dir=str(log(work, place)),
                                   depends=last, **options)  # fmt: skip
    last.run()


RUNNERS = {"local": local, "slurm": slurm, "ray": ray}


# -- one run at a time


@contextmanager
def only_run(work: Path, local: bool):
    """Waits until the workers of a killed run are gone. Raises RuntimeError when another run is at work there."""
    if not local:
        yield
        return
    until = time.monotonic() + PATIENCE
    while (file := _lock(work, shared=False)) is None:
        if time.monotonic() > until:
            raise RuntimeError(f"another run is at work in {work.parent}; wait for it, or choose another folder")
        time.sleep(0.1)
    with file:
        _lock(work, shared=True, file=file)
        yield


def _lock(work: Path, shared: bool, file=None):
    """The open lock file, or None when it is taken. Locks of a process: its end, and no child's, lets go of them."""
    file = file or open(work / LOCK, "a+")  # noqa: SIM115
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return file
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


# -- the bar


@contextmanager
def _bar(title: str, tasks: int, left: int, work: Path, shown: bool):
    """A bar with the time left, which also counts the parts of tasks; gives a function to call when a task is done."""
    from tqdm import tqdm

    form, folder = "{desc:<28} {percentage:3.0f}%|{bar:30}| {elapsed} gone, {remaining} left", work / "progress"
    bar = tqdm(total=tasks, initial=tasks - left, desc=title, bar_format=form, disable=not shown, file=sys.stderr)
    finished, over = [tasks - left], threading.Event()
    for path in folder.glob("*"):
        path.unlink()

    def look():
        while not over.wait(0.5):
            parts = sum(float(path.read_text() or 0) for path in folder.glob("*"))
            bar.n = min(max(finished[0], tasks - left + parts), tasks)
            bar.refresh()

    def done():
        finished[0] += 1

    watcher = threading.Thread(target=look, daemon=True)
    if shown:
        watcher.start()
    try:
        yield done
        bar.n = tasks
    finally:
        over.set()
        if shown:
            watcher.join()
        bar.close()
