"""Latency of generation, as the survey measures it (section 4): time to first token, then time per further token."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from tqdm import tqdm

from slmkit.config import ModelConfig
from slmkit.model.cache import KVCache
from slmkit.model.counting import count_parameters
from slmkit.model.decoder import Decoder
from slmkit.model.generation import stream
from slmkit.profiling.machine import processor_name
from slmkit.profiling.memory import PeakMemory, measure_memory
from slmkit.profiling.roofline import Peaks, decode_cost, dtype_name, measure_again, predict_latency, prefill_cost
from slmkit.profiling.timing import (
    AbovePeakError,
    Timing,
    UnsteadyError,
    default_clock,
    measure_in_turn,
    now,
    throughput,
    timing,
)
from slmkit.training.trainer import BAR_DELAY

ROUNDS = 3  # how often a measurement is begun, before a busy machine is given up


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

    @property
    def trouble(self) -> str:
        """Why these times are not to be relied on; empty when they are."""
        troubles = {"time to the first token": self.ttft.trouble, "time per further token": self.tpot.trouble}
        return next((f"{what}: {trouble}" for what, trouble in troubles.items() if trouble), "")

    def __add__(self, later: "Latency") -> "Latency":
        """These repeats and later ones of the same setting."""
        return replace(self, ttft=self.ttft + later.ttft, tpot=self.tpot + later.tpot)

    def columns(self) -> dict:
        """What a record of this measurement says of time: milliseconds, medians, percentiles and all repeats.

        A percentile is None where the repeats are too few for it: ten for the 90th, twenty for the 95th.
        """
        return {
            "prompt_tokens": self.prompt,
            "new_tokens": self.new_tokens,
            "clock": self.ttft.clock,
            "ttft_ms": 1e3 * self.ttft.median,
            "tpot_ms": 1e3 * self.tpot.median,
            "tokens_per_second": self.tokens_per_second,
            "ttft_ms_p90": milliseconds(self.ttft.percentile(90)),
            "ttft_ms_p95": milliseconds(self.ttft.percentile(95)),
            "tpot_ms_p90": milliseconds(self.tpot.percentile(90)),
            "tpot_ms_p95": milliseconds(self.tpot.percentile(95)),
            "ttft_drift": self.ttft.drift,  # a share of the earlier half's time
            "tpot_drift": self.tpot.drift,
            "busy_processors": self.tpot.busy,
            "steady": not self.trouble,
            "trouble": self.trouble,
            "ttft_ms_repeats": [1e3 * t for t in self.ttft.seconds],
            "tpot_ms_repeats": [1e3 * t for t in self.tpot.seconds],
        }


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def measure_latency(model: Decoder, prompt: int, new_tokens: int = 16, *, repeats: int = 5, warmup: int = 1,
                    batch: int = 1, seed: int = 0, clock: str | None = None,
                    progress: bool = False) -> Latency:  # fmt: skip
    """Greedy generation of `new_tokens` after a random prompt of `prompt` tokens, `repeats` times from the start.

    The model runs as it is: its device, its dtype, torch's threads. What the tokens are does not matter to the time.
    """
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (batch, prompt), generator=generator).to(device)
    return time_tokens(lambda: stream(model, ids, new_tokens), prompt, new_tokens, repeats=repeats, warmup=warmup,
                       batch=batch, device=device, clock=clock or default_clock(device), progress=progress)  # fmt: skip


def time_tokens(begin: Callable[[], Iterator], prompt: int, new_tokens: int, *, repeats: int, warmup: int, clock: str,
                batch: int = 1, device: str | torch.device = "cpu", progress: bool = False) -> Latency:  # fmt: skip
    """Times the tokens of `begin()`, the first apart from the rest. `progress`: a bar when it takes over 3 s."""
    if new_tokens < 2:
        raise ValueError(f"new_tokens is {new_tokens}; at least 2 are needed for a time per token after the first")
    if repeats < 1 or warmup < 0:
        raise ValueError(f"repeats = {repeats} must be at least 1 and warmup = {warmup} at least 0")
    first, rest = [], []
    for _ in tqdm(range(warmup + repeats), "measuring", unit="run", delay=BAR_DELAY, leave=False, disable=not progress):
        start, tokens = now(device), begin()
        next(tokens)
        read = now(device)
        for _ in tokens:
            pass
        end = now(device)
        first.append((read[0] - start[0], read[1] - start[1]))
        rest.append((end[0] - read[0], end[1] - read[1]))
    tpot = timing(rest[warmup:], clock).each(new_tokens - 1)
    return Latency(prompt, new_tokens, batch, timing(first[warmup:], clock), tpot)


def steady_latency(measure: Callable[..., Latency], threads: int, anyway: bool = False) -> Latency:
    """`measure(warmup=1)`, and up to two times more repeats on top while they differ or drift too much.

    Raises UnsteadyError when that does not help; `anyway` returns them all the same, as their `trouble` says.
    """
    latency = measure(warmup=1)
    for _ in range(ROUNDS - 1):
        if latency.trouble:
            latency += measure(warmup=0)
    if latency.trouble and not anyway:
        busy = latency.tpot.busy
        waited = f"; it had {busy:.1f} of {threads} processors" if busy < 0.9 * threads else ""
        raise UnsteadyError(
            f"the machine is not steady enough to measure; {latency.trouble}{waited}. Close other programs or let it "
            "cool down, ask for more tokens or repeats, or take the numbers with a mark (--anyway)"
        )
    return latency


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


def check_reading(latency: Latency, weights: int, peaks: Peaks):
    """Raises AbovePeakError when a token would read `weights` bytes faster than memory gives them; as above."""
    what = "decode in bytes"
    try:
        throughput(weights, latency.tpot.median, peaks.peak_bandwidth(weights), what)
    except AbovePeakError:
        throughput(weights, latency.tpot.median, measure_again(peaks).peak_bandwidth(weights), what)


def profile_model(model: Decoder | ModelConfig, *, name: str = "", threads: int | None = None, prompt: int = 50,
                  new_tokens: int = 50, repeats: int = 5, seed: int = 0, peaks: Peaks | None = None,
                  anyway: bool = False, progress: bool = False) -> dict:  # fmt: skip
    """A JSON-ready record of latency and memory, like a row of the survey's runtime.csv: what ran, where, how fast.

    50 and 50 tokens are the survey's setting. A configuration is built with random weights, which take as long as
    trained ones. `threads` holds for this measurement only. With measured `peaks` (of the same threads), the record
    has the roofline's prediction too, and a latency beyond the peaks raises AbovePeakError. UnsteadyError: see
    `steady_latency`.
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
        measure = partial(measure_latency, model, prompt, new_tokens, seed=seed)
        latency = steady_latency(partial(measure, repeats=repeats, progress=progress), torch.get_num_threads(), anyway)
        with PeakMemory(weight.device) as memory:
            measure(repeats=1, warmup=0)
        if peaks is not None:
            check_latency(latency, config, peaks, weight.dtype)
        parts = measure_memory(model, prompt, new_tokens)
    bound = predict_latency(config, peaks, prompt, weight.dtype) if peaks else {}
    return record(
        latency, name or f"{count_parameters(config).total / 1e6:.1f}M parameters", weight.device,
        threads or torch.get_num_threads(), engine=f"torch {torch.__version__}", dtype=dtype_name(weight.dtype),
        parameters=count_parameters(config).total, memory=parts.columns(), peak_memory=memory.peak, bound=bound,
    )  # fmt: skip


def record(latency: Latency, name: str, device: torch.device, threads: int, *, engine: str, dtype: str, parameters: int,
           memory: Mapping[str, float | None], peak_memory: int, bound: Mapping[str, float]) -> dict:  # fmt: skip
    """The columns that the records of both engines have. `memory` by part in MB, `bound` by the roofline in seconds."""
    return {
        "device": device.type,
        "processor": processor_name(device),
        "threads": threads,
        "engine": engine,
        "model": name,
        "parameters": parameters,
        "dtype": dtype,
        **latency.columns(),
        **memory,
        "peak_memory_mb": peak_memory / 1e6,  # the whole process with Python and torch; on a GPU, torch's tensors
        "roofline_ttft_ms": milliseconds(bound.get("ttft")),
        "roofline_tpot_ms": milliseconds(bound.get("tpot")),
        "roofline_tokens_per_second": 1 / bound["tpot"] if bound else None,
    }


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
