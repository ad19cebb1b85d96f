"""The numbers of the pages on the feed-forward layer, its ratio, its activation, and normalization.

`then` is version 3's table of the survey, `since` our rows. The drawings are in figures_feedforward.py.
"""

import math
from collections.abc import Callable
from functools import partial
from statistics import median

from slmkit.model.counting import count_parameters, flops_by_part
from slmkit.survey import statistics, trends, zoo

MATCHING = 8 / 3  # the ratio at which a gated FFN has the parameters of a standard one at 4 (Shazeer 2020)
# tanh form of GELU: the constant of Hendrycks and Gimpel 2016, and the one that the survey's Figure 2 prints
CUBIC, PRINTED_CUBIC = 0.044715, 0.04715
REAL = "SmolLM2-135M"
GROUPS = {"then": partial(statistics.listed, "v3"), "since": trends.since}


# -- who uses what -----------------------------------------------------------------------------------------------------


def _option(axis: str, row: trends.Row) -> str:
    """Of activations the column itself: on that axis squared ReLU and later ones are all "other"."""
    return row["activation"] if axis == "activation" else trends.option(row, axis)


def _users(axis: str, option: str, group: str) -> list[trends.Row]:
    rows = (row for row in GROUPS[group]() if _option(axis, row) == option)
    return sorted(rows, key=lambda row: row["release"])


def _month(axis: str, option: str) -> str:
    """The month of the first models with an option in version 3's table."""
    return _users(axis, option, "then")[0]["release"]


def _first(axis: str, option: str) -> str:
    """The first model with an option, and how many others came in the same month."""
    rows, month = _users(axis, option, "then"), _month(axis, option)
    others = sum(row["release"] == month for row in rows) - 1
    return rows[0]["name"] + f" and {others} other{'s' * (others > 1)}" * (others > 0)


USED = {"ffn": ("standard", "gated"), "activation": ("ReLU", "ReLU^2", "GELU", "GELU_tanh", "SiLU"),
        "norm": ("LayerNorm", "RMSNorm")}  # fmt: skip
FACTS: dict[str, Callable[[], str]] = {}
for _axis, _options in USED.items():
    for _one in _options:
        _name = f"{_axis}.{_one.replace('^', '')}"
        FACTS |= {f"{_name}.first": partial(_first, _axis, _one), f"{_name}.month": partial(_month, _axis, _one)}
        for _group in GROUPS:
            FACTS[f"{_name}.{_group}"] = lambda which=(_axis, _one, _group): str(len(_users(*which)))


# -- shares, ratios, norms of the models -------------------------------------------------------------------------------


def ratios(rows: list[trends.Row], ffn: str) -> list[float]:
    """The ratios of the rows with that kind of FFN, as published; a ratio that differs between layers is left out."""
    texts = [row["ffn_ratio"] for row in rows if row["ffn"] == ffn]
    return [float(text) for text in texts if text and "-" not in text]


def _built() -> list:
    """The configurations of the survey's models, those of its figures and of version 3's table."""
    return [zoo.config(name) for name in zoo.available(since=False)]


def ffn_share(config) -> float:
    """The feed-forward layers' part of the parameters outside the embedding."""
    counted = count_parameters(config)
    return counted.ffn / counted.non_embedding


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"


def _near(low: float, high: float) -> str:
    """Gated models of version 3's table with a ratio between the two, both included."""
    return str(sum(low <= ratio <= high for ratio in ratios(GROUPS["then"](), "gated")))


def _extreme(pick: Callable, group: str) -> str:
    known = [row for row in GROUPS[group]() if row["ffn_ratio"] and "-" not in row["ffn_ratio"]]
    row = pick(known, key=lambda row: float(row["ffn_ratio"]))
    return f"{row['name']} with {float(row['ffn_ratio']):.3g}"


def wrong_ratios() -> list[trends.Row]:
    """Models of Figure 2 whose ratio in the survey's data is further than 0.05 from the published one."""
    known = [row for row in trends.in_figures() if row["survey_ffn_ratio"] not in ("", "-", "0")]
    return [row for row in known if abs(float(row["survey_ffn_ratio"]) - float(row["ffn_ratio"])) > 0.05]


def _flops(part: str) -> float:
    """Of one token after a full context of the published model."""
    config = zoo.config(REAL)
    return flops_by_part(config, config.max_context)[part]


def _counted():
    return count_parameters(zoo.config(REAL))


def _placed(where: str, since: bool) -> str:
    """How many models place their norms so: of the survey's, or of ours."""
    before = set(zoo.available(since=False))
    names = [name for name in zoo.available() if (name not in before) == since]
    return str(sum(zoo.config(name).norm_placement == where for name in names))


def worst_error(constant: float) -> float:
    """How far the tanh form of GELU with that cubic constant lies from GELU, at the worst place from -6 to 6."""
    x = [i / 1000 for i in range(-6000, 6001)]
    return max(abs(tanh_gelu(value, constant) - gelu(value)) for value in x)


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def tanh_gelu(x: float, constant: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + constant * x**3)))


FACTS |= {
    "ffn.share.median": lambda: _percent(median(map(ffn_share, _built()))),
    "ffn.share.least": lambda: _percent(min(map(ffn_share, _built()))),
    "ffn.share.most": lambda: _percent(max(map(ffn_share, _built()))),
    "ffn.flops": lambda: f"{_flops('ffn') / 1e6:.0f} million",
    "ffn.flops_scores": lambda: f"{_flops('scores') / 1e6:.0f} million",
    "ffn.context": lambda: f"{zoo.config(REAL).max_context:,}",
    "ratio.standard_at_4": lambda: str(ratios(GROUPS["then"](), "standard").count(4)),
    "ratio.standard": lambda: str(len(ratios(GROUPS["then"](), "standard"))),
    "ratio.gated": lambda: str(len(ratios(GROUPS["then"](), "gated"))),
    "ratio.gated_matching": lambda: _near(2.65, 2.75),
    "ratio.gated_at_4": lambda: _near(4, 4),
    "ratio.gated_above_4": lambda: _near(4.01, 9),
    "ratio.least": partial(_extreme, min, "then"),
    "ratio.most": partial(_extreme, max, "then"),
    "ratio.least_since": partial(_extreme, min, "since"),
    "ratio.most_since": partial(_extreme, max, "since"),
    "ratio.gated_median": lambda: f"{median(ratios(GROUPS['then'](), 'gated')):.3g}",
    "ratio.gated_median_since": lambda: f"{median(ratios(GROUPS['since'](), 'gated')):.3g}",
    "ratio.mobilellm_layers": lambda: str(zoo.config("MobileLLM-125M").n_layers),
    "activation.error": lambda: f"{worst_error(CUBIC):.2g}",
    "activation.error_printed": lambda: f"{worst_error(PRINTED_CUBIC):.2g}",
    "norm.parameters": lambda: f"{_counted().norm:,}",
    "norm.share": lambda: _percent(
        count_parameters(zoo.config(REAL)).norm / count_parameters(zoo.config(REAL)).total, 2
    ),
    "norm.weightless.then": lambda: str(sum(not config.norm_weight for config in _built())),
}
for _where in ("pre", "post", "both", "after_residual"):
    FACTS |= {f"norm.{_where}.then": partial(_placed, _where, since=False),
              f"norm.{_where}.since": partial(_placed, _where, since=True)}  # fmt: skip
for _row in wrong_ratios():
    _entry, _published = _row["survey_ffn_ratio"], f"{float(_row['ffn_ratio']):.3g}"
    FACTS |= {f"ratio.survey.{_row['name']}": partial(str, _entry),
              f"ratio.published.{_row['name']}": partial(str, _published)}  # fmt: skip
