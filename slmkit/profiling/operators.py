"""Where the time of a pass goes: by part of the model and by operator, as in the survey's breakdown (section 4.3).

torch.profiler records every operator. Hooks open a named range around each part, for the time of the measurement only,
so that the model itself knows nothing of it.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import torch
from torch import nn
from torch.autograd import DeviceType

from slmkit.model.attention import Attention, LatentAttention
from slmkit.model.decoder import Decoder
from slmkit.model.feedforward import FeedForward
from slmkit.model.generation import stream
from slmkit.model.normalization import Norm
from slmkit.profiling.timing import now

OTHER = "other"  # of no part: residual additions, rotary tables, the choice of a token; of no operator: Python itself
LAP = "slmkit lap"
PART = {Attention: "attention", LatentAttention: "attention", FeedForward: "ffn", Norm: "norms"}
PARTS = ("embedding", "attention", "ffn", "norms", "head")
PRODUCTS = {"linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "einsum"}
TOLERANCE = 0.02  # how far the rows may miss the stopwatch


@dataclass(frozen=True)
class Breakdown:
    """Seconds of one prefill, or of one step of decoding, under the profiler.

    The rows of `by_module` and those of `by_operator` each sum to the total, the row "other" included. An operator is
    the outermost one: what `linear` or `rms_norm` call in turn counts as theirs. Norms inside attention belong to
    attention. On a GPU a row is the time of its kernels, and "other" also holds the time in which none ran.
    """

    phase: str
    total: float  # the stopwatch's, beside the profiler
    plain: float  # the same work without the profiler
    by_module: dict[str, float]
    by_operator: dict[str, float]  # the longest first

    @property
    def module_shares(self) -> dict[str, float]:
        return shares(self.by_module)

    @property
    def operator_shares(self) -> dict[str, float]:
        return shares(self.by_operator)

    @property
    def products(self) -> float:
        """The share of products with weights. Those inside `scaled_dot_product_attention` are not told apart there."""
        return sum(share for name, share in self.operator_shares.items() if name in PRODUCTS)

    @property
    def overhead(self) -> float:
        """What the profiler added, as a share of the plain time. It adds about the same to each operator, long or
        short, so many short ones look longer than they are, and the share of products is too low rather than too high.
        """
        return self.total / self.plain - 1


def breakdown(model: Decoder, *, prompt: int = 64, new_tokens: int = 8, phase: str = "decode", batch: int = 1,
              repeats: int = 5, seed: int = 0) -> Breakdown:  # fmt: skip
    """Times the parts and operators of reading a random prompt, or of a step after it ("prefill", "decode").

    After a pass to warm up, `repeats` generations with the profiler and as many without, in turn. Of the prefills, or
    of all their steps, the fastest of each kind is kept, whole: a busy neighbour only adds time. The model runs as it
    is: its device, its dtype, torch's threads. Wall time. Raises RuntimeError when the rows miss the total by more
    than 2%.
    """
    if phase not in ("prefill", "decode"):
        raise ValueError(f"phase is {phase!r}; it must be prefill or decode")
    if new_tokens < 2:
        raise ValueError(f"new_tokens is {new_tokens}; at least 2 are needed for a step of decoding")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; it must be at least 1")
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (batch, prompt), generator=generator).to(device)
    plain, profiled = [], []
    lap_times(model, ids, new_tokens, phase, nullcontext)
    for _ in range(repeats):
        plain += lap_times(model, ids, new_tokens, phase, nullcontext)
        with recording(model, device) as profiler:
            laps = lap_times(model, ids, new_tokens, phase, partial(torch.profiler.record_function, LAP))
        profiled += [(seconds, profiler, lap) for lap, seconds in enumerate(laps)]
    for total, profiler, lap in sorted(profiled, key=itemgetter(0)):
        by_module, by_operator = rows_of(laps_of(profiler.events())[lap], device.type)
        rows = sum(by_module.values())
        if abs(rows - total) <= TOLERANCE * total:  # else the machine paused between the stopwatch and the profiler
            return Breakdown(phase, total, min(plain), by_module, by_operator)
    raise RuntimeError(
        f"the rows sum to {rows:.3g} s and the stopwatch says {total:.3g} s, more than {TOLERANCE:.0%} apart, as in "
        f"all {len(profiled)} laps; give each more work (a longer prompt, a larger batch) or ask for more repeats"
    )


def lap_times(model: Decoder, ids: torch.Tensor, new_tokens: int, phase: str, around) -> list[float]:
    """Seconds of the prefill, or of each step of decoding, within the context that `around` makes."""
    tokens, laps = stream(model, ids, new_tokens if phase == "decode" else 1), []
    if phase == "decode":
        next(tokens)
    for _ in range(new_tokens - 1 if phase == "decode" else 1):
        start = now(ids.device)
        with around():
            next(tokens)
            now(ids.device)  # a GPU finishes within
        laps.append(now(ids.device)[0] - start[0])
    return laps


@contextmanager
def recording(model: Decoder, device: torch.device) -> Iterator[torch.profiler.profile]:
    """The profiler, with a range named after each part of the model around its work."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else PyTorch 2.13 writes a line at each start and stop
    kinds = torch.profiler.ProfilerActivity
    activities = [kinds.CPU, kinds.CUDA] if device.type == "cuda" else [kinds.CPU]
    with ExitStack() as stack:
        for name, module in parts(model):
            stack.enter_context(ranged(module, name))
        for method, name in (("embedded", "embedding"), ("logits", "head")):
            stack.enter_context(ranged_method(model, method, name))
        profiler = stack.enter_context(torch.profiler.profile(activities=activities))
        with torch.profiler.record_function("warm-up"):  # the first range of a session takes many times as long
            pass
        yield profiler


def parts(model: Decoder) -> Iterable[tuple[str, nn.Module]]:
    """(part, module) of each layer and norm, shared ones once."""
    modules = {child: None for owner in (model, *model.blocks) for child in owner.children()}
    return [(PART[type(module)], module) for module in modules if type(module) in PART]


@contextmanager
def ranged(module: nn.Module, name: str):
    """Within the block, each call of `module` is a range of the profiler."""
    open_ranges = []

    def enter(*_):
        open_ranges.append(torch.profiler.record_function(name).__enter__())

    def leave(*_):
        open_ranges.pop().__exit__(None, None, None)

    hooks = module.register_forward_pre_hook(enter), module.register_forward_hook(leave, always_call=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def ranged_method(model: Decoder, method: str, name: str):
    """The same for a method, which has no hooks: a tied head is a product in `logits` and not a module."""
    original = getattr(model, method)

    def in_range(*arguments):
        with torch.profiler.record_function(name):
            return original(*arguments)

    setattr(model, method, in_range)
    try:
        yield
    finally:
        delattr(model, method)


def laps_of(events: Iterable) -> list:
    """The events that hold a lap each, in their order. On a GPU the profiler has its own range of the same name."""
    laps = [event for event in events if event.name == LAP and event.device_type == DeviceType.CPU]
    return sorted(laps, key=lambda event: event.time_range.start)


def rows_of(event, device: str = "cpu") -> tuple[dict[str, float], dict[str, float]]:
    """(by part, by operator) in seconds of all that ran within the profiler's `event`, whose own time is "other"."""
    by_module, by_operator = dict.fromkeys((*PARTS, OTHER), 0.0), defaultdict(float)

    def add(event, part: str, operator: str):
        if event.name in PARTS and part == OTHER:  # the outermost decides
            part = event.name
        elif event.name.startswith("aten::") and operator == OTHER:
            operator = event.name.removeprefix("aten::")
        if device == "cpu":
            seconds = event.self_cpu_time_total / 1e6
        else:
            kernels = [] if event.name in (LAP, *PARTS) else event.kernels  # a range is no work of its own
            seconds = sum(kernel.duration for kernel in kernels) / 1e6
        by_module[part] += seconds
        by_operator[operator] += seconds
        for child in event.cpu_children:
            add(child, part, operator)

    add(event, OTHER, OTHER)
    if device != "cpu":
        idle = event.cpu_time_total / 1e6 - sum(by_module.values())
        by_module[OTHER] += idle
        by_operator[OTHER] += idle
    longest_first = sorted(by_operator.items(), key=itemgetter(1), reverse=True)
    return by_module, {name: seconds for name, seconds in longest_first if seconds}


def shares(rows: Mapping[str, float]) -> dict[str, float]:
    """Each row as a share of their sum."""
    total = sum(rows.values())
    return {name: seconds / total for name, seconds in rows.items()}
