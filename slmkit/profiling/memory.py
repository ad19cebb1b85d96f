"""Memory: the bytes of tensors, and how far the process grew while some code ran."""

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn


def tensor_bytes(tensors: nn.Module | Tensor | Iterable[Tensor]) -> int:
    """Bytes of the storage behind a module's parameters and buffers, or behind tensors; shared storage counts once."""
    if isinstance(tensors, nn.Module):
        tensors = [*tensors.parameters(), *tensors.buffers()]
    elif isinstance(tensors, Tensor):
        tensors = [tensors]
    storages = {storage.data_ptr(): storage.nbytes() for storage in (t.untyped_storage() for t in tensors)}
    return sum(storages.values())


class PeakMemory:
    """`with PeakMemory() as memory: …` — then `memory.peak` is the most bytes in use, `memory.grown` the rise to it.

    On a processor that is the resident set, read every two milliseconds by a thread; where the process's own
    high-water mark rose meanwhile, that mark, which misses nothing. On a GPU it is what PyTorch has allocated.
    Do not time code under it: the thread takes CPU time.
    """

    def __init__(self, device: str | torch.device = "cpu", interval: float = 0.002):
        self.device, self.interval = torch.device(device), interval
        self.peak = self.grown = 0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._start = torch.cuda.memory_allocated(self.device)
            return self
        self._process, self._stop, self._mark = psutil.Process(), threading.Event(), peak_memory()
        self._start = self.peak = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(self.interval):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def __exit__(self, *_):
        if self.device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self.device)
        else:
            self._stop.set()
            self._thread.join()
            mark = peak_memory()
            self.peak = max(self.peak, self._process.memory_info().rss, mark if mark > self._mark else 0)
        self.grown = self.peak - self._start


def peak_memory() -> int:
    """The most bytes that this process has had resident since it began; 0 where the system does not say.

    Linux keeps getrusage's figure across exec, so a process begun by a bigger one would report its parent's memory;
    VmHWM belongs to the program that runs now.
    """
    status = Path("/proc/self/status")
    if status.is_file() and "VmHWM:" in (text := status.read_text()):
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    # macOS counts in bytes, the others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
