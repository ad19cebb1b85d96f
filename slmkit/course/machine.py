"""The machine and what a process has used of it: named beside every result, because results depend on it."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib import metadata

import psutil
import torch

from slmkit.profiling.machine import processor_name
from slmkit.profiling.memory import peak_memory

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "matplotlib")


def describe() -> dict:
    """CPU model, usable cores, memory [GB], GPU (None without one) and operating system."""
    return {
        "cpu": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a result can depend on."""
    known = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional one
    return known


def usage() -> dict:
    """What this process has used since it began: wall seconds, CPU seconds (children that ended included), peak MB."""
    spent = os.times()
    return {
        "wall_s": round(time.time() - psutil.Process().create_time(), 1),
        "cpu_s": round(spent.user + spent.system + spent.children_user + spent.children_system, 1),
        "peak_mb": round(peak_memory() / 1e6),
    }


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def in_words(machine: dict) -> str:
    """One line, such as "Intel Xeon 2.20GHz, 2 cores, 8 GB, NVIDIA L4"."""
    cores = f"{machine['cores']} core" + ("s" if machine["cores"] != 1 else "")
    return ", ".join(filter(None, [machine["cpu"], cores, f"{machine['memory_gb']:.0f} GB", machine["gpu"]]))
