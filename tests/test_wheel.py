"""The wheel alone, without a clone: its files are all there, its commands run, and a lab runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from slmkit.course import source
from slmkit.paths import root

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel() -> Path:
    subprocess.run(["bash", "tools/wheel.sh"], cwd=root(), check=True, capture_output=True)
    (made,) = (root() / "build" / "dist").glob("slmkit-*.whl")
    return made


@pytest.fixture(scope="module")
def alone(wheel, tmp_path_factory):
    """A folder with nothing but the wheel's files in `site`, and what the environment there looks like."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "site", wheel],
                   check=True)  # fmt: skip
    here = {"PYTHONPATH": str(folder / "site"), "SLMKIT_BUILD": str(folder / "build")}
    return folder, os.environ | here | {"OMP_NUM_THREADS": "1"}


def test_every_file_of_the_package_is_in_it_and_nothing_else(wheel):
    tracked = subprocess.run(["git", "ls-files", "slmkit"], cwd=root(), check=True, capture_output=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == set(tracked.stdout.split())
    assert not (root() / "build" / "lib").exists()  # setuptools' own folder


@pytest.mark.parametrize(("command", "said"), [
    (("count", "SmolLM2-135M"), "134,515,008"),
    (("models", "--where", "year=2024 attention=GQA"), "Qwen2-0.5B"),
    (("claims",), "C79b"),
    (("doctor",), "slmkit"),
], ids=["count", "models", "claims", "doctor"])  # fmt: skip
def test_commands_without_a_clone(alone, command, said):
    folder, environment = alone
    made = subprocess.run([sys.executable, "-m", "slmkit.cli", *command], cwd=folder, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert said in made.stdout
    where = subprocess.run([sys.executable, "-c", "import slmkit; print(slmkit.__file__)"], cwd=folder, env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert where.stdout.startswith(str(folder))


def test_a_lab_runs_without_a_clone(alone):
    folder, environment = alone
    lab = next(lab for lab in source.labs() if lab.stem.startswith("01"))
    solved = source.read(lab.read_text(encoding="utf-8"))
    nbformat.write(solved, folder / f"{lab.stem}.ipynb")
    command = [sys.executable, "-m", "jupyter", "execute", f"{lab.stem}.ipynb"]
    made = subprocess.run(command, cwd=folder, env=environment | {"SLMKIT_PROFILE": "smoke"}, capture_output=True,
                          text=True)  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
