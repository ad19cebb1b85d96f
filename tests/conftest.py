"""Tests that need a browser or the llama.cpp engine are skipped where it is missing, with a line that says so.

SLMKIT_REQUIRE=browser,engine turns these skips into failures; `model` does so for the pretrained model, whose tests try
to fetch it themselves.
"""

import os
import shutil
from importlib.util import find_spec

import pytest

# Before torch is imported: a process forked from one that computes on several threads can hang.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = {
    "browser": None if CHROMIUM and shutil.which("chromedriver") else "needs Chromium and its chromedriver",
    "engine": None if find_spec("llama_cpp") else "needs llama-cpp-python; `make engine` builds it",
}


def pytest_configure(config):
    required = set(filter(None, os.environ.get("SLMKIT_REQUIRE", "").split(",")))
    if unknown := required - {*MISSING, "model"}:
        raise pytest.UsageError(f"SLMKIT_REQUIRE names {min(unknown)!r}; it takes {', '.join(MISSING)}, model")


def pytest_runtest_setup(item):
    required = os.environ.get("SLMKIT_REQUIRE", "").split(",")
    for part, why in MISSING.items():
        if why and item.get_closest_marker(part):
            (pytest.fail if part in required else pytest.skip)(why)
