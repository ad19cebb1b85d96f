"""Sections 4, 4.1 and 4.3 of the survey: parameters as the engine counts them, and memory (Figures 8c and 13a).

The figures' "MB" are 1,048,576 bytes: only so do the caches come out. Figure 13a is for a context of 2048 tokens.
"""

from functools import cache
from statistics import fmean, median

import numpy as np

from slmkit.survey.evidence.architecture import column, model
from slmkit.survey.evidence.estimates import Estimate, bootstrap, fit, residuals
from slmkit.survey.tables import rows
from slmkit.survey.zoo import config

MIB = 2**20
CONTEXT = 2048  # tokens, in Figure 13a
UBATCH = 512  # prompt tokens that llama.cpp computes at once, its default
ALIVE = 4  # vectors of the model's width beside the attention scores: 16 of Figure 13a's 22 buffers to 0.3 MB
HALF, FULL = 2, 4  # bytes of a number in the cache and in the buffers
SERIES = {"Qwen2": 131_072, "Qwen1.5": 32_768}  # tokens of context in the text of section 4.3
LARGE_VOCABULARY = 100_000
PRINTED = {"bloom-1b1": "Bloom-1.1B"}  # names that the figures print in another way than the table


def row_of(name: str) -> dict[str, str]:
    """The row of models.csv for a name of the figures."""
    return model(PRINTED.get(name.lower(), name))


# -- how the engine counts -------------------------------------------------------------------------------------------


def engine_counts() -> dict[str, tuple[float, float, float]]:
    """Model -> (the engine's count, unique parameters, the same with a tied matrix counted twice), all in millions."""
    found = {}
    for row in rows("models"):
        if row["params_llamacpp"]:
            unique = int(row["params_exact"])
            again = int(row["vocab_size"]) * int(row["d_model"]) if row["tied_embeddings"] == "yes" else 0
            found[row["name"]] = (float(row["params_llamacpp"]), unique / 1e6, (unique + again) / 1e6)
    return found


def stored_twice() -> list[str]:
    """The models whose count fits a file that holds the tied matrix twice, and does not fit one that holds it once."""
    return [name for name, (count, once, twice) in engine_counts().items() if abs(count - twice) < abs(count - once)]


def unexplained() -> float:
    """The largest distance, in percent, from a count to unique parameters with a tied matrix once or twice."""
    return 100 * max(min(abs(count / way - 1) for way in ways) for count, *ways in engine_counts().values())


def count_over_unique(name: str) -> float:
    """The engine's count over unique parameters."""
    count, unique, _ = engine_counts()[name]
    return count / unique


# -- memory at 2048 tokens -------------------------------------------------------------------------------------------


@cache
def totals() -> dict[str, tuple[float, float]]:
    """Model -> (millions of parameters by the engine's count, MB of memory), Figure 8c."""
    return {row["model"]: (float(row["x_value"]), float(row["value"]))
            for row in rows("runtime") if row["figure_v3"] == "8c"}  # fmt: skip


def less(first: str, second: str) -> float:
    """By how many percent the first model needs less memory."""
    return 100 * (1 - totals()[first][1] / totals()[second][1])


def linear_memory() -> Estimate:
    """R² of a line through memory against parameters."""
    return bootstrap(fit, *zip(*totals().values()))


def vocabulary_of_the_outlier() -> float:
    """Vocabulary of the model furthest above that line, over the median vocabulary of the twenty."""
    names, points = list(totals()), list(totals().values())
    sizes = [int(row_of(name)["vocab_size"]) for name in names]
    return sizes[int(np.argmax(residuals(*zip(*points))))] / median(sizes)


@cache
def parts() -> dict[tuple[str, str], float]:
    """(model, "KV cache", "compute buffer", "model parameters" or "other memory") -> MB, Figure 13a."""
    parts = [row for row in rows("runtime") if row["figure_v3"] == "13a" and not row["metric"].endswith("total")]
    return {(row["model"], row["metric"].removeprefix("memory: ")): float(row["value"]) for row in parts}


def measured() -> list[str]:
    """The models of Figure 13a."""
    return sorted({name for name, _ in parts()})


def cache_mb(name: str, tokens: int = CONTEXT) -> float:
    """MB of a 16-bit cache of keys and values, from the model's dimensions."""
    built = config(row_of(name)["name"])
    heads = sum(built.layer(i).n_kv_heads for i in range(built.n_layers))
    return 2 * heads * built.head_dim * tokens * HALF / MIB


def worst_cache() -> float:
    """The largest distance, in MB, from a cache of the figure to `cache_mb`."""
    return max(abs(parts()[name, "KV cache"] - cache_mb(name)) for name in measured())


def part_ratio(part: str, first: str, second: str) -> float:
    """A part of the first model's memory over the same part of the second's."""
    return parts()[first, part] / parts()[second, part]


def logits_mb(name: str) -> float:
    """MB of the scores of every vocabulary entry for a batch of prompt tokens."""
    return UBATCH * int(row_of(name)["vocab_size"]) * FULL / MIB


def hidden_by_vocabulary() -> float:
    """A matrix of hidden size times vocabulary over Bloom-560M's compute buffer: the survey's explanation."""
    size = column("Bloom-560M", "d_model") * column("Bloom-560M", "vocab_size") * FULL / MIB
    return size / parts()["Bloom-560M", "compute buffer"]


def logits_over_buffer() -> float:
    """`logits_mb` over the compute buffer, mean over the models with a large vocabulary."""
    return fmean(logits_mb(name) / parts()[name, "compute buffer"]
                 for name in measured() if int(row_of(name)["vocab_size"]) > LARGE_VOCABULARY)  # fmt: skip


# -- memory at the longest context -----------------------------------------------------------------------------------


def buffer_mb(name: str, tokens: int) -> float:
    """MB of the compute buffer: the larger of logits and attention scores, which reuse the same memory.

    Beside logits lives the last layer's output, beside scores the mask and ALIVE vectors of the model's width.
    """
    built = config(row_of(name)["name"])
    heads = max(built.layer(i).n_heads for i in range(built.n_layers))
    logits = built.vocab_size + built.d_model
    return UBATCH * FULL * max(logits, heads * tokens + tokens + ALIVE * built.d_model) / MIB


def host_mb(name: str, tokens: int) -> float:
    """MB on the processor's side: the mask and the embeddings of a batch of prompt tokens, and one row of logits."""
    built = config(row_of(name)["name"])
    return FULL * (UBATCH * (tokens + built.d_model) + built.vocab_size) / MIB


def context_share(series: str, with_buffer: bool = True) -> Estimate:
    """Percent of memory that the cache (and the buffer) takes at the series' longest context.

    The mean over the sizes that Figure 13a measured; the bounds are the smallest and the largest of them. Weights and
    other memory are the figure's, of which the mask grows.
    """
    tokens, shares = SERIES[series], []
    for name in measured():
        if name.startswith(f"{series}-"):
            cached, buffer = cache_mb(name, tokens), buffer_mb(name, tokens)
            rest = parts()[name, "model parameters"] + parts()[name, "other memory"]
            rest += host_mb(name, tokens) - host_mb(name, CONTEXT)
            shares.append(100 * (cached + with_buffer * buffer) / (cached + buffer + rest))
    return Estimate(fmean(shares), min(shares), max(shares))


CLAIMS = {
    "C5b": lambda: len(measured()),
    "C70": lambda: count_over_unique("Bloom-560M"),
    "C70a": unexplained,
    "C76": lambda: max(memory for _, memory in totals().values()),
    "C76a": lambda: min(memory for _, memory in totals().values()),
    "C76b": lambda: less("OpenELM-1.1B", "Bloom-560M"),
    "C76c": lambda: less("OpenELM-3B", "Gemma-2B"),
    "C78": lambda: column("Qwen1.5-0.5B", "params_exact") / column("Qwen2-0.5B", "params_exact"),
    "C80": linear_memory,
    "C80a": vocabulary_of_the_outlier,
    "C97": lambda: cache_mb("StableLM-zephyr-3B"),
    "C97a": worst_cache,
    "C97b": lambda: part_ratio("KV cache", "StableLM-zephyr-3B", "OpenELM-3B"),
    "C97c": lambda: part_ratio("compute buffer", "Bloom-560M", "OpenELM-1.1B"),
    "C97d": lambda: part_ratio("compute buffer", "Bloom-1B1", "Qwen2-1.5B"),
    "C98": hidden_by_vocabulary,
    "C98a": logits_over_buffer,
    "C99": lambda: context_share("Qwen2"),
    "C99a": lambda: context_share("Qwen1.5"),
    "C101": lambda: context_share("Qwen1.5", with_buffer=False),
    "C101a": lambda: context_share("Qwen1.5"),
}
