"""Tests that need a browser, the llama.cpp engine, nbgrader or a C++ compiler are skipped where it is missing, with a
line that says so, and those that need what set-up fetches (the pretrained model, the texts of packages) where it
cannot be had.

SLMKIT_REQUIRE=browser,engine,grading,compiler,model turns these skips into failures; "model" is what set-up fetches.
"""

import os
import shutil
from importlib.util import find_spec

import pytest
from hypothesis import settings

# Before torch is imported: a process forked from one that computes on several threads can hang.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def _browser():
    chromium = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return None if chromium and shutil.which("chromedriver") else "needs Chromium and its chromedriver"


def _engine():
    return None if find_spec("llama_cpp") else "needs llama-cpp-python; `make engine` builds it"


def _compiler():
    import torch

    from slmkit.training.trainer import cannot_compile

    return cannot_compile(torch.device("cpu"))


def _grading():
    from slmkit.paths import root

    nbgrader = root() / ".venv" / "grading" / "bin" / "nbgrader"
    return None if nbgrader.exists() else "needs nbgrader; `make grading` installs it"


# By marker: what says why its tests cannot run here, or None.
MISSING = {"browser": _browser, "engine": _engine, "compiler": _compiler, "grading": _grading}
KNOWN = {*MISSING, "model"}


def _required() -> set[str]:
    return set(filter(None, os.environ.get("SLMKIT_REQUIRE", "").split(",")))


def pytest_configure(config):
    if unknown := _required() - KNOWN:
        raise pytest.UsageError(f"SLMKIT_REQUIRE names {min(unknown)!r}; it takes {', '.join(sorted(KNOWN))}")
    # How long an example takes is no property of the code, least of all on a busy machine.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


def pytest_runtest_setup(item):
    for part, missing in MISSING.items():
        if item.get_closest_marker(part) and (why := missing()):
            (pytest.fail if part in _required() else pytest.skip)(why)


@pytest.fixture(scope="session")
def fetched():
    """Calls a function that reads what set-up fetches, and skips the test where that fails; see above."""

    def call(read, *args, **options):
        try:
            return read(*args, **options)
        except OSError as error:  # no network, and not fetched before
            if "model" in _required():
                raise
            pytest.skip(str(error))

    return call
