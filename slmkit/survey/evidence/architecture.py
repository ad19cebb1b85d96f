"""Sections 1 to 2.2 of the survey: which models it lists, and what Figures 2a and 2b count of their architectures.

The figures count 62 models. Our table has 61 of them; what the printed counts leave over is Hare-1.1B.
"""

import math
from functools import partial

import numpy as np

from slmkit.survey import statistics, trends
from slmkit.survey.evidence.estimates import Estimate
from slmkit.survey.tables import rows

HARE = {"attention": "GQA", "ffn": "gated", "activation": "GELU", "norm": "RMSNorm", "vocabulary": "up to 50k"}
PACE = {"2022 H1": 4, "2022 H2": 6, "2023 H1": 12, "2023 H2": 7, "2024 H1": 19, "2024 H2": 14}  # Figure 2b, all bars
INNOVATIONS = ("sharing", "layerwise_scaling")  # columns of models.csv; embedding tying is left out by the claim


def share(axis: str, *options: str, period: str = "", counting: str = "survey") -> float:
    """Percent of Figure 2's models with one of the options, of those with an entry; `period`: "2024", "2024 H2"."""
    models = [row for row in trends.in_figures() if trends.period(row).startswith(period)]
    found = trends.counts(models, axis, counting)
    if axis in HARE and "2024 H2".startswith(period):
        found[HARE[axis]] += 1
    return 100 * sum(found[name] for name in options) / sum(found.values())


def ratio_share(option: str) -> Estimate:
    """Percent of the 62 models with that ratio. Two have no entry (DCLM-1B, Hare-1.1B), so only bounds are known."""
    models = trends.in_figures()
    known = trends.counts(models, "ratio", "survey")
    total = len(models) + 1
    low, high = (100 * (known[option] + more) / total for more in (0, total - sum(known.values())))
    return Estimate(low, low, high)


def pace_differences() -> int:
    """Sum over half-years of how far our count is from the bars of Figure 2b."""
    halves = [trends.period(row) for row in trends.in_figures()] + ["2024 H2"]  # the last one is Hare-1.1B
    return sum(abs(halves.count(half) - bar) for half, bar in PACE.items())


def figures_without_table() -> int:
    """Models that Figure 2 counts and the table of the same version does not list, Hare-1.1B among them."""
    return sum(row["in_v1"] != "yes" for row in trends.in_figures()) + 1


def strictly_small_vocabulary() -> float:
    """Percent of the 62 models with at most 50,000 entries, taken at the word. Hare-1.1B counts as one of them."""
    sizes = [int(row["survey_vocab"]) for row in trends.in_figures()]
    return 100 * (sum(size <= 50_000 for size in sizes) + 1) / (len(sizes) + 1)


def standard_at_four() -> float:
    """Percent of the models with a standard FFN whose ratio is 4."""
    ratios = [row["survey_ffn_ratio"] for row in trends.in_figures() if row["ffn"] == "standard"]
    return 100 * sum(float(ratio) == 4 for ratio in ratios) / len(ratios)


def column(name: str, key: str) -> float:
    """A number of models.csv."""
    return float(model(name)[key])


def model(name: str) -> dict[str, str]:
    """The row of models.csv with that name."""
    return next(row for row in rows("models") if row["name"] == name)


def query_heads_for_each_key_head() -> float:
    """In the released TinyLlama-1.1B: 8. Shared queries would make it less than 1."""
    return column("TinyLlama-1.1B", "n_heads") / column("TinyLlama-1.1B", "n_kv_heads")


def with_rmsnorm() -> int:
    """Of the three models that Figure 2 counts as RMSNorm, those whose released configuration has it."""
    return sum(trends.option(model(name), "norm") == "RMSNorm" for name in trends.COUNTED_AS_RMSNORM)


def qwen_tied() -> float:
    """Percent of the Qwen models of version 3's table that tie embedding and head."""
    tied = [row["tied_embeddings"] == "yes" for row in statistics.listed("v3") if row["name"].startswith("Qwen")]
    return 100 * sum(tied) / len(tied)


def mobillama_with_shared_ffn() -> float:
    """Billions of parameters that MobiLlama-1B would have if one gated FFN served all its blocks."""
    row = model("MobiLlama-1B")
    ffn = 3 * int(row["d_model"]) * int(row["d_ff"])
    return (int(row["params_exact"]) - (int(row["n_layers"]) - 1) * ffn) / 1e9


def cubic_constant() -> float:
    """The constant c that brings ½x(1 + tanh(√(2/π)(x + cx³))) nearest to GELU, found on a grid of step 0.000005."""
    x = np.linspace(0, 5, 1001)
    exact = x * np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])

    def worst(c):
        return np.abs(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + c * x**3))) - exact).max()

    coarse = min(np.arange(0.040, 0.050, 1e-4), key=worst)
    return min(np.arange(coarse - 1e-4, coarse + 1e-4, 5e-6), key=worst)


def organisations_with_an_innovation() -> int:
    """The largest number of organisations that use the same innovation, embedding tying left out."""
    users = {name: set() for name in INNOVATIONS}
    for row in statistics.listed("v3"):
        for name in INNOVATIONS:
            if row[name] not in ("", "-", "no"):
                users[name].add(row["organisation"])
    return max(map(len, users.values()))


CLAIMS = {
    "C5": lambda: len(statistics.listed("v3")),
    "C5a": lambda: len(statistics.listed("v3")),
    "C7": statistics.tuned,
    "C9": statistics.growth,
    "C9a": pace_differences,
    "C10": lambda: len(statistics.listed("v1")),
    "C10a": figures_without_table,
    "C13": query_heads_for_each_key_head,
    "C14": partial(share, "attention", "MHA"),
    "C14a": partial(share, "attention", "GQA"),
    "C14b": lambda: share("attention", "GQA", period="2024 H2") - share("attention", "MHA", period="2024 H2"),
    "C14c": partial(share, "attention", "MHA", counting="published"),
    "C15": partial(share, "ffn", "gated", period="2024"),
    "C15a": partial(share, "ffn", "gated"),
    "C16": partial(ratio_share, "4"),
    "C16a": standard_at_four,
    "C17": partial(column, "Qwen-1.8B", "ffn_ratio"),
    "C18": partial(share, "activation", "SiLU"),
    "C18a": partial(share, "activation", "SiLU", period="2024"),
    "C19": cubic_constant,
    "C20": partial(share, "norm", "RMSNorm"),
    "C20a": partial(share, "norm", "RMSNorm", counting="published"),
    "C21": with_rmsnorm,
    "C22": partial(share, "vocabulary", "up to 50k"),
    "C22a": strictly_small_vocabulary,
    "C23": lambda: 100 - share("vocabulary", "up to 50k", period="2024"),
    "C24": qwen_tied,
    "C25": mobillama_with_shared_ffn,
    "C28": lambda: min(part for name, part in statistics.recipe_shares(2024).items() if name != "all"),
    "C29a": organisations_with_an_innovation,
}
