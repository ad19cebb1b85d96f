"""The wheel alone, without a clone: what is in it, what it says of itself, that its commands and notebooks run where
there is nothing but it and the libraries that it declares.

Those are linked into a new environment, out of the one that runs the tests: nothing is downloaded, and the environment
holds no other library, nor anything that says that there is one. `python tools/fresh_notebooks.py` installs for real.
"""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slmkit.doctor import EXTRAS
from slmkit.paths import root

PROJECT = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
pytestmark = pytest.mark.slow


def installed_with(requirements) -> set[str]:
    """The names of all distributions that pip would install for these, as those that are installed here say it."""
    found, waiting = set(), [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        known = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        if known in found:
            continue
        found.add(known)
        for line in metadata.requires(wanted.name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": one}) for one in ("", *wanted.extras)):
                waiting.append(needed)
    return {name for name, *_ in found}


def new_environment(folder: Path, wheel: Path, *more: str) -> Path:
    """An environment with the wheel, pip, the base dependencies and `more`; its interpreter."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in installed_with([*PROJECT["dependencies"], "pip", *more]):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (site / top).exists() or (site / top).symlink_to(distribution.locate_file(top))
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return python


@pytest.fixture(scope="module")
def wheel() -> Path:
    subprocess.run(["bash", "tools/wheel.sh"], cwd=root(), check=True, capture_output=True)
    (made,) = (root() / "build" / "dist").glob("slmkit-*.whl")
    return made


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """run(*words) -> what `python *words` gives in an environment without any of the extras, in an empty folder."""
    folder = tmp_path_factory.mktemp("bare")
    python = new_environment(folder / "environment", wheel)
    (folder / "here").mkdir()
    (folder / "home").mkdir()
    environment = {"HOME": str(folder / "home"), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}

    def run(*words):
        return subprocess.run([python, *words], cwd=folder / "here", env=environment, capture_output=True, text=True)

    return run


# -- what is in it ---------------------------------------------------------------------------------------------------


def test_every_file_of_the_package_is_in_it_and_nothing_else(wheel):
    tracked = subprocess.run(["git", "ls-files", "slmkit"], cwd=root(), check=True, capture_output=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == set(tracked.stdout.split())
    assert not (root() / "build" / "lib").exists()  # setuptools' own folder


def test_it_says_what_pyproject_says_and_has_the_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        said = message_from_string(archive.read(f"{folder}/METADATA").decode())
        licences = {name.rpartition("/")[2] for name in archive.namelist() if "/licenses/" in name}
    assert wheel.name == f"slmkit-{PROJECT['version']}-py3-none-any.whl"
    assert (said["Name"], said["Version"], said["Requires-Python"]) == ("slmkit", PROJECT["version"], ">=3.11")
    assert said["License-Expression"] == "Apache-2.0"
    assert licences == {"LICENSE", "LICENSE-PROSE"}
    assert set(said.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    needed = [Requirement(line) for line in said.get_all("Requires-Dist")]
    assert {one.name for one in needed if one.marker is None} == {
        Requirement(line).name for line in PROJECT["dependencies"]
    }


def test_the_same_commit_gives_the_same_bytes(wheel):
    before = wheel.read_bytes()
    subprocess.run(["bash", "tools/wheel.sh"], cwd=root(), check=True, capture_output=True)
    assert wheel.read_bytes() == before


# -- the extras ------------------------------------------------------------------------------------------------------


def test_doctor_knows_the_extras_and_what_each_brings():
    optional = PROJECT["optional-dependencies"]
    assert set(EXTRAS) == set(optional)
    brings = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        here = [module for module in modules if module in brings]  # not all need to be installed
        coming = installed_with(line for line in optional[extra] if _is_here(line))
        strange = [module for module in here if coming.isdisjoint(map(canonicalize_name, brings[module]))]
        assert not strange, f"{extra} does not bring {strange}"
        named = {canonicalize_name(name) for module in here for name in brings[module]}
        wanted = {canonicalize_name(Requirement(line).name) for line in optional[extra] if _is_here(line)}
        missing = wanted - named - ({"llama-cpp-python"} if extra == "serving" else set())  # the engine brings it
        assert not missing, f"not in slmkit.doctor.EXTRAS[{extra!r}]: {missing}"


def _is_here(requirement: str) -> bool:
    try:
        return bool(metadata.version(Requirement(requirement).name))
    except metadata.PackageNotFoundError:
        return False


IMPORT_ALL = """
import importlib, pkgutil, slmkit
for found in pkgutil.walk_packages(slmkit.__path__, "slmkit."):
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        print(found.name, error.name.partition(".")[0])
    except SystemExit:
        pass
"""


def test_without_extras_only_what_makes_pages_cannot_be_imported_and_doctor_knows_why(bare):
    made = bare("-c", IMPORT_ALL)
    assert made.returncode == 0, made.stderr[-2000:]
    missing = dict(line.split() for line in made.stdout.splitlines())
    assert missing["slmkit.course.pages"] in EXTRAS["book"]
    known = {module for modules in EXTRAS.values() for module in modules}
    assert set(missing.values()) <= known, "a library is neither declared nor known to slmkit doctor"
    assert {name for name in missing if not name.startswith("slmkit.course.")} <= {
        f"slmkit.data.{name}" for name in ("blocks", "dedup", "filtering")
    }


# -- its commands ----------------------------------------------------------------------------------------------------

RIGHT = {
    "count SmolLM2-135M": "134,515,008",
    "claims": "C79b",
    "--version": f"slmkit {PROJECT['version']}",
    "train --corpus tinyworld --steps 1 --out made --d-model 16 --layers 1 --heads 2 --vocab 300": "bits/byte",
}
LACKING = {
    "clean texts cleaned": "pip install 'slmkit[data]'",
    "grade texts --out graded": "pip install 'slmkit[book]'",
    "bench --quick --only data": "pip install 'slmkit[data]'",
    "bench --quick --only evaluation": "pip install 'slmkit[evaluation]'",
    "profile SmolLM2-135M --engine llama.cpp": "pip install 'slmkit[engine]'",
    "lab list": "run this from a clone",
    "lab run 00": "run this from a clone",
}


@pytest.mark.parametrize("command", RIGHT)
def test_a_command_that_needs_no_extra_runs(bare, command):
    made = bare("-m", "slmkit.cli", *command.split())
    assert made.returncode == 0, made.stderr
    assert RIGHT[command] in made.stdout


@pytest.mark.parametrize("command", LACKING)
def test_a_command_that_lacks_a_part_says_so_in_one_line(bare, command):
    bare("-c", "import pathlib; pathlib.Path('texts').mkdir(exist_ok=True)")
    made = bare("-m", "slmkit.cli", *command.split())
    assert made.returncode in (1, 2)
    assert made.stderr.count("\n") == 1, made.stderr
    assert made.stderr.startswith("slmkit ")
    assert LACKING[command] in made.stderr


def test_the_harness_says_what_it_lacks(bare):
    made = bare("-m", "slmkit.evaluation.harness", "--help")
    assert (made.returncode, made.stderr.count("\n")) == (1, 1)
    assert "pip install 'slmkit[evaluation]'" in made.stderr


def test_doctor_names_every_missing_part_with_its_command(bare):
    said = bare("-m", "slmkit.cli", "doctor").stdout
    for extra in EXTRAS:
        assert f"to get it: pip install 'slmkit[{extra}]'" in said
    missing = re.findall(r"^ +no  (.*)\n +(.*)$", said, flags=re.M)
    assert len(missing) >= len(EXTRAS)
    assert all(remedy.startswith("to get it: ") for _, remedy in missing)


# -- its notebooks ---------------------------------------------------------------------------------------------------


def test_downloaded_notebooks_run_without_a_clone(wheel, tmp_path):
    """Two that fetch nothing; the tool runs all, and weekly does."""
    python = new_environment(tmp_path / "environment", wheel, "ipykernel", "nbclient")
    tool = [sys.executable, "tools/fresh_notebooks.py", "01", "05", "--python", python]
    made = subprocess.run(tool, cwd=root(), capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert len(re.findall(r"^0[15]_\w+ +[\d.]+ +[\d.]+", made.stdout, flags=re.M)) == 2
