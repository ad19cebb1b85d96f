"""Cleaning a folder of documents: read, filter, deduplicate, write, and tell what was dropped and why.

A pipeline is a list of steps. What datatrove runs is made from it: passes over the documents, each of several tasks,
cut wherever a step needs all documents at once. The number of tasks, not of workers, decides what a task does, so the
output is the same however many work at it; and a task that is done stays done when the run is killed.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from slmkit.checks import one_of, positive
from slmkit.data import executors
from slmkit.data.blocks import RUN, Examples, Read, Reread, Write
from slmkit.data.dedup import Lines, MinHash
from slmkit.data.filtering import FILTERS, Filter
from slmkit.data.reading import READERS, listing
from slmkit.data.report import REPORT, Finish

DEDUPLICATION = {"minhash": MinHash, "lines": Lines}
# In FineWeb's order: each document by itself first, deduplication last (Penedo et al. 2024, Section 3).
DEFAULT = ("language", "gopher_repetition", "gopher_quality", "c4", "fineweb", "minhash")
NEEDS = ("datatrove", "spacy", "py3langid", "xxhash", "pyarrow")
WORK = ".unfinished"  # in the target, while the run is not done
ENDINGS = ("jsonl.gz", "jsonl", "parquet")
LIMIT = 10_000_000  # bytes of a document; Gopher's longest, 100,000 words, has about 600,000
Step = Filter | MinHash | Lines


@dataclass(frozen=True)
class Pass:
    """What one datatrove executor runs: so many tasks, each the blocks, each with its label.

    A label is what the report calls a block: the place of its step, "read", "write", "out", or None.
    """

    title: str
    tasks: int
    blocks: list
    labels: list


def clean(
    source: str | Path, target: str | Path, steps: Sequence[str | Step] = DEFAULT, *, workers: int = 1, tasks: int = 8,
    column: str = "text", limit: int = LIMIT, ending: str = "jsonl.gz", executor: str = "local",
    cluster: dict | None = None, progress: bool = True,
) -> dict | None:  # fmt: skip
    """Reads the documents in `source`, takes them through the steps, and writes what is left into the folder `target`.

    A document is a .txt or .md file, a line of .jsonl or .jsonl.gz, or a row of .parquet, with its text in `column`;
    what cannot be read, or has more than `limit` bytes, is left out and counted. A step is a name, a name with options
    ("minhash:buckets=20"), or one of the classes Filter, MinHash, Lines. `tasks` pieces of work are done by `workers`
    processes; the output depends on `tasks` (as to its files) and never on `workers`. Called again after it was
    killed, it goes on; after it was done, it does nothing. `executor`: local, slurm or ray, where `cluster` are the
    options of datatrove's executor, such as {"partition": "cpu", "time": "2:00:00"}.

    Returns the report, also in TARGET/report.json; None for slurm, whose jobs are only submitted.
    Raises ValueError for steps, numbers or a target that cannot be used, FileNotFoundError without a source.
    """
    if missing := [name for name in NEEDS if not find_spec(name)]:
        raise ImportError(f"cleaning needs {' and '.join(missing)}; install them with pip install 'slmkit[data]'")
    one_of("executor", executor, tuple(executors.RUNNERS))
    one_of("ending", ending, ENDINGS)
    for name, value in (("workers", workers), ("tasks", tasks), ("limit", limit)):
        positive(name, value)
    source, target = Path(source).resolve(), Path(target).resolve()
    steps = [step(one) if isinstance(one, str) else one for one in steps]
    settings = {"steps": [described(one) for one in steps], "tasks": tasks, "column": column, "limit": limit,
                "ending": ending}  # fmt: skip
    run = prepare(source, target, settings)
    if run is None:
        return json.loads((target / REPORT).read_text(encoding="utf-8"))
    work = target / WORK
    passes = plan(work, target, steps, tasks, ending, digest(run))
    with executors.only_run(work, local=executor == "local"):
        executors.RUNNERS[executor](passes, work, workers, cluster or {}, progress and sys.stderr.isatty())
    if executor == "slurm":
        return None
    (work / RUN).unlink()  # first, so that a kill from here on leaves a run that is done
    shutil.rmtree(work)
    return json.loads((target / REPORT).read_text(encoding="utf-8"))


def step(text: str) -> Step:
    """A step from a word: "minhash", or with options, "minhash:buckets=20:hashes_per_bucket=5".

    Raises ValueError for an unknown step or option.
    """
    name, *options = text.split(":")
    if name not in DEDUPLICATION and name not in FILTERS:
        raise ValueError(f"there is no step {name!r}; it is one of {', '.join([*FILTERS, *DEDUPLICATION])}")
    values = {}
    for option in options:
        key, given, value = option.partition("=")
        if not given:
            raise ValueError(f"{option!r} of the step {name} must be an option and its value, such as threshold=0.5")
        try:
            values[key] = json.loads(value)
        except json.JSONDecodeError:
            values[key] = value
    if name in FILTERS:
        return Filter(name, **values)
    fields = DEDUPLICATION[name].__dataclass_fields__
    for key in values.keys() - fields.keys():
        raise ValueError(f"the step {name} has no option {key!r}; it has {', '.join(fields)}")
    return DEDUPLICATION[name](**values)


def described(step: Step) -> dict:
    """A step as JSON."""
    options = step.options if isinstance(step, Filter) else asdict(step)
    return json.loads(json.dumps({"step": step.name} | options, default=str))


def prepare(source: Path, target: Path, settings: dict) -> dict | None:
    """Says what is to be done in the work folder; None when it is done already. The same settings go on where a run
    was killed. Raises ValueError when the target belongs to another run, or the source has nothing to read.
    """
    if target == source or source in target.parents:
        raise ValueError(f"the target {target} lies in the source, so it would be read next time; choose another")
    if not target.is_dir() and target.exists():
        raise ValueError(f"the target {target} is a file; give a folder, which need not exist")
    files, closed = listing(source)
    if not files:
        endings = ", ".join(READERS)
        why = f": {closed[0][0]} is closed ({closed[0][2]})" if closed else f"; documents lie in {endings} files"
        raise ValueError(f"{source} holds nothing that can be read{why}")
    settings |= {"versions": {name: version(name) for name in ("datatrove", "spacy", "py3langid", "slmkit")}}
    run = {"folder": str(source if source.is_dir() else source.parent), "settings": settings,
           "files": [list(one) for one in files], "closed": [list(one) for one in closed]}  # fmt: skip
    for begun, kept in ((target / WORK / RUN, True), (target / REPORT, False)):
        if begun.is_file():
            known = json.loads(begun.read_text(encoding="utf-8"))
            if (digest(known) if kept else known.get("run")) != digest(run):
                raise ValueError(f"{target} holds a run with other steps, settings, versions or files in the source; "
                                 "empty it, or give another folder")  # fmt: skip
            if kept:
                return run
            shutil.rmtree(target / WORK, ignore_errors=True)
            return None
    if target.is_dir() and any(path.name != WORK for path in target.iterdir()):
        raise ValueError(f"{target} is not empty and holds no run of this kind; give an empty or a new folder")
    (target / WORK).mkdir(parents=True, exist_ok=True)
    part = target / WORK / f"{RUN}.part"
    part.write_text(json.dumps(run), encoding="utf-8")
    part.replace(target / WORK / RUN)
    return run


def digest(run: dict) -> str:
    """By which the report knows the run that it belongs to."""
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]


def plan(work: Path, target: Path, steps: Sequence[Step], tasks: int, ending: str, name: str) -> list[Pass]:
    """The passes: filters share one, a step that needs all documents ends it, and its last block begins the next."""
    passes, blocks, labels = [], [Read(work)], ["read"]
    for place, one in enumerate(steps):
        examples, folder = work / "examples" / str(place), work / f"{place}-{one.name}"
        if isinstance(one, Filter):
            blocks, labels = [*blocks, one.block(Examples(examples))], [*labels, place]
            continue
        ends = [Write(work, folder / "documents"), *one.signature(folder)]
        passes.append(Pass("filters and signatures", tasks, [*blocks, *ends], labels + ["kept"] + [None] * len(ends)))
        passes += [Pass(title, count, made, [None] * len(made)) for title, count, made in one.between(folder)]
        blocks, labels = (
            [Reread(work, folder / "documents"), one.block(folder, Examples(examples, one.name))],
            [None, place],
        )
    passes.append(Pass("documents", tasks, [*blocks, Write(work, work / "out", ending)], [*labels, "out"]))
    counted = [[label for block, label in zip(one.blocks, one.labels) if hasattr(block, "stats")] for one in passes]
    finish = Finish(work, target, name, {executors.log(work, i).name: labels for i, labels in enumerate(counted)})
    return [*passes, Pass("report", 1, [finish], [None])]
