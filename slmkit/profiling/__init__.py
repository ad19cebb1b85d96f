"""Measuring: a tested stopwatch and memory meter, the machine's ceilings, the latency of a decoder."""

from slmkit.profiling.latency import Latency, check_latency, measure_latency, measure_steps, profile_model, use_threads
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

__all__ = [
    "measure", "measure_in_turn", "Timing", "throughput", "AbovePeakError", "UnsteadyError",
    "measure_peaks", "gemm_flops", "read_bandwidth", "Peaks", "Cost", "prefill_cost", "decode_cost", "predict_latency",
    "order_agreement",
    "measure_latency", "measure_steps", "check_latency", "profile_model", "Latency", "use_threads",
    "PeakMemory", "peak_memory", "tensor_bytes", "MemoryParts", "memory_by_part", "measure_memory",
]  # fmt: skip
