"""Sections 4.1 and 4.3 of the survey: time by model (Figure 8) and by module and operator (Figure 12).

Twenty models at 4 bits on a Jetson Orin NX; milliseconds, 50 prompt tokens and 50 generated ones. Figure numbers are
those of version 3. Times are read off the figure to ±0.2 ms, shares to ±0.2 points.
"""

from functools import cache, partial
from itertools import pairwise

import numpy as np

from slmkit.survey.evidence.architecture import column
from slmkit.survey.evidence.estimates import Estimate, bootstrap, fit, scatter
from slmkit.survey.tables import rows

PREFILL, DECODE = "8a", "8b"
BANDS = (0, 1000, 2000, 3100)  # millions of parameters as the engine counts them; the survey's three bands
READ = 0.2  # ms
SHARED = ("SmolLM-1.7B", "Qwen2-1.5B", "Qwen1.5-1.8B")  # of the four faster models that the text names, those in 8a


@cache
def times(figure: str) -> dict[str, tuple[float, float]]:
    """Model -> (millions of parameters by the engine's count, milliseconds)."""
    return {row["model"]: (float(row["x_value"]), float(row["value"]))
            for row in rows("runtime") if row["figure_v3"] == figure}  # fmt: skip


def ratio(first: str, second: str, figure: str = PREFILL) -> float:
    """Time of the first model over time of the second."""
    return times(figure)[first][1] / times(figure)[second][1]


def faster(first: str, second: str, figure: str = PREFILL) -> float:
    """By how many percent the first model takes less time than the second."""
    return 100 * (1 - ratio(first, second, figure))


def larger(first: str, second: str) -> float:
    """By how many percent the engine counts more parameters in the first model."""
    return 100 * (times(PREFILL)[first][0] / times(PREFILL)[second][0] - 1)


def gap_between_bands() -> Estimate:
    """The smallest distance, in ms, from the slowest model of a band to the fastest of the next; below 0 they overlap.

    The bounds are the precision with which both times are read.
    """
    found = list(times(PREFILL).values())
    bands = [[time for size, time in found if low <= size < high] for low, high in pairwise(BANDS)]
    gap = min(min(upper) - max(lower) for lower, upper in pairwise(bands))
    return Estimate(gap, gap - 2 * READ, gap + 2 * READ)


def slower_than_larger() -> int:
    """Of the larger models that the text names and the figure has, those that Pythia-1.4B is slower than."""
    return sum(ratio("Pythia-1.4B", other) > 1 for other in SHARED)


def linear_decode() -> Estimate:
    """R² of a line through decode time against size."""
    return bootstrap(fit, *zip(*times(DECODE).values()))


def scatter_ratio() -> Estimate:
    """How much more the prefill times scatter around their line in size than the decode times, on logarithms."""
    sizes = [size for size, _ in times(PREFILL).values()]
    pairs = [[times(figure)[model][1] for model in times(PREFILL)] for figure in (PREFILL, DECODE)]
    logs = [np.log(values) for values in (sizes, *pairs)]
    return bootstrap(lambda size, prefill, decode: scatter(size, prefill) / scatter(size, decode), *logs)


@cache
def shares(kind: str) -> dict[tuple[str, str, str], float]:
    """(model, phase, module or operator) -> percent of latency; `kind` is "module" or "operator"."""
    start = f"{kind} share of latency: "
    return {(row["model"], row["phase"], row["metric"].removeprefix(start)): float(row["value"])
            for row in rows("runtime") if row["metric"].startswith(start)}  # fmt: skip


def products() -> list[float]:
    """The four shares of quantized matrix-vector products: two models, two phases."""
    return [value for (_, _, name), value in shares("operator").items() if name == "mul_mat_vec_q"]


def ffn_parameters(name: str) -> float:
    """Parameters of all gated feed-forward layers of a model."""
    return 3 * column(name, "n_layers") * column(name, "d_model") * column(name, "d_ff")


def attention_rise(model: str) -> float:
    """Attention's share in decode minus its share in prefill, points."""
    return shares("module")[model, "decode", "Attention"] - shares("module")[model, "prefill", "Attention"]


CLAIMS = {
    "C71": gap_between_bands,
    "C72": partial(ratio, "Qwen2-0.5B", "Qwen1.5-0.5B"),
    "C73": slower_than_larger,
    "C73a": partial(larger, "Qwen1.5-1.8B", "Pythia-1.4B"),
    "C73b": partial(faster, "Qwen1.5-1.8B", "Pythia-1.4B"),
    "C73c": partial(ratio, "Phi-2", "OpenELM-3B"),
    "C75": linear_decode,
    "C75a": partial(faster, "Qwen1.5-0.5B", "Qwen2-0.5B", DECODE),
    "C78a": partial(faster, "Qwen1.5-0.5B", "Qwen2-0.5B"),
    "C79b": scatter_ratio,
    "C94a": lambda: ffn_parameters("Qwen2-0.5B") / ffn_parameters("Qwen1.5-0.5B"),
    "C95": partial(attention_rise, "Qwen1.5-0.5B"),
    "C96": lambda: min(products()),
    "C96a": lambda: max(products()),
    "C100a": lambda: min(products()),
}
