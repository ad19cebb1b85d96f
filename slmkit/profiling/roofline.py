"""The roofline: what a machine can compute, what it can read, and which of the two limits a piece of work.

Work of I FLOPs a byte runs at no more than min(peak FLOP/s, I × bandwidth) (Williams et al. 2009). Both ceilings are
measured here, on the machine at hand; they are never looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
import torch.nn.functional as F

from slmkit.config import ModelConfig
from slmkit.model.counting import count_parameters, flops_by_part, kv_cache_bytes
from slmkit.profiling.machine import processor_name
from slmkit.profiling.timing import measure

MIB = 2**20


@dataclass(frozen=True)
class Peaks:
    """Measured ceilings of one device with a number of threads."""

    device: str
    processor: str
    threads: int
    flops: dict[str, dict[int, float]]  # dtype name -> side of a square product -> FLOP/s
    bandwidth: dict[int, float]  # bytes of the array read -> bytes/s
    cache_bytes: int | None = None  # last-level cache; None: unknown

    def peak_flops(self, dtype: torch.dtype = torch.float32) -> float:
        """The fastest product of any size, in FLOP/s."""
        if (name := dtype_name(dtype)) not in self.flops:
            raise ValueError(f"no peak was measured for {name}; measured: {', '.join(self.flops)}")
        return max(self.flops[name].values())

    def peak_bandwidth(self, working_set: int | None = None) -> float:
        """Bytes/s that can be read from memory; for a smaller `working_set`, in bytes, from the caches that hold it.

        The answer is the best of the measured sizes from the largest one not above `working_set` upwards.
        """
        sizes = sorted(self.bandwidth)
        at_most = [size for size in sizes if working_set is None or size <= working_set] or sizes[:1]
        return max(rate for size, rate in self.bandwidth.items() if size >= at_most[-1])

    def ridge(self, dtype: torch.dtype = torch.float32) -> float:
        """The intensity, in FLOPs a byte, at which the two ceilings meet."""
        return self.peak_flops(dtype) / self.peak_bandwidth()

    def attainable(self, intensity: float, dtype: torch.dtype = torch.float32) -> float:
        """The roof above `intensity` FLOPs a byte, in FLOP/s."""
        return min(self.peak_flops(dtype), intensity * self.peak_bandwidth())

    def __str__(self):
        cache = f"{self.cache_bytes / MIB:.1f} MiB" if self.cache_bytes else "unknown"
        lines = [f"{self.processor}, threads: {self.threads}, last-level cache: {cache}"]
        for name, rates in self.flops.items():
            lines.append(
                f"{name:>9}: " + ", ".join(f"{side}² {rate / 1e9:.0f}" for side, rate in rates.items()) + " GFLOP/s"
            )
        rates = ", ".join(f"{size / MIB:.0f} MiB {rate / 1e9:.1f}" for size, rate in sorted(self.bandwidth.items()))
        return "\n".join([*lines, f"{'reading':>9}: {rates} GB/s"])


def measure_peaks(device="cpu", dtypes=(torch.float32, torch.bfloat16), sides: tuple[int, ...] | None = None,
                  array_bytes: tuple[int, ...] | None = None, repeats: int = 7) -> Peaks:  # fmt: skip
    """Measures the ceilings of `device` with torch's present number of threads: seconds on a processor.

    A ceiling is the fastest repeat, not the median: a busy neighbour can only lower it. `sides` are the square
    products tried. `array_bytes` are the arrays read; by default up to four times the last-level cache, so that little
    of the largest can have stayed in it, or a quarter of the free memory where that is less.
    """
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda' and PyTorch finds no GPU; use device = 'cpu'")
    sides = sides or ((1024, 2048, 4096, 8192) if device.type == "cuda" else (256, 512, 1024))
    array_bytes = array_bytes or default_array_bytes(device)
    return Peaks(
        device=device.type,
        processor=processor_name(device),
        threads=torch.get_num_threads(),
        flops={
            dtype_name(dtype): {side: gemm_flops(side, dtype, device, repeats) for side in sides} for dtype in dtypes
        },
        bandwidth={size: read_bandwidth(size, device, repeats) for size in array_bytes},
        cache_bytes=last_level_cache(device),
    )


def measure_again(peaks: Peaks) -> Peaks:
    """The same ceilings after a second look with torch's present threads, each the higher of the two."""
    if peaks.threads != torch.get_num_threads():
        raise ValueError(f"the peaks are of {peaks.threads} threads; torch now has {torch.get_num_threads()}")
    dtypes = [getattr(torch, name) for name in peaks.flops]
    sides = {side for rates in peaks.flops.values() for side in rates}
    again = measure_peaks(peaks.device, dtypes, tuple(sides), tuple(peaks.bandwidth))
    flops = {
        name: {side: max(rate, again.flops[name][side]) for side, rate in rates.items()}
        for name, rates in peaks.flops.items()
    }
    bandwidth = {size: max(rate, again.bandwidth[size]) for size, rate in peaks.bandwidth.items()}
    return replace(peaks, flops=flops, bandwidth=bandwidth)


def gemm_flops(side: int, dtype: torch.dtype = torch.float32, device="cpu", repeats: int = 7) -> float:
    """FLOP/s of a square matrix product, the fastest repeat. Small sides are repeated within one timing."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    flops, inner = 2 * side**3, max(1, 2**28 // side**3)

    @torch.inference_mode()
    def products():
        for _ in range(inner):
            F.linear(a, b)

    return inner * flops / measure(products, repeats=repeats, device=device).minimum


def read_bandwidth(array_bytes: int, device="cpu", repeats: int = 7) -> float:
    """Bytes/s at which an fp32 array is read: the best of a sum, a matrix-vector product and the inner product of its
    halves, which reads in two places at once; the fastest repeat. Raises ValueError for less than a row of it."""
    if array_bytes < 4 * 4096:
        raise ValueError(f"array_bytes is {array_bytes}; a single row takes {4 * 4096}")
    matrix = torch.ones(array_bytes // (4 * 4096), 4096, device=device)
    vector, inner = torch.ones(1, 4096, device=device), max(1, 64 * MIB // array_bytes)
    halves = matrix.view(2, -1)

    @torch.inference_mode()
    def repeatedly(read):
        for _ in range(inner):
            read()

    best = min(
        measure(lambda read=read: repeatedly(read), repeats=repeats, device=device).minimum
        for read in (matrix.sum, lambda: F.linear(vector, matrix), lambda: torch.dot(*halves))
    )
    return inner * matrix.numel() * 4 / best


def default_array_bytes(device: torch.device) -> tuple[int, ...]:
    """Sizes a factor of four apart, from a few MiB to four times the last-level cache (1 GiB where unknown)."""
    largest = max(4 * (last_level_cache(device) or 256 * MIB), 256 * MIB)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    largest = min(largest, free // 4)
    return tuple(largest // 4**step for step in (4, 3, 2, 1, 0))


def last_level_cache(device="cpu") -> int | None:
    """Bytes of the processor's or GPU's last cache; None where the system does not say."""
    if torch.device(device).type == "cuda":
        return getattr(torch.cuda.get_device_properties(device), "L2_cache_size", None)
    units = {"K": 1024, "M": MIB}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        if text[-1:] in units and text[:-1].isdigit():
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=None)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Cost:
    """What one forward pass takes."""

    flops: float
    bytes: float  # read from memory or written to it at the least: every weight once, the cache once

    @property
    def intensity(self) -> float:
        return self.flops / self.bytes

    def seconds(self, peaks: Peaks, dtype: torch.dtype = torch.float32) -> float:
        """The least time the roofline allows: computing and reading overlap, the slower one decides."""
        return max(self.flops / peaks.peak_flops(dtype), self.bytes / peaks.peak_bandwidth(int(self.bytes)))

    def bound(self, peaks: Peaks, dtype: torch.dtype = torch.float32) -> str:
        """ "compute" or "memory": which of the two decides."""
        computing = self.flops / peaks.peak_flops(dtype)
        return "compute" if computing > self.bytes / peaks.peak_bandwidth(int(self.bytes)) else "memory"


def prefill_cost(config: ModelConfig, prompt: int, dtype: torch.dtype = torch.float32, batch: int = 1) -> Cost:
    """Reading a prompt of `prompt` tokens: every weight once, logits for the last token only, the cache written."""
    parts = flops_by_part(config, prompt, "prefill")
    head = parts.pop("head")
    cache = kv_cache_bytes(config, prompt, dtype, batch)
    return Cost(batch * (prompt * sum(parts.values()) + head), weights_read(config, dtype) + cache)


def decode_cost(config: ModelConfig, context: int, dtype: torch.dtype = torch.float32, batch: int = 1) -> Cost:
    """One more token for each of `batch` sequences that then hold `context`: weights once, every cache once."""
    flops = sum(flops_by_part(config, context, "decode").values())
    return Cost(batch * flops, weights_read(config, dtype) + kv_cache_bytes(config, context, dtype, batch))


def weights_read(config: ModelConfig, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of the weights one pass reads. A lookup table is not read as a whole unless it is also the head; shared
    weights count once, as if the cache kept them.
    """
    count = count_parameters(config)
    head = count.token_embedding if config.tied_embeddings else count.head
    return (count.non_embedding + head) * dtype.itemsize


def predict_latency(config: ModelConfig, peaks: Peaks, prompt: int, dtype: torch.dtype = torch.float32,
                    batch: int = 1) -> dict[str, float]:  # fmt: skip
    """The roofline's lower bounds in seconds, `ttft` and `tpot`, and the `tokens_per_second` of decoding they allow."""
    tpot = decode_cost(config, prompt + 1, dtype, batch).seconds(peaks, dtype)
    ttft = prefill_cost(config, prompt, dtype, batch).seconds(peaks, dtype)
    return {"ttft": ttft, "tpot": tpot, "tokens_per_second": batch / tpot}


class Agreement(NamedTuple):
    """How far measured times come in the order that was predicted."""

    pairs: int
    held: int
    exceptions: list[str]

    @property
    def share(self) -> float:
        return self.held / self.pairs

    def __str__(self):
        told = f"{self.held} of {self.pairs} pairs in the predicted order ({self.share:.0%})"
        return told + "".join(f"\n  not so: {exception}" for exception in self.exceptions)


def order_agreement(predicted: Mapping[str, float], measured: Mapping[str, float], margin: float = 0.05) -> Agreement:
    """Compares every two works whose predicted times, in any unit, differ by more than `margin`: which was faster?

    Closer predictions are no statement on order. Raises ValueError when the names differ or no pair is left.
    """
    if predicted.keys() != measured.keys():
        raise ValueError(f"predicted are {', '.join(predicted)}; measured are {', '.join(measured)}")
    pairs = [sorted(pair, key=predicted.get) for pair in combinations(predicted, 2)]
    pairs = [(a, b) for a, b in pairs if predicted[b] > (1 + margin) * predicted[a]]
    if not pairs:
        raise ValueError(f"no two predicted times differ by more than {margin:.0%}")
    odd = [
        f"{b} was to take {predicted[b] / predicted[a]:.2f} times as long as {a}, took {measured[b] / measured[a]:.2f}"
        for a, b in pairs
        if measured[b] <= measured[a]
    ]
    return Agreement(len(pairs), len(pairs) - len(odd), odd)
