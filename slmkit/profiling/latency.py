"""Latency of generation, as the survey measures it (section 4): time to first token, then time per further token."""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from slmkit.config import ModelConfig
from slmkit.model.cache import KVCache
from slmkit.model.counting import count_parameters, kv_cache_bytes, weight_bytes
from slmkit.model.decoder import Decoder
from slmkit.model.generation import stream
from slmkit.profiling.machine import processor_name
from slmkit.profiling.memory import PeakMemory
from slmkit.profiling.roofline import Peaks, decode_cost, dtype_name, measure_again, predict_latency, prefill_cost
from slmkit.profiling.timing import AbovePeakError, Timing, default_clock, measure_in_turn, now, throughput, timing


@dataclass(frozen=True)
class Latency:
    """Times of one generation setting, all repeats kept."""

    prompt: int  # tokens
    new_tokens: int
    batch: int
    ttft: Timing  # time to first token: the prompt is read and its next token chosen
    tpot: Timing  # time per output token after the first, a mean over the tokens of each repeat

    @property
    def tokens_per_second(self) -> float:
        """Decoding rate over the whole batch."""
        return self.batch / self.tpot.median

    def columns(self) -> dict:
        """What a record of this measurement says of time: milliseconds, the medians and all repeats."""
        return {
            "prompt_tokens": self.prompt,
            "new_tokens": self.new_tokens,
            "clock": self.ttft.clock,
            "ttft_ms": 1e3 * self.ttft.median,
            "tpot_ms": 1e3 * self.tpot.median,
            "tokens_per_second": self.tokens_per_second,
            "steady": self.ttft.steady and self.tpot.steady,
            "ttft_ms_repeats": [1e3 * t for t in self.ttft.seconds],
            "tpot_ms_repeats": [1e3 * t for t in self.tpot.seconds],
        }


def measure_latency(model: Decoder, prompt: int, new_tokens: int = 16, *, repeats: int = 5, warmup: int = 1,
                    batch: int = 1, seed: int = 0, clock: str | None = None) -> Latency:  # fmt: skip
    """Greedy generation of `new_tokens` after a random prompt of `prompt` tokens, `repeats` times from the start.

    The model runs as it is: its device, its dtype, torch's threads. What the tokens are does not matter to the time.
    """
    if new_tokens < 2:
        raise ValueError(f"new_tokens is {new_tokens}; at least 2 are needed for a time per token after the first")
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats = {repeats} must be at least 1 and warmup = {warmup} at least 0")
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (batch, prompt), generator=generator).to(device)
    first, rest = [], []
    for _ in range(warmup + repeats):
        tokens, start = stream(model, ids, new_tokens), now(device)
        next(tokens)
        read = now(device)
        for _ in tokens:
            pass
        end = now(device)
        first.append((read[0] - start[0], read[1] - start[1]))
        rest.append((end[0] - read[0], end[1] - read[1]))
    clock = clock or default_clock(device)
    tpot = timing(rest[warmup:], clock).each(new_tokens - 1)
    return Latency(prompt, new_tokens, batch, timing(first[warmup:], clock), tpot)


def measure_steps(models: Mapping[str, Decoder], context: int, repeats: int = 7) -> dict[str, Timing]:
    """One step of decoding that sees `context` tokens, for several models in turn, on a batch of one.

    Their caches are allocated and not filled: what they hold does not matter to the time.
    """
    works = {}
    for name, model in models.items():
        weight = model.embedding.weight
        cache = KVCache(model.config, 1, context, dtype=weight.dtype, device=weight.device)
        works[name] = partial(_step, model, cache, torch.zeros(1, 1, dtype=torch.long, device=weight.device))
    return measure_in_turn(works, repeats=repeats, device=weight.device)


@torch.no_grad()
def _step(model: Decoder, cache: KVCache, token: torch.Tensor):
    cache.length = cache.capacity - 1
    model(token, cache)


def check_latency(latency: Latency, config: ModelConfig, peaks: Peaks, dtype: torch.dtype = torch.float32):
    """Raises AbovePeakError when a latency implies more FLOP/s or bytes/s than the machine's ceilings.

    The ceilings may have been taken in a slow spell of the machine, so they are measured again before it raises.
    """
    try:
        _compare(latency, config, peaks, dtype)
    except AbovePeakError:
        _compare(latency, config, measure_again(peaks), dtype)


def _compare(latency: Latency, config: ModelConfig, peaks: Peaks, dtype: torch.dtype):
    middle = latency.prompt + latency.new_tokens // 2
    for phase, cost, seconds in (
        ("prefill", prefill_cost(config, latency.prompt, dtype, latency.batch), latency.ttft.median),
        ("decode", decode_cost(config, middle, dtype, latency.batch), latency.tpot.median),
    ):
        throughput(cost.flops, seconds, peaks.peak_flops(dtype), f"{phase} in FLOPs")
        throughput(cost.bytes, seconds, peaks.peak_bandwidth(int(cost.bytes)), f"{phase} in bytes")


def profile_model(model: Decoder | ModelConfig, *, name: str = "", threads: int | None = None, prompt: int = 50,
                  new_tokens: int = 50, repeats: int = 5, seed: int = 0,
                  peaks: Peaks | None = None) -> dict:  # fmt: skip
    """A JSON-ready record of latency and memory, like a row of the survey's runtime.csv: what ran, where, how fast.

    50 and 50 tokens are the survey's setting. A configuration is built with random weights, which take as long as
    trained ones. `threads` holds for this measurement only. With measured `peaks` (of the same threads), the record
    has the roofline's prediction too, and a latency beyond the peaks raises AbovePeakError.
    """
    if isinstance(model, ModelConfig):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Decoder(model)
    config, weight = model.config, model.embedding.weight
    with use_threads(threads):
        if peaks is not None and peaks.threads != torch.get_num_threads():
            raise ValueError(
                f"the peaks were measured with {peaks.threads} threads and the model runs with "
                f"{torch.get_num_threads()}; measure the peaks with the same number"
            )
        latency = measure_latency(model, prompt, new_tokens, repeats=repeats, seed=seed)
        with PeakMemory(weight.device) as memory:
            measure_latency(model, prompt, new_tokens, repeats=1, warmup=0, seed=seed)
        record = {
            "device": weight.device.type,
            "processor": processor_name(weight.device),
            "threads": torch.get_num_threads(),
            "engine": f"torch {torch.__version__}",
            "model": name or f"{count_parameters(config).total / 1e6:.1f}M parameters",
            "parameters": count_parameters(config).total,
            "dtype": dtype_name(weight.dtype),
            **latency.columns(),
            "weights_mb": weight_bytes(config, weight.dtype) / 1e6,
            "cache_mb": kv_cache_bytes(config, prompt + new_tokens - 1, weight.dtype) / 1e6,
            "peak_memory_mb": memory.peak / 1e6,  # the whole process with Python and torch; on a GPU, torch's tensors
        }
        if peaks is not None:
            check_latency(latency, config, peaks, weight.dtype)
    if peaks is not None:
        bound = predict_latency(config, peaks, prompt, weight.dtype)
        record["roofline_ttft_ms"], record["roofline_tpot_ms"] = 1e3 * bound["ttft"], 1e3 * bound["tpot"]
        record["roofline_tokens_per_second"] = bound["tokens_per_second"]
    return record


@contextmanager
def use_threads(threads: int | None):
    """Within the block, torch computes on `threads` threads; None leaves them as they are."""
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; it must be at least 1")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
