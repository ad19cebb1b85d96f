"""Memory: the bytes of tensors, the growth of a process, and what a decoder takes, part by part."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from slmkit.config import LayerShape, ModelConfig
from slmkit.model.cache import KVCache
from slmkit.model.counting import kv_cache_bytes, weight_bytes
from slmkit.model.decoder import Decoder


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
        give_back()
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


def give_back():
    """Has the C library hand freed memory to the system where it can; else it stays resident, and what reuses it does
    not count as growth."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc has the function
        ctypes.CDLL(None).malloc_trim(0)


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


# -- by part ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemoryParts:
    """Bytes of a decoder that reads a prompt and writes some tokens."""

    weights: int  # shared ones once
    tables: int  # rotary cosines and sines of every position; the slopes of ALiBi
    cache: int  # keys and values of the prompt and of all new tokens but the last
    activations: int  # the most that is in use at one time while the prompt passes through the layers
    logits: int  # of the prompt's last token, or of each of its tokens

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def columns(self) -> dict[str, float]:
        """Megabytes by part, for a record."""
        return {f"{name}_mb": value / 1e6 for name, value in asdict(self).items()}


def memory_by_part(config: ModelConfig, prompt: int, new_tokens: int = 1, dtype: torch.dtype = torch.float32,
                   batch: int = 1, *, all_logits: bool = False) -> MemoryParts:  # fmt: skip
    """What `measure_memory` finds, from the configuration alone. Activations are those of PyTorch on a processor.

    Raises ValueError where PyTorch's attention kernel cannot be used as it is: ALiBi, capped scores, or a window that
    is shorter than the prompt.
    """
    _check_tokens(prompt, new_tokens)
    layers = [config.layer(i) for i in range(config.n_layers)]
    narrow = any(layer.window is not None and layer.window < prompt for layer in layers)
    if config.positions == "alibi" or config.score_cap is not None or narrow:
        raise ValueError("memory_by_part has no formula for ALiBi, score_cap, or a window shorter than the prompt; "
                         "measure_memory measures them")  # fmt: skip
    rotations = {config.rotation(i) for i in range(config.n_layers)} - {None}
    token = max(max(_attention(config, layer, prompt, dtype, batch), _ffn(config, layer, dtype)) for layer in layers)
    return MemoryParts(
        weights=weight_bytes(config, dtype),
        tables=len(rotations) * 2 * config.max_context * config.rope_dim * dtype.itemsize,
        cache=kv_cache_bytes(config, prompt + new_tokens - 1, dtype, batch),
        activations=round(batch * prompt * token),
        logits=batch * (prompt if all_logits else 1) * config.vocab_size * dtype.itemsize,
    )


def _ffn(config: ModelConfig, layer: LayerShape, dtype: torch.dtype) -> int:
    """Bytes a token where the FFN is widest.

    Of width d_model: what entered the block, attention's output, the sum of both, and what the norms gave. Of width
    d_ff: the gate, `up` and their product; or `up` and its activation.
    """
    kept = 3 if config.block == "sequential" else 2
    if config.norm_placement in ("pre", "both"):
        kept += 1 if config.block == "parallel_shared_norm" else 2
    wide = 3 if config.ffn == "gated" or config.activation == "relu2" else 2
    return (kept * config.d_model + wide * layer.d_ff) * dtype.itemsize


def _attention(config: ModelConfig, layer: LayerShape, prompt: int, dtype: torch.dtype, batch: int) -> float:
    """Bytes a token where attention is widest: at its rotation, or where it mixes values.

    The kernel keeps no scores; on a processor it reads bfloat16 as fp32. Values of another width than keys have no
    kernel there: two copies of the scores, which bytes mark, and a mask.
    """
    size, upcast = dtype.itemsize, dtype == torch.bfloat16
    kept = config.d_model * (2 if config.norm_placement in ("pre", "both") else 1)
    query, value = layer.n_heads * config.head_dim, layer.n_heads * (config.v_head_dim or config.head_dim)
    key, latent, turning = layer.n_kv_heads * config.head_dim, config.attention == "mla", 0.0
    if latent:  # the query, its rotated part, keys and values rebuilt; then both parts of query and key joined
        key, kept = query, kept + 4 * query + value
    else:
        share = config.rope_dim / config.head_dim
        turned = max(3 * share, 1 + share if share < 1 else 0)  # a copy times cosine, a rolled one, that one times sine
        turning = (kept + query + 2 * key + max(query * turned, query + key * turned)) * size
        kept += query
    mixing = value if value == query else query + layer.n_heads * prompt * 2.25 + prompt / batch
    copied = value if upcast or (latent and value == query) else 0
    if upcast:
        mixing += query + key + (value if latent else key)
    return max(turning, (kept + copied) * size + mixing * (4 if upcast else size))


@torch.inference_mode()
def measure_memory(model: Decoder, prompt: int, new_tokens: int = 1, *, batch: int = 1,
                   all_logits: bool = False) -> MemoryParts:  # fmt: skip
    """Measures the parts of a real run: tensors by their storage, activations by what PyTorch's allocator handed out.

    The model runs as it is, on its device and in its dtype. What libraries allocate by themselves is not seen.
    """
    _check_tokens(prompt, new_tokens)
    weight = model.embedding.weight
    ids = torch.zeros(batch, prompt, dtype=torch.long, device=weight.device)
    model.hidden(ids[:, :1])  # libraries reserve their workspace at the first call
    cache = KVCache(model.config, batch, prompt + new_tokens - 1, dtype=weight.dtype, device=weight.device)
    activations, hidden = _allocated(lambda: model.hidden(ids, cache), weight.device)
    return MemoryParts(
        weights=tensor_bytes(model.parameters()),
        tables=tensor_bytes(model.buffers()),
        cache=tensor_bytes(store for layer in cache.layers for store in layer),
        activations=activations,
        logits=tensor_bytes(model.logits(hidden if all_logits else hidden[:, -1])),
    )


def _allocated(work: Callable[[], object], device: torch.device) -> tuple[int, object]:
    """The most bytes that PyTorch's allocator had given out at one time of `work()`, and what it returned."""
    if device.type == "cuda":
        with PeakMemory(device) as memory:
            result = work()
        return memory.grown, result
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler tells the terminal that it starts
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # negative where memory is given back
        most = max(most, held)
    return most, result


def _check_tokens(prompt: int, new_tokens: int):
    if prompt < 1 or new_tokens < 1:
        raise ValueError(f"prompt = {prompt} and new_tokens = {new_tokens} must both be at least 1")
