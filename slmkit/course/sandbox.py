"""A stranger's code in a process of its own: limits on its time and memory, no network, an empty folder.

It guards against endless loops, hogs and accidents. It is no wall against an attack: code that looks for our objects in
its own process finds them. Grade strangers on a machine, or in a container, that holds nothing else.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

MIB = 2**20
BY_THE_CLOCK = 10  # times the processor time: others may use the machine too
REPORT_BYTES = MIB  # the longest file that may be written
END = "\n"  # of a report: one without it is not whole
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
# Events of Python's audit hooks (PEP 578, table in its documentation) that no exercise has a use for.
REFUSED = ("socket.", "subprocess.", "ctypes.dlopen", "resource.setrlimit", "os.system", "os.exec", "os.posix_spawn",
           "os.fork", "os.kill", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.chmod",
           "os.chown", "os.truncate", "shutil.", "urllib.")  # fmt: skip


class Limits(NamedTuple):
    """Of one piece of work: seconds of processor time, and MiB of memory beyond what is held now."""

    seconds: int = 10
    megabytes: int = 1024

    @property
    def clock(self) -> int:
        return BY_THE_CLOCK * self.seconds


class Ended(Exception):
    """The work came to no result; the message says why, in words for the one who wrote it."""


def run(work: Callable[[], str], limits: Limits, hidden: Path | None = None) -> str:
    """What `work` returns, from a forked process. No file under the folder `hidden` can be opened there.

    Raises Ended when a limit stopped it or the process died, OSError on systems that cannot fork.
    """
    if not hasattr(os, "fork"):
        raise OSError("submissions run in forked processes, which this system does not have; use Linux or macOS")
    with tempfile.TemporaryDirectory(prefix="slmkit-grade-") as folder:
        report, own = Path(folder, "report"), Path(folder, "own")
        own.mkdir()
        process = multiprocessing.get_context("fork").Process(
            target=_confined, args=(work, report, own, limits, hidden), daemon=True
        )
        process.start()
        try:
            process.join(limits.clock)
        finally:  # a notebook's cell may be interrupted meanwhile
            late = process.is_alive()
            _kill(process)
        said = report.read_text(encoding="utf-8") if process.exitcode == 0 else ""
        if said.endswith(END):
            return said.removesuffix(END)
        raise Ended(_why(late, process.exitcode, limits))


def _kill(process):
    """The process, and those that it started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # all gone, or it had not come to its own session yet
        process.kill()
    process.join()


def _why(late: bool, code: int, limits: Limits) -> str:
    if late:
        return f"no result after {limits.clock} s; is there a loop that never ends, or a wait?"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"stopped after {limits.seconds} s of processor time; is there a loop that never ends?"
    return f"the process ended without a result (exit code {code}); does the code leave Python?"


# -- in the process of its own ---------------------------------------------------------------------------------------


def _confined(work: Callable[[], str], report: Path, own: Path, limits: Limits, hidden: Path | None):
    os.setsid()
    os.chdir(own)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    sys.stdout = sys.stderr = open(null, "w")  # noqa: SIM115 (in a notebook they are no files)
    _limit(limits)
    _leave_the_network()
    with open(report, "w", encoding="utf-8") as file:  # outside the folder in which the work may write
        sys.addaudithook(_guard(str(own), str(hidden) if hidden else None))
        file.write(work() + END)


def _limit(limits: Limits):
    import resource  # not on Windows

    memory = psutil.Process().memory_info().vms + limits.megabytes * MIB
    most = resource.getrlimit(resource.RLIMIT_AS)[1]  # whoever started us may have set a limit already
    memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (REPORT_BYTES, REPORT_BYTES))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))


def _leave_the_network():
    """Into a network namespace without any interface, where the kernel grants one; the audit hook stands everywhere."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "unshare"):  # Linux
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def _guard(folder: str, hidden: str | None) -> Callable[[str, tuple], None]:
    def hook(event: str, arguments: tuple):
        if event.startswith(REFUSED):
            raise PermissionError(f"{event} is not allowed in an exercise")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path, flags = os.path.abspath(os.fsdecode(arguments[0])), arguments[2] or 0
            if flags & (os.O_WRONLY | os.O_RDWR) and not path.startswith(folder + os.sep):
                raise PermissionError(f"an exercise may write in its own folder alone, not {path}")
            if hidden and path.startswith(hidden + os.sep):
                raise PermissionError(f"{path} is not there for an exercise")

    return hook
