"""What the commands of `slmkit` do that have no file of their own (text, survey, profile).

Each takes the parsed options and returns an exit code, or None for 0.
"""

import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from slmkit.paths import build_folder, root


def doctor(options):
    from slmkit.doctor import report

    print(report())


# -- reading a configuration -----------------------------------------------------------------------------------------


def configuration(name: str):
    """The ModelConfig that `name` stands for: a .json file, a folder with a saved model, or a model of the survey.

    Raises ValueError with the nearest names when it is none of them.
    """
    from slmkit.config import ModelConfig
    from slmkit.model.storage import CONFIG
    from slmkit.survey import zoo

    path = Path(name)
    if not path.exists():
        if path.suffix == ".json" or len(path.parts) > 1:
            raise FileNotFoundError(f"there is no file or folder {name}")
        return zoo.config(name)
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"the folder {name} holds no {CONFIG}, so no model was saved there")
    try:
        return ModelConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not a model configuration: {error}") from None


def print_table(titles, table, right=()):
    """Columns as wide as their widest entry; those in `right` are aligned to the right."""
    widths = [max(len(line[i]) for line in [titles, *table]) for i in range(len(titles))]
    for line in [titles, *table]:
        cells = (f"{cell:{'>' if i in right else '<'}{width}}" for i, (cell, width) in enumerate(zip(line, widths)))
        print("  ".join(cells).rstrip())


# -- labs ------------------------------------------------------------------------------------------------------------


def labs() -> dict[str, Path]:
    """The labs by number. Unlike the build's own list, it needs no Jupyter."""
    found = {path.name[:2]: path for path in sorted((root() / "labs").glob("[0-9][0-9]_*.py"))}
    if not found:
        raise FileNotFoundError(f"there are no labs in {root() / 'labs'}; run this from a clone of the book")
    return found


def lab_help(options):
    options.parser.print_help()


def lab_list(options):
    """The labs with their finished runs and the reader's exercises; see course/progress.py for what counts."""
    from slmkit.course import progress
    from slmkit.course.lab import duration

    days = progress.days()
    found = [progress.overview(path, days) for path in labs().values()]
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    table = []
    for lab in found:
        done = f"{len(lab['passed'])} of {len(lab['exercises'])}"
        for run in lab["runs"] or [None]:
            ran = ["not run yet", *"––––"]
            if run:
                spent = [duration(run["cpu_s"]), duration(run["wall_s"])]
                ran = [run["profile"], *spent, f"{run['peak_mb']} MB", run["date"]]
            table.append([lab["lab"], lab["title"], done, *ran])
    print_table(["lab", "title", "exercises", "run", "processor time", "by the clock", "peak memory", "date"], table,
                right=(4, 5, 6))  # fmt: skip
    runs = [run for lab in found for run in lab["runs"]]
    solved, asked = (sum(len(lab[part]) for lab in found) for part in ("passed", "exercises"))
    print(f"\n{sum(bool(lab['runs']) for lab in found)} of {len(found)} labs run, in "
          f"{duration(sum(run['cpu_s'] for run in runs))} of processor time; {solved} of {asked} exercises passed.\n"
          "An exercise counts when it passes in a copy without solutions: a page's download, or `make assignments`.\n"
          f"All this is kept in {build_folder()} and nowhere else.")  # fmt: skip


def lab_run(options) -> int:
    """Runs one lab as a notebook, as the book does, or as plain Python where Jupyter is not installed."""
    known = labs()
    if options.number not in known:
        raise ValueError(f"there is no lab {options.number!r}; the labs are {', '.join(known)}")
    if all(map(find_spec, ("nbclient", "jupytext"))):
        from slmkit.course import build

        return build.main(["--profile", options.profile, "--lab", options.number, "--workers", "1", "--force"])
    return subprocess.run(
        [sys.executable, str(known[options.number])], env=os.environ | {"SLMKIT_PROFILE": options.profile}, check=False
    ).returncode


def grade(options):
    """Grades a folder of submissions, prints a line for each notebook, and says where points and feedback are."""
    import torch

    from slmkit.course.sandbox import Limits
    from slmkit.course.submissions import POINTS, grade_folder

    torch.set_num_threads(1)  # exercises run in forks, and a fork of several threads can hang
    folder, out = Path(options.folder), Path(options.out)
    if not folder.is_dir():
        raise NotADirectoryError(f"there is no folder {folder}")
    labs()  # says so where there are none
    for result in grade_folder(folder, out, Limits(options.seconds, options.memory), options.lab):
        said = f": {result.note}" if result.note else ""
        print(f"{result.student}  {result.lab or '-'}  {result.points} of {len(result.graded)}{said}", flush=True)
    print(f"points: {out / POINTS}; feedback: a page for each student beside it")


# -- data ------------------------------------------------------------------------------------------------------------


def clean(options):
    """Cleans a folder of documents and prints what was left out, what was dropped, and why."""
    from slmkit.data import pipeline, report

    steps = options.steps.split(",") if options.steps else pipeline.DEFAULT
    made = pipeline.clean(options.source, options.target, steps, workers=options.workers, tasks=options.tasks,
                          column=options.column, limit=options.limit, ending=options.format)  # fmt: skip
    if options.json:
        print(json.dumps(made, indent=1, ensure_ascii=False))
        return
    print(report.in_words(made))
    print(f"examples of each reason: {Path(options.target) / report.REPORT}")


# -- measuring -------------------------------------------------------------------------------------------------------


def bench(options) -> int:
    from slmkit.course import machine
    from slmkit.profiling import bench, bench_data, bench_evaluation, bench_runtime

    facts = {"date": machine.today(), "machine": machine.describe(), "versions": machine.versions()}
    print(f"{machine.in_words(facts['machine'])}; {', '.join(map(' '.join, facts['versions'].items()))}")
    path = Path(options.json or build_folder() / "records" / "bench.json")

    def place(part: str) -> Path:
        return path if options.json and options.only else path.with_stem(f"{path.stem}-{part}")

    if options.only in (None, "models"):
        bench.run(options.threads, quick=options.quick, path=path, facts=facts)
    if options.only in (None, "data"):
        bench_data.run(max(options.threads), quick=options.quick, path=place("data"),
                       facts=with_versions(facts, "datatrove", "spacy", "datasketch", "rensa"))  # fmt: skip
    if options.only in (None, "evaluation"):
        bench_evaluation.run(options.threads, quick=options.quick, path=place("evaluation"),
                             facts=with_versions(facts, "lm_eval"))  # fmt: skip
    if options.only in (None, "runtime"):
        bench_runtime.run(options.threads, quick=options.quick, path=place("runtime"),
                          facts=with_versions(facts, "transformers"))  # fmt: skip
    return 0


def with_versions(facts: dict, *packages: str) -> dict:
    return facts | {"versions": facts["versions"] | {name: metadata.version(name) for name in packages}}


def write_json(path: str | Path, value):
    """Writes beside `path` and renames, so that a kill leaves no half file."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
