"""The machine that a measurement is taken on: names for it, and whether others are using it."""

import os
import platform
import subprocess
from pathlib import Path

import psutil
import torch


def processor_name(device: str | torch.device = "cpu") -> str:
    """The GPU's name, or the processor's as the system gives it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    if (cpuinfo := Path("/proc/cpuinfo")).is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.partition(":")[2].split())
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def crowded(threads: int, seconds: float = 0.2) -> str | None:
    """One line of advice when other programs leave too few processors for `threads`, else None. Looks for `seconds`.

    The threads of one operation wait for the last of them, and spin while they wait (OpenMP). One that has to share its
    processor holds up all.
    """
    processors = os.cpu_count()
    busy = psutil.cpu_percent(seconds) / 100 * processors
    if threads == 1 or processors - busy > threads - 0.5:
        return None
    return (f"other programs keep {busy:.1f} of {processors} processors busy, and torch's {threads} threads would wait "
            "for each other; with OMP_NUM_THREADS=1 in front of it, a command may be many times faster")  # fmt: skip
