"""Section 2.3 of the survey: which data sets models were trained on, and on how many tokens (Figures 3 and 4, Table 2).

"Accuracy" is the mean of the commonsense and the problem-solving average, which is how Table 2 ranks its models.
"""

import math
from functools import partial
from statistics import median

import numpy as np

from slmkit.survey import statistics, trends
from slmkit.survey.evidence.architecture import model
from slmkit.survey.evidence.capability import COMMONSENSE, PROBLEMS, model_scores
from slmkit.survey.evidence.estimates import Estimate, bootstrap, rank_correlation
from slmkit.survey.tables import rows

# Figure 4b as the text reads it: the correlation is clear below 700B tokens and weak above 1T.
FEW, MANY = 700e9, 1e12
FILTERED = ("FineWeb-Edu", "DCLM-baseline")  # the two sets that a model filtered (boxed insight of section 2.3)


def share_of_uses(name: str, year: int) -> float:
    """Percent of a year's uses of data sets, as Figure 3 counts them, that fall on one set."""
    uses = {row["name"]: int(row[f"uses_{year}"] or 0) for row in rows("datasets")}
    return 100 * uses[name] / sum(uses.values())


def named_users(name: str, year: int) -> int:
    """Models of a year for which the survey's own table names the data set."""
    return sum(row["release"].startswith(str(year)) and name in row["pretraining_datasets"].split(";")
               for row in rows("models"))  # fmt: skip


def in_list() -> int:
    """Data sets in the list of section 2.3."""
    return sum(row["in_survey_list_of_12"] == "yes" for row in rows("datasets"))


# -- Table 2 ---------------------------------------------------------------------------------------------------------


def table2() -> dict[str, list[tuple[str, float]]]:
    """Size group -> its rows of Table 2, (model as printed, score), the best first."""
    groups: dict[str, list] = {}
    for row in rows("capability"):
        if row["kind"] == "table2":
            groups.setdefault(row["note"].partition(";")[0], []).append((row["model"], float(row["value"])))
    return groups


def row_of(printed: str) -> dict[str, str]:
    """The row of models.csv for a name as Table 2 prints it: "BLOOMZ-560M", "Bloom-1B1"."""
    name = printed.partition(" (")[0].lower().replace("1b1", "1.1b")
    return next(row for row in rows("models") if row["name"].lower() == name)


def leaders_that_agree() -> int:
    """Group leaders whose printed score is the mean of their two averages in the survey's data file."""
    leaders = [max(group, key=lambda row: row[1]) for group in table2().values()]
    return sum(abs(_accuracy(row_of(name)) / 100 - score) <= 0.0005 for name, score in leaders)


def leaders_that_are_base_models() -> int:
    """Group leaders that were not tuned on instructions."""
    leaders = [max(group, key=lambda row: row[1])[0] for group in table2().values()]
    return sum(row_of(name)["checkpoint_type"] == "base" for name in leaders)


def rows_named(name: str) -> int:
    """Rows of Table 2 that print this name."""
    return sum(printed.startswith(name) for group in table2().values() for printed, _ in group)


def gain_of_filtering() -> Estimate:
    """Score of base models on model-filtered data minus that of the others of their size group, in points.

    Groups with both kinds only, each model compared with the mean of the others; resampled over all their models.
    """
    points = []  # (group, filtered, score)
    for number, group in enumerate(table2().values()):
        found = [(row_of(name), score) for name, score in group]
        base = [(row, score) for row, score in found if row["checkpoint_type"] == "base"]
        kinds = [any(data in row["pretraining_datasets"] for data in FILTERED) for row, _ in base]
        if len(set(kinds)) == 2:
            points += [(number, kind, 100 * score) for kind, (_, score) in zip(kinds, base)]

    def gain(groups, kinds, scores):
        parts = [scores[(groups == n) & (kinds == 1)].mean() - scores[(groups == n) & (kinds == 0)].mean()
                 for n in set(groups) if 0 < kinds[groups == n].mean() < 1]  # fmt: skip
        return sum(parts) / len(parts) if parts else float("nan")

    return bootstrap(gain, *zip(*points))


def against_closed_data() -> Estimate:
    """How far base models on model-filtered data lie above the line of the closed-data base models of 2024 over size.

    The mean distance in accuracy, in standard deviations of the closed models around their line (Figures 4 and 5).
    Models are resampled in each group.
    """
    base = [row for row in rows("models") if row["checkpoint_type"] == "base" and row["name"] in model_scores()]
    closed = [row for row in base if row["pretraining_datasets"] == "closed" and row["release"].startswith("2024")]
    filtered = [row for row in base if any(data in row["pretraining_datasets"] for data in FILTERED)]
    points = [(kind, math.log(float(row["params_exact"])), _accuracy(row))
              for kind, group in enumerate((closed, filtered)) for row in group]  # fmt: skip

    def distance(kinds, sizes, scores):
        line = np.polyfit(sizes[kinds == 0], scores[kinds == 0], 1)
        away = scores - np.polyval(line, sizes)
        return float(away[kinds == 1].mean() / away[kinds == 0].std())

    return bootstrap(distance, *zip(*points), within=True)


def with_code(year: str = "2024") -> float:
    """Percent of a year's models on open data with a set that holds code, by what datasets.csv says of each set."""
    coded = {row["name"] for row in rows("datasets") if "code" in row["what_it_is"] + row["filtering"]}
    of_year = [set(row["pretraining_datasets"].split(";")) for row in statistics.listed("v3")
               if row["release"].startswith(year) and row["pretraining_datasets"] not in ("", "closed")]  # fmt: skip
    return 100 * sum(bool(data & coded) for data in of_year) / len(of_year)


# -- tokens ----------------------------------------------------------------------------------------------------------


def tokens_per_parameter(year: str = "") -> list[float]:
    """Training tokens a parameter of the models of version 3's table (of one year), where both are known."""
    chosen = (row for row in statistics.listed("v3") if row["release"].startswith(year))
    return [found for row in chosen if (found := trends.tokens_per_parameter(row)) is not None]


def trained_long(year: str = "2024") -> float:
    """Percent of a year's models with a known number of tokens that saw more than 1.5T."""
    of_year = (row for row in statistics.listed("v3") if row["release"].startswith(year))
    seen = [found for row in of_year if (found := trends.tokens(row))]
    return 100 * sum(found > 1.5e12 for found in seen) / len(seen)


def _with_tokens() -> list[tuple[float, float, float]]:
    """(parameters, months since the year 0, tokens) of the models of version 3's table where all are known."""
    return [(float(row["params_exact"]), 12 * int(row["release"][:4]) + int(row["release"][5:]), trends.tokens(row))
            for row in statistics.listed("v3") if row["params_exact"] and trends.tokens(row)]  # fmt: skip


def size_and_tokens() -> Estimate:
    """Rank correlation of a model's size and its training tokens."""
    sizes, _, tokens = zip(*_with_tokens())
    return bootstrap(rank_correlation, sizes, tokens)


def date_and_tokens() -> Estimate:
    """Rank correlation of a model's release and its training tokens."""
    _, dates, tokens = zip(*_with_tokens())
    return bootstrap(rank_correlation, dates, tokens)


def accuracy_and_tokens(fewest: float, most: float) -> Estimate:
    """Rank correlation of tokens and accuracy (Figure 4b) among the models trained on so many tokens."""
    points = [(seen, _accuracy(row)) for row in rows("models")
              if (seen := trends.tokens(row)) and fewest <= seen <= most and row["name"] in model_scores()]  # fmt: skip
    return bootstrap(rank_correlation, *zip(*points))


def _accuracy(row: dict[str, str]) -> float:
    found = model_scores()[row["name"]]
    return (found[COMMONSENSE] + found[PROBLEMS]) / 2


CLAIMS = {
    "C30": statistics.open_datasets,
    "C30a": in_list,
    "C31": partial(share_of_uses, "The Pile", 2023),
    "C31a": partial(share_of_uses, "RedPajama", 2024),
    "C31b": partial(named_users, "RedPajama", 2024),
    "C32": lambda: statistics.dataset_uses("The Pile", 2024),
    "C33": partial(rows_named, "OPT-125M"),
    "C33a": leaders_that_agree,
    "C33b": leaders_that_are_base_models,
    "C34": with_code,
    "C35": lambda: median(tokens_per_parameter()),
    "C35a": trained_long,
    "C35b": size_and_tokens,
    "C35c": date_and_tokens,
    "C36": lambda: trends.tokens_per_parameter(model("Qwen2-0.5B")),
    "C36a": lambda: trends.tokens(model("Qwen2-0.5B")) / trends.tokens(model("Qwen2-1.5B")),
    "C38a": lambda: accuracy_and_tokens(0, FEW),
    "C38b": lambda: accuracy_and_tokens(MANY, float("inf")),
    "C39a": gain_of_filtering,
    "C39b": against_closed_data,
    "C40a": lambda: min(tokens_per_parameter("2024")),
}
