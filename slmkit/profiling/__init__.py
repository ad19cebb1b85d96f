"""Measuring: a tested stopwatch and memory meter, the machine's ceilings, latency, quantization, the engine.

The stopwatch and what goes with it load at once, the names of _PLACES and _MODULES on first use.
"""

from importlib import import_module

from slmkit.profiling.latency import (
    Latency,
    check_latency,
    measure_latency,
    measure_steps,
    profile_model,
    steady_latency,
    use_threads,
)
from slmkit.profiling.memory import (
    MemoryParts,
    PeakMemory,
    measure_memory,
    memory_by_part,
    peak_memory,
    tensor_bytes,
)
from slmkit.profiling.roofline import (
    Cost,
    Peaks,
    decode_cost,
    gemm_flops,
    measure_peaks,
    order_agreement,
    predict_latency,
    prefill_cost,
    read_bandwidth,
)
from slmkit.profiling.timing import AbovePeakError, Timing, UnsteadyError, measure, measure_in_turn, throughput

_PLACES = {
    "Engine": "engine",
    "compare_logits": "engine",
    "profile_engine": "engine",
    "quantize": "quantization",
    "dequantize": "quantization",
    "quantize_model": "calibrated",
    "stored_bytes": "calibrated",
    "trade_off": "calibrated",
    "breakdown": "operators",
    "Breakdown": "operators",
}
_MODULES = ("calibrated", "engine", "memory", "operators", "quantization")

__all__ = [
    "measure", "measure_in_turn", "Timing", "throughput", "AbovePeakError", "UnsteadyError",
    "measure_peaks", "gemm_flops", "read_bandwidth", "Peaks", "Cost", "prefill_cost", "decode_cost", "predict_latency",
    "order_agreement",
    "measure_latency", "measure_steps", "check_latency", "profile_model", "steady_latency", "Latency",
    "use_threads",
    "PeakMemory", "peak_memory", "tensor_bytes", "MemoryParts", "memory_by_part", "measure_memory", *_PLACES, *_MODULES,
]  # fmt: skip


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(f"slmkit.profiling.{_PLACES[name]}"), name)
    if name in _MODULES:
        return import_module(f"slmkit.profiling.{name}")
    raise AttributeError(f"slmkit.profiling has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
