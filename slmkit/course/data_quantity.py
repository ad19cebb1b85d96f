"""The numbers of the page on the amount of data: tokens a parameter, the law of Hoffmann and others, over-training.

The law: a model of N parameters trained on D tokens has the loss E + A / N^alpha + B / D^beta, and costs 6 N D FLOPs.
"Optimal" means: of all models with that loss, the one that costs least.
"""

from collections.abc import Callable
from functools import cache, partial
from statistics import median
from typing import NamedTuple

import numpy as np

from slmkit.course.data_quality import told
from slmkit.survey import statistics, trends
from slmkit.survey.evidence import training
from slmkit.survey.evidence.capability import model_scores
from slmkit.survey.evidence.estimates import Estimate, bootstrap, rank_correlation, residuals
from slmkit.survey.tables import rows

RULE = 20  # tokens a parameter
CHINCHILLA = 5.76e23  # FLOPs of that model's training: Hoffmann and others 2022
EPOCHS = 15.39  # of value decaying with repetition: R*_D of Muennighoff and others 2023
SERVED = (1, 10, 100)  # tokens served for each token that the optimal model is trained on


class Law(NamedTuple):
    constant: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats a token."""
        return self.constant + self.a / parameters**self.alpha + self.b / tokens**self.beta


LAWS = {
    "printed": Law(1.69, 406.4, 410.7, 0.34, 0.28),  # Hoffmann and others 2022, third approach, as their text rounds it
    "unrounded": Law(1.6934, 406.4, 410.7, 0.3392, 0.2849),  # the same with the digits of its source
    "refitted": Law(1.8172, 482.01, 2085.43, 0.3478, 0.3658),  # Besiroglu and others 2024, from the runs of its figure
}
REFITTED = LAWS["refitted"]  # the one whose optimum agrees with the rule


def optimum(law: Law, flops: float) -> tuple[float, float]:
    """Parameters and tokens of the least loss at 6 N D = `flops` (Hoffmann 2022, equation 4)."""
    scale = (law.alpha * law.a / (law.beta * law.b)) ** (1 / (law.alpha + law.beta))
    parameters = scale * (flops / 6) ** (law.beta / (law.alpha + law.beta))
    return parameters, flops / 6 / parameters


def tokens_needed(law: Law, size: float) -> float:
    """Tokens for the loss of an optimal model with `size` times its parameters, as a multiple of its tokens.

    Infinite where no number of tokens is enough. In the optimum alpha A / N^alpha = beta B / D^beta, so the two
    terms are beta and alpha parts of what can be reduced, and the multiple is the same at every scale.
    """
    for_tokens = 1 + (1 - size**-law.alpha) * law.beta / law.alpha  # B / D^beta left, as a multiple of the optimum's
    return for_tokens ** (-1 / law.beta) if for_tokens > 0 else float("inf")


def smallest(law: Law) -> float:
    """The size below which no number of tokens gives the loss of the optimal model, as a share of its size."""
    return (law.beta / (law.alpha + law.beta)) ** (1 / law.alpha)


def extra_compute(law: Law, size: float) -> float:
    """Training FLOPs of a model of `size` times the optimal parameters over those of the optimal one, at equal loss."""
    return size * tokens_needed(law, size)


def size_at(law: Law, multiple: float) -> float:
    """The size whose tokens a parameter are `multiple` times the optimal ones, at equal loss."""
    low, high = smallest(law), 1.0
    for _ in range(200):  # tokens a parameter fall as the size grows
        middle = (low * high) ** 0.5
        low, high = (middle, high) if tokens_needed(law, middle) / middle > multiple else (low, middle)
    return high


def best_for_serving(law: Law, served: float) -> tuple[float, float]:
    """Size of the cheapest model for training and serving, and its cost over that of the optimal one (Sardana 2023).

    `served` is tokens served for each training token of the optimal model: 6 N D for training and 2 N each for them.
    """
    sizes = np.geomspace(smallest(law) * 1.0001, 1, 20_000)
    costs = np.array([extra_compute(law, size) + size * served / 3 for size in sizes])
    best = costs.argmin()
    return float(sizes[best]), float(costs[best] / (1 + served / 3))


def _multiple(served: float) -> float:
    """Tokens a parameter of the cheapest model, as a multiple of the optimal ones."""
    size, _ = best_for_serving(REFITTED, served)
    return tokens_needed(REFITTED, size) / size


def worth(epochs: float) -> float:
    """Fresh tokens that `epochs` over one set are worth, in sizes of the set (Muennighoff and others 2023)."""
    return 1 + EPOCHS * (1 - np.exp(-(epochs - 1) / EPOCHS))


# -- the survey's models -----------------------------------------------------------------------------------------------


def known(group: str) -> list[trends.Row]:
    """Models whose tokens a parameter are known: of the survey's table ("then"), or ours ("since")."""
    models = statistics.listed("v3") if group == "then" else trends.since()
    return [row for row in models if trends.tokens_per_parameter(row) is not None]


def scored(fewest: float = 0, most: float = float("inf")) -> list[tuple[float, float, float]]:
    """(parameters, tokens, accuracy in percent) of the models of Figure 4b within these numbers of tokens."""
    return [(float(row["params_exact"]), seen, training._accuracy(row)) for row in rows("models")
            if row["name"] in model_scores() and (seen := trends.tokens(row)) and fewest <= seen <= most]  # fmt: skip


@cache
def at_equal_size(fewest: float = 0, most: float = float("inf")) -> Estimate:
    """Rank correlation of tokens and accuracy once a straight line in the logarithm of size is taken out of both."""

    def partial_correlation(sizes, tokens, scores):
        return rank_correlation(residuals(np.log(sizes), np.log(tokens)), residuals(np.log(sizes), scores))

    return bootstrap(partial_correlation, *zip(*scored(fewest, most)))


@cache
def few_minus_many() -> Estimate:
    """Rank correlation of tokens and accuracy below 700B tokens minus that from 1T on, models resampled in each."""
    few, many = scored(0, training.FEW), scored(training.MANY)

    def difference(kinds, tokens, scores):
        return (rank_correlation(tokens[kinds == 0], scores[kinds == 0])
                - rank_correlation(tokens[kinds == 1], scores[kinds == 1]))  # fmt: skip

    points = [(kind, seen, score) for kind, group in enumerate((few, many)) for _, seen, score in group]
    return bootstrap(difference, *zip(*points), within=True)


# -- facts -------------------------------------------------------------------------------------------------------------


def said(ratio: float) -> str:
    """Tokens a parameter for people: "20", "864", "24,290"."""
    return f"{ratio:,.0f}"


def _middle(group: str, year: str = "") -> str:
    of_year = (row for row in known(group) if row["release"].startswith(year))
    return said(median(trends.tokens_per_parameter(row) for row in of_year))


def _extreme(pick: Callable, group: str, year: str = "") -> trends.Row:
    return pick((row for row in known(group) if row["release"].startswith(year)), key=trends.tokens_per_parameter)


def _by_the_rule(group: str) -> list[trends.Row]:
    return [row for row in known(group) if round(trends.tokens_per_parameter(row)) <= RULE]


def _law_ratio(law: Law) -> str:
    parameters, tokens = optimum(law, CHINCHILLA)
    return f"{tokens / parameters:.0f}"


def typical() -> float:
    """The survey's median tokens a parameter as a multiple of the rule."""
    return median(training.tokens_per_parameter()) / RULE


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


FACTS: dict[str, Callable[[], str]] = {
    "quantity.rule": lambda: str(RULE),
    "quantity.at_rule.then": lambda: str(len(_by_the_rule("then"))),
    "quantity.at_rule.since": lambda: ", ".join(row["name"] for row in _by_the_rule("since")),
    "quantity.multiple": lambda: f"{typical():.0f}",
    "quantity.epochs_constant": lambda: f"{EPOCHS:.1f}",
    "law.size_at_median": lambda: _percent(size_at(REFITTED, typical())),
    "law.compute_at_median": lambda: f"{extra_compute(REFITTED, size_at(REFITTED, typical())):.1f}",
    "law.compute_at_half": lambda: _percent(extra_compute(REFITTED, 0.5) - 1),
    "law.multiple_at_half": lambda: f"{tokens_needed(REFITTED, 0.5) / 0.5:.0f}",
    "law.smallest": lambda: _percent(smallest(REFITTED)),
}
for _group in ("then", "since"):
    FACTS[f"quantity.known.{_group}"] = lambda chosen=_group: str(len(known(chosen)))
    FACTS[f"quantity.median.{_group}"] = partial(_middle, _group)
    for _pick in (min, max):
        _name = f"quantity.{'most' if _pick is max else 'least'}.{_group}"
        FACTS[_name] = lambda pick=_pick, chosen=_group: _extreme(pick, chosen)["name"]
        FACTS[f"{_name}.ratio"] = lambda pick=_pick, chosen=_group: said(
            trends.tokens_per_parameter(_extreme(pick, chosen))
        )
for _year in ("2022", "2023", "2024"):
    FACTS[f"quantity.known.{_year}"] = lambda year=_year: str(
        sum(row["release"].startswith(year) for row in known("then"))
    )
    FACTS[f"quantity.median.{_year}"] = partial(_middle, "then", _year)
    FACTS[f"quantity.least.{_year}"] = lambda year=_year: _extreme(min, "then", year)["name"]
    FACTS[f"quantity.most.{_year}"] = lambda year=_year: _extreme(max, "then", year)["name"]
for _name, _law in LAWS.items():
    FACTS[f"law.ratio.{_name}"] = partial(_law_ratio, _law)
for _served in SERVED:
    FACTS |= {
        f"law.served_{_served}.size": lambda served=_served: _percent(best_for_serving(REFITTED, served)[0]),
        f"law.served_{_served}.saved": lambda served=_served: _percent(1 - best_for_serving(REFITTED, served)[1]),
        f"law.served_{_served}.ratio": lambda served=_served: said(RULE * _multiple(served)),
    }
for _epochs in (4, 16, 40):
    FACTS[f"quantity.epochs_{_epochs}"] = lambda epochs=_epochs: f"{worth(epochs):.1f}"
for _name, _found in {"few": partial(at_equal_size, 0, training.FEW), "many": partial(at_equal_size, training.MANY),
                      "all": at_equal_size, "difference": few_minus_many}.items():  # fmt: skip
    for _part in ("value", "interval"):
        FACTS[f"quantity.rank.{_name}.{_part}"] = lambda found=_found, part=_part: told(found(), 2)[part]
